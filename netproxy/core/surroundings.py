"""What the rules depend on besides Services: the operator's settings, our Node, our addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from netproxy.core.config import DetectLocalMode, ProxyConfig, ProxyMode
from netproxy.core.resolve import Locality
from netproxy.model.ip import Family, IPAddress, Prefix, family_of
from netproxy.model.node import Node


class Addresses(NamedTuple):
    """This host's own addresses in one family."""

    local: tuple[IPAddress, ...] = ()
    """Of all interfaces, loopback's included."""
    primary: IPAddress | None = None
    """From which the host speaks to the world; None: it has none, or it is not known."""


class Surroundings(NamedTuple):
    """The facts of one node in one family, decided."""

    family: Family
    locality: Locality
    pod_prefix: Prefix | None
    """Sources that are pods of this node; None: not told by address."""
    pod_interface: str
    """Interface of pods, with a trailing ``*`` for a prefix; empty: not told by interface."""
    service_cidrs: tuple[Prefix, ...]
    nodeport_ips: tuple[IPAddress, ...] | None
    """Addresses that accept NodePorts, sorted; None: every address but loopback."""
    accepts_localhost_nodeports: bool = False
    """NodePorts on loopback, too: in iptables mode, where the operator wants that."""


def look_around(
    config: ProxyConfig,
    family: Family,
    *,
    node: Node | None,
    service_cidrs: Sequence[Prefix],
    addresses: Addresses,
) -> Surroundings:
    """Put together what is known about this node.

    Args:
        config: The operator's word; it wins over everything else.
        family: The IP family.
        node: Our Node object, if there is one.
        service_cidrs: Of ServiceCIDR objects.
        addresses: The host's; its primary one counts when neither operator nor Node name one.
    """
    known = {*config.service_cidrs, *service_cidrs}
    return Surroundings(
        family=family,
        locality=Locality(
            config.node_name,
            config.zone or (node.zone if node else ""),
            _primary(config, family, node, addresses) or IPAddress(""),
        ),
        pod_prefix=_pod_prefix(config, family, node),
        pod_interface=_pod_interface(config),
        service_cidrs=tuple(sorted(p for p in known if p.family is family)),
        nodeport_ips=_nodeport_ips(config, family, node, addresses),
        accepts_localhost_nodeports=accepts_localhost(config, family),
    )


def _pod_prefix(config: ProxyConfig, family: Family, node: Node | None) -> Prefix | None:
    match config.detect_local_mode:
        case DetectLocalMode.CLUSTER_CIDR:
            prefixes = config.cluster_cidrs
        case DetectLocalMode.NODE_CIDR:
            prefixes = node.pod_cidrs if node else ()
        case _:
            prefixes = ()
    return next((p for p in prefixes if p.family is family), None)


def _pod_interface(config: ProxyConfig) -> str:
    match config.detect_local_mode:
        case DetectLocalMode.BRIDGE_INTERFACE:
            return config.pod_bridge_interface
        case DetectLocalMode.INTERFACE_NAME_PREFIX:
            return config.pod_interface_name_prefix + "*"
        case _:
            return ""


def _nodeport_ips(
    config: ProxyConfig,
    family: Family,
    node: Node | None,
    addresses: Addresses,
) -> tuple[IPAddress, ...] | None:
    """Source: kube-proxy 1.36, nodePortAddresses.

    A list without a prefix of this family, or with a prefix that covers everything, stands for
    every address but loopback; so does none at all in iptables mode. Unlike kube-proxy, a node
    whose primary address is not known accepts NodePorts nowhere rather than everywhere.
    """
    prefixes = [p for p in config.nodeport_addresses if p.family is family]
    if config.nodeport_addresses:
        if not prefixes or any(p.length == 0 for p in prefixes):
            return None
        accepting = {a for a in addresses.local if any(p.contains(a) for p in prefixes)}
        if not accepts_localhost(config, family):
            accepting = {a for a in accepting if not _LOOPBACK[family].contains(a)}
        return tuple(sorted(accepting))
    if config.mode is ProxyMode.IPTABLES and not config.nodeport_primary:
        return None
    primary = _primary(config, family, node, addresses)
    return (primary,) if primary else ()


def _primary(
    config: ProxyConfig, family: Family, node: Node | None, addresses: Addresses
) -> IPAddress | None:
    """The node's own address: the operator's word, the Node object's, the kernel's.

    Source: kube-proxy 1.36, detectNodeIPs: each family for itself.
    """
    given = (*config.node_ips, *(node.addresses if node else ()))
    return next((a for a in given if family_of(a) is family), addresses.primary)


_LOOPBACK = {
    Family.IPV4: Prefix(IPAddress("127.0.0.0"), 8),
    Family.IPV6: Prefix(IPAddress("::1"), 128),
}


def accepts_localhost(config: ProxyConfig, family: Family) -> bool:
    """Whether NodePorts answer on loopback. Source: kube-proxy 1.36, iptables mode."""
    if config.mode is not ProxyMode.IPTABLES or family is not Family.IPV4:
        return False
    prefixes = [p for p in config.nodeport_addresses if p.family is family]
    has_loopback = not prefixes or any(
        p.contains(IPAddress("127.0.0.1")) or _LOOPBACK[family].contains(p.address)
        for p in prefixes
    )
    return config.localhost_nodeports and has_loopback and not config.nodeport_primary


def accepting_addresses(seen: Surroundings, addresses: Addresses) -> tuple[IPAddress, ...]:
    """The addresses of this host that accept NodePorts, one by one.

    Args:
        seen: What was decided about this node.
        addresses: The host's.
    """
    if seen.nodeport_ips is not None:
        return seen.nodeport_ips
    if seen.accepts_localhost_nodeports:
        return addresses.local
    return tuple([a for a in addresses.local if not _LOOPBACK[seen.family].contains(a)])
