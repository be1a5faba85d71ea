"""The plan of a lab, without a kernel."""

from __future__ import annotations

import pytest

from netproxy.errors import ConfigError
from netproxy.lab.names import Role
from netproxy.lab.topology import (
    CLUSTER_CIDRS,
    LabSpec,
    PodSpec,
    Route,
    Topology,
    cidr_list,
    default_pods,
    resolve_topology,
)
from netproxy.model.ip import Family

DUAL = (Family.IPV4, Family.IPV6)


def lab(**fields: object) -> Topology:
    return resolve_topology(
        LabSpec(**{"pods": default_pods(nodes=2, per_node=2), **fields})  # type: ignore[arg-type]
    )


def test_pods_are_routed_through_their_node() -> None:
    pod = lab().member("2-1")
    assert pod.addresses == ("10.244.2.2", "fd00:244:2::2")
    assert pod.node == "node-2"
    assert pod.uplink is not None
    assert pod.uplink.parent == "np-lab-node-2"
    assert not pod.uplink.bridge
    assert [str(address) for address in pod.uplink.addresses] == [
        "10.244.2.2/32",
        "fd00:244:2::2/128",
    ]
    assert pod.uplink.parent_routes == (
        Route("10.244.2.2/32", interface="pod2"),
        Route("fd00:244:2::2/128", interface="pod2"),
    )
    assert pod.routes == (
        Route("169.254.1.1/32", interface="eth0"),
        Route("0.0.0.0/0", gateway="169.254.1.1", interface="eth0"),
        Route("::/0", gateway="fe80::1", interface="eth0"),
    )


def test_nodes_know_the_way_to_each_others_pods() -> None:
    node = lab(families=(Family.IPV4,)).member("node-1")
    assert node.routes == (
        Route("0.0.0.0/0", gateway="192.168.77.254"),
        Route("10.244.2.0/24", gateway="192.168.77.2"),
        Route("10.244.1.0/24"),
    )


def test_the_client_reaches_external_addresses_through_a_node() -> None:
    routes = lab().member("client").routes
    assert Route("203.0.113.0/24", gateway="192.168.77.1") in routes
    assert Route("fd00:203::/64", gateway="fd00:77::1") in routes


def test_a_parent_is_built_before_its_children() -> None:
    seen: set[str] = set()
    for each in lab(hosts=("database",)).namespaces:
        if each.uplink is not None:
            assert each.uplink.parent in seen
        seen.add(each.name)


def test_every_address_is_given_once() -> None:
    spec = LabSpec(nodes=9, pods=default_pods(nodes=9, per_node=40), hosts=("a", "b"))
    addresses = [a for each in resolve_topology(spec).namespaces for a in each.addresses]
    assert len(addresses) == len(set(addresses)) == 2 * (1 + 9 + 360 + 3)


def test_pods_are_in_the_cluster_cidr_and_nodes_are_not() -> None:
    for each in lab().namespaces:
        for family in DUAL:
            inside = CLUSTER_CIDRS[family].contains(each.address(family))
            assert inside == (each.role is Role.POD)


def test_one_family_alone_switches_the_other_off() -> None:
    topology = lab(families=(Family.IPV4,))
    for each in topology.namespaces:
        assert all(":" not in address for address in each.addresses)
        assert ("ipv6/conf/all/disable_ipv6", "1") in each.sysctls
    with pytest.raises(KeyError):
        topology.member("client").address(Family.IPV6)


def test_an_unknown_member_is_told_who_there_is() -> None:
    with pytest.raises(ConfigError) as caught:
        lab().member("node-9")
    assert "node-2" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "fields",
    [
        {"nodes": 0},
        {"nodes": 100},
        {"families": ()},
        {"echo_ports": (0,)},
        {"echo_ports": (70000,)},
        {"pods": (PodSpec("a", 3),)},
        {"pods": (PodSpec("a", 1), PodSpec("a", 2))},
        {"pods": (PodSpec("node-1", 1),)},
        {"pods": (PodSpec("x/../y", 1),)},
        {"hosts": ("client",)},
        {"hosts": ("A",)},
        {"pods": default_pods(nodes=1, per_node=201), "nodes": 1},
    ],
)
def test_impossible_labs_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        lab(**fields)


def test_prefixes_are_written_as_a_flag() -> None:
    assert cidr_list(CLUSTER_CIDRS, DUAL) == "10.244.0.0/16,fd00:244::/32"
