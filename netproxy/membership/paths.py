"""Which routes lead from one node to the Pods of the others: Nodes in, routes out.

Source: Node.spec.podCIDRs and Node.status.addresses of core/v1; the way that "host-gw" networks
work: all nodes on one wire, the next hop to a Pod is its node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netproxy.api.objects import Object
from netproxy.model.ip import Family, IPAddress, Prefix, parse_address, parse_prefix


class Path(NamedTuple):
    """Where packets to a prefix go."""

    prefix: Prefix
    gateway: IPAddress | None
    """None: it is this node's own, and whatever no Pod has is unreachable."""


def plan_paths(nodes: Iterable[Object], own_name: str) -> frozenset[Path]:
    """All routes that this node should have.

    Args:
        nodes: All of them.
        own_name: Which is this one.
    """
    return frozenset(path for node in nodes for path in _paths_to(node, own_name))


def _paths_to(node: Object, own_name: str) -> Iterator[Path]:
    is_own = node["metadata"]["name"] == own_name
    gateways = _gateways(node)
    for text in (node.get("spec") or {}).get("podCIDRs") or ():
        prefix = parse_prefix(text)
        if is_own:
            yield Path(prefix, None)
        elif prefix.family in gateways:
            yield Path(prefix, gateways[prefix.family])


def _gateways(node: Object) -> dict[Family, IPAddress]:
    """The first address of each family."""
    found: dict[Family, IPAddress] = {}
    for each in (node.get("status") or {}).get("addresses") or ():
        if each.get("type") != "InternalIP":
            continue
        try:
            address = parse_address(each["address"])
        except ValueError:
            continue
        found.setdefault(Family.IPV6 if ":" in address else Family.IPV4, address)
    return found
