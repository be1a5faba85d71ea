"""``netproxy standalone``: everything that Services need, on hosts without Kubernetes."""

from __future__ import annotations

from typing import Any

import click

from netproxy.cli.options import proxy_flags, standalone_flags, take_over_flag
from netproxy.cli.server_options import dns_flags, pod_flags, server_flags


@click.command()
@server_flags
@dns_flags
@pod_flags
@proxy_flags
@standalone_flags
@take_over_flag
def standalone(**flags: Any) -> None:
    """Services without Kubernetes: API server, controllers, DNS, the proxy, and Pods as processes.

    One command on one host; kubectl is the client: its kubeconfig is admin.conf in --data-dir.
    More hosts join with netproxy run --run-pods --kubeconfig node.conf, if --api-address is one
    that they reach. Who outgrows that points netproxy run at a Kubernetes API server.
    """
    import asyncio

    from netproxy import log
    from netproxy.cli.server_settings import standalone_settings
    from netproxy.standalone import run_standalone

    settings = standalone_settings(flags)
    own = settings.proxy.log
    log.configure(is_json=own.is_json, verbosity=own.verbosity)
    asyncio.run(run_standalone(settings))
