"""``netproxy apiserver``: the API server and its controllers."""

from __future__ import annotations

from typing import Any

import click

from netproxy.cli.options import log_flags
from netproxy.cli.server_options import range_flags, server_flags


@click.command()
@server_flags
@range_flags
@log_flags
def apiserver(**flags: Any) -> None:
    """Serve the Kubernetes API for Services, and what follows from it, without Kubernetes.

    kubectl is the client: the kubeconfig is admin.conf in --data-dir. Addresses are given out,
    slices made of Pods, Pods bound to nodes; nodes join with netproxy run --kubeconfig node.conf.
    Who has the kubeconfig may do everything; nobody else is let in.
    """
    import asyncio

    from netproxy import log, standalone
    from netproxy.cli.server_settings import controller_settings, server_settings
    from netproxy.cli.settings import read_verbosity

    log.configure(is_json=flags["log_format"] == "json", verbosity=read_verbosity(flags))
    server, controllers = server_settings(flags), controller_settings(flags)
    asyncio.run(standalone.run_apiserver(server, controllers))
