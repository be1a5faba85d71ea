"""Short questions about a Service; ``spec`` is its specification as JSON."""

from __future__ import annotations

from netproxy.api.objects import Object

HEADLESS = "None"


def kind_of(spec: Object) -> str:
    """ClusterIP, NodePort, LoadBalancer or ExternalName."""
    return str(spec.get("type") or "ClusterIP")


def needs_cluster_ip(spec: Object) -> bool:
    """Whether it has an address, or None in its place."""
    return kind_of(spec) != "ExternalName"


def is_headless(spec: Object) -> bool:
    """Whether its name leads to the pods themselves."""
    return HEADLESS in {spec.get("clusterIP"), *(spec.get("clusterIPs") or ())}


def takes_node_ports(spec: Object) -> bool:
    """Whether its ports may have node ports."""
    return kind_of(spec) in {"NodePort", "LoadBalancer"}


def allocates_node_ports(spec: Object) -> bool:
    """Whether ports without one are given one."""
    kind = kind_of(spec)
    return kind == "NodePort" or (
        kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False
    )


def is_external(spec: Object) -> bool:
    """Whether it can be reached from outside, so that externalTrafficPolicy means something."""
    if takes_node_ports(spec):
        return True
    return kind_of(spec) == "ClusterIP" and bool(spec.get("externalIPs"))


def needs_health_check_port(spec: Object) -> bool:
    """Whether load balancers ask each node for it."""
    return kind_of(spec) == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def cluster_ips(spec: Object) -> list[str]:
    """All addresses, however they are said."""
    listed = list(spec.get("clusterIPs") or ())
    if not listed and spec.get("clusterIP"):
        return [spec["clusterIP"]]
    return listed


def addresses(spec: Object) -> list[str]:
    """Its allocated addresses: none of a headless one."""
    return [each for each in cluster_ips(spec) if each and each != HEADLESS]


def family_of(address: str) -> str:
    """IPv4 or IPv6."""
    return "IPv6" if ":" in address else "IPv4"
