"""What a node agent has to know to run Pods."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from netproxy.model.ip import IPAddress
from netproxy.pods.core.environment import PATH


class PodSettings(NamedTuple):
    """Of one node."""

    node_name: str
    host_addresses: tuple[IPAddress, ...]
    """What Pods are told about their host: one, or one of each IP family."""
    directory: Path
    """Where it is remembered which Pods run; has to outlive the agent."""
    dns_addresses: tuple[IPAddress, ...] = ()
    """Of the cluster's DNS Service; empty: Pods ask whom this host asks."""
    cluster_domain: str = "cluster.local"
    namespace_prefix: str = "netproxy-pod-"
    """Of the names under ``/run/netns``; nodes that share these need prefixes of their own."""
    path: str = PATH
    """Where containers look for programs."""
    resolv_conf: Path = Path("/etc/resolv.conf")
    most_log_bytes: int = 5 * 1024 * 1024
    """Of one log file of a container; there are two."""
