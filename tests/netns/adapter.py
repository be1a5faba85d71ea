"""The one place where packet tests meet netproxy: objects in, a programmed namespace out."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from netproxy.cli import run_command_line
from netproxy.errors import EXIT_OK
from tests.netns.namespace import NetworkNamespace


def program_objects(
    namespace: NetworkNamespace,
    objects: list[dict[str, Any]],
    config: dict[str, Any],
    *flags: str,
) -> None:
    """Let ``netproxy sync`` program a namespace, flags, manifests and all.

    Args:
        namespace: The node.
        objects: Services and EndpointSlices as JSON.
        config: The ``config`` of a packet-fact scenario.
        flags: Of the command line, in addition.
    """
    with tempfile.TemporaryDirectory(prefix="np-t-") as directory:
        manifest = Path(directory, "objects.json")
        manifest.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        command = ["sync", "--filename", str(manifest), *_flags(config), *flags]
        assert namespace.call(lambda: run_command_line(command)) == EXIT_OK


def _flags(config: dict[str, Any]) -> list[str]:
    lists = {
        "--hostname-override": [config["hostname"]],
        "--node-ip": config["nodeIPs"],
        "--service-cidr": config["serviceCIDRs"] or [],
        "--cluster-cidr": [config["detectLocal"].get("cidr", "")],
        "--nodeport-addresses": config["nodePortAddresses"] or [],
    }
    flags = [f"{flag}={','.join(words)}" for flag, words in lists.items() if any(words)]
    if config["localhostNodePorts"] is False:
        flags.append("--iptables-localhost-nodeports=false")
    return [*flags, "--masquerade-all"] if config["masqueradeAll"] else flags
