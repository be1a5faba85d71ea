"""Which routes follow from the Nodes."""

from __future__ import annotations

from typing import Any

from netproxy.membership.paths import Path, plan_paths
from netproxy.model.ip import IPAddress, parse_prefix


def node(name: str, cidrs: list[str], *addresses: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"podCIDRs": cidrs},
        "status": {
            "addresses": [
                {"type": "Hostname", "address": name},
                *({"type": "InternalIP", "address": each} for each in addresses),
            ]
        },
    }


def path(prefix: str, gateway: str | None) -> Path:
    return Path(parse_prefix(prefix), IPAddress(gateway) if gateway else None)


def test_pods_of_other_nodes_are_behind_their_node() -> None:
    nodes = [
        node("a", ["10.244.0.0/24", "fd00:0::/64"], "192.0.2.1", "2001:db8::1"),
        node("b", ["10.244.1.0/24", "fd00:0:0:1::/64"], "192.0.2.2", "2001:db8::2"),
    ]
    assert plan_paths(nodes, "a") == {
        path("10.244.0.0/24", None),
        path("fd00::/64", None),
        path("10.244.1.0/24", "192.0.2.2"),
        path("fd00:0:0:1::/64", "2001:db8::2"),
    }


def test_a_node_without_prefix_or_address_has_no_path_yet() -> None:
    nodes = [
        {"metadata": {"name": "b"}},
        node("c", ["10.244.2.0/24"]),
        node("d", [], "192.0.2.4"),
        node("e", ["fd00:0:0:4::/64"], "192.0.2.5"),
    ]
    assert plan_paths(nodes, "a") == frozenset()


def test_what_is_no_address_is_passed_over() -> None:
    nodes = [node("b", ["10.244.1.0/24"], "host.example", "192.0.2.2", "192.0.2.3")]
    assert plan_paths(nodes, "a") == {path("10.244.1.0/24", "192.0.2.2")}
