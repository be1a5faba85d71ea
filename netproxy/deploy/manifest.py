"""What a cluster is given so that netproxy runs on each of its nodes: decisions, no text.

Rule 1: no right, capability or piece of the host without the reason for it beside it; the reason
is printed, too.
Rule 2: what the operator does not ask for is the smaller choice.
"""

from __future__ import annotations

from typing import NamedTuple

from netproxy.core.config import ProxyMode
from netproxy.deploy.wishes import Wishes
from netproxy.model.ip import Family

HEALTH_PORT = 10256
"""Source: kube-proxy 1.36, KubeProxyConfiguration.healthzBindAddress."""
OOM_SCORE_ADJ = -997
"""What kubelet gives a pod of class system-node-critical. Confirming it needs no capability;
kube-proxy's own -999 would need CAP_SYS_RESOURCE."""
CONFIG_DIRECTORY = "/etc/netproxy"
CONFIG_FILE = "config.yaml"


class Rule(NamedTuple):
    """One rule of a ClusterRole."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str


class Capability(NamedTuple):
    """One Linux capability, in Kubernetes' spelling: without ``CAP_``."""

    name: str
    why: str


class HostPath(NamedTuple):
    """A piece of the host's file system that the container sees."""

    name: str
    path: str
    kind: str
    """As ``hostPath.type`` in the API."""
    why: str


class Manifest(NamedTuple):
    """What is printed."""

    wishes: Wishes
    rules: tuple[Rule, ...]
    capabilities: tuple[Capability, ...]
    host_paths: tuple[HostPath, ...]
    health_bind_address: str
    arguments: tuple[str, ...]
    """What the container's program is called with."""
    health_port: int = HEALTH_PORT
    oom_score_adj: int = OOM_SCORE_ADJ
    config_directory: str = CONFIG_DIRECTORY
    config_file: str = CONFIG_FILE


RULES = (
    Rule("", ("services",), ("list", "watch"), "what is served"),
    Rule("", ("nodes",), ("list", "watch"), "this node's own addresses, zone and pod range"),
    Rule("discovery.k8s.io", ("endpointslices",), ("list", "watch"), "who serves it"),
    Rule("networking.k8s.io", ("servicecidrs",), ("list", "watch"), "the service range"),
    Rule("events.k8s.io", ("events",), ("create", "patch"), "telling of starts and taken ports"),
)
"""All that is ever asked of the API server. Rights in all namespaces, since Services are in all."""

_NET_ADMIN = Capability("NET_ADMIN", "rules, and connections to endpoints that are gone")
_NET_RAW = Capability("NET_RAW", "iptables-legacy reads and writes tables through a raw socket")
_XTABLES_LOCK = HostPath(
    "xtables-lock",
    "/run/xtables.lock",
    "FileOrCreate",
    "the lock that all iptables-legacy programs of the host share",
)


def plan_manifest(wishes: Wishes) -> Manifest:
    """Decide what the cluster is given.

    Nobody can ask a node beforehand whether its iptables are legacy, and iptables mode takes what
    is there; so in that mode what legacy needs is given, too.
    """
    is_legacy = wishes.legacy_iptables or wishes.mode is ProxyMode.IPTABLES
    first = wishes.cluster_cidrs[0].family if wishes.cluster_cidrs else Family.IPV4
    anywhere = "0.0.0.0" if first is Family.IPV4 else "[::]"  # noqa: S104 - kube-proxy's default
    return Manifest(
        wishes=wishes,
        rules=RULES,
        capabilities=(_NET_ADMIN, _NET_RAW) if is_legacy else (_NET_ADMIN,),
        host_paths=(_XTABLES_LOCK,) if is_legacy else (),
        health_bind_address=f"{anywhere}:{HEALTH_PORT}",
        arguments=(
            "run",
            f"--config={CONFIG_DIRECTORY}/{CONFIG_FILE}",
            "--hostname-override=$(NODE_NAME)",
        ),
    )
