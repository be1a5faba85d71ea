"""What this node is: the operator's word, then the Node object's, then the kernel's."""

from __future__ import annotations

from netproxy.core.config import ProxyConfig, ProxyMode
from netproxy.core.surroundings import (
    Addresses,
    Surroundings,
    accepting_addresses,
    look_around,
)
from netproxy.model.ip import Family, IPAddress, parse_prefix
from netproxy.model.node import Node

OPERATOR, NODE, KERNEL = (IPAddress(f"192.168.0.{n}") for n in (1, 2, 3))


def look(
    config: ProxyConfig, *, node: Node | None = None, primary: IPAddress | None = None
) -> Surroundings:
    return look_around(
        config,
        Family.IPV4,
        node=node,
        service_cidrs=(parse_prefix("10.97.0.0/16"), parse_prefix("fd00::/112")),
        addresses=Addresses((KERNEL,), primary),
    )


def test_the_primary_address_is_the_operators_then_the_nodes_then_the_kernels() -> None:
    config, node = ProxyConfig("n"), Node("n", addresses=(NODE,))
    named = config._replace(node_ips=(OPERATOR,))
    assert look(named, node=node, primary=KERNEL).nodeport_ips == (OPERATOR,)
    assert look(config, node=node, primary=KERNEL).nodeport_ips == (NODE,)
    assert look(config, primary=KERNEL).nodeport_ips == (KERNEL,)
    other = config._replace(node_ips=(IPAddress("fd00::1"),))
    assert look(other, node=node, primary=KERNEL).nodeport_ips == (NODE,), "each family for itself"


def test_without_a_primary_address_nodeports_are_served_nowhere_rather_than_everywhere() -> None:
    assert look(ProxyConfig("n")).nodeport_ips == ()
    six = look(ProxyConfig("n", node_ips=(IPAddress("fd00::1"),)))
    assert six.nodeport_ips == (), "an address of the other family is none"


def test_service_ranges_of_flags_and_objects_count_in_their_family() -> None:
    config = ProxyConfig("n", service_cidrs=(parse_prefix("10.96.0.0/16"),))
    ranges = look(config).service_cidrs
    assert ranges == (parse_prefix("10.96.0.0/16"), parse_prefix("10.97.0.0/16"))


def test_the_zone_is_the_operators_then_the_nodes() -> None:
    node = Node("n", zone="b")
    assert look(ProxyConfig("n", zone="a"), node=node).locality.zone == "a"
    assert look(ProxyConfig("n"), node=node).locality.zone == "b"
    assert look(ProxyConfig("n")).locality.zone == ""


def test_every_address_is_every_address_but_loopback() -> None:
    addresses = Addresses((KERNEL, IPAddress("127.0.0.1")))
    everywhere = ProxyConfig("n", nodeport_addresses=(parse_prefix("0.0.0.0/0"),))
    assert accepting_addresses(look(everywhere), addresses) == (KERNEL,)
    localhost = everywhere._replace(mode=ProxyMode.IPTABLES, localhost_nodeports=True)
    assert accepting_addresses(look(localhost), addresses) == addresses.local
    primary = look(ProxyConfig("n"), primary=NODE)
    assert accepting_addresses(primary, addresses) == (NODE,), "as decided"
