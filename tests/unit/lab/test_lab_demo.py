"""The demo's manifests agree with the demo's lab."""

from __future__ import annotations

import pytest
import yaml

from netproxy.lab import demo
from netproxy.lab.topology import EXTERNAL_CIDRS, SERVICE_CIDRS, Topology, resolve_topology
from netproxy.model.ip import Family, family_of, parse_address
from netproxy.render.environment import templates_dir

DUAL = (Family.IPV4, Family.IPV6)


@pytest.fixture
def manifests() -> demo.Manifests:
    return demo.Manifests(directory=templates_dir() / "demo")


@pytest.fixture
def topology() -> Topology:
    return resolve_topology(demo.demo_spec(DUAL, name="x"))


def test_every_endpoint_is_a_pod_of_the_lab(manifests: demo.Manifests, topology: Topology) -> None:
    for each in manifests.read(demo.SLICES_FILE):
        for endpoint in each["endpoints"]:
            pod = topology.member(endpoint["targetRef"]["name"])
            assert endpoint["nodeName"] == pod.node
            assert parse_address(endpoint["addresses"][0]) in pod.addresses


def test_the_database_is_a_host_outside(manifests: demo.Manifests, topology: Topology) -> None:
    _, by_hand = manifests.read(demo.DATABASE_FILE)
    address = by_hand["subsets"][0]["addresses"][0]["ip"]
    assert address in topology.member("database").addresses


def test_addresses_are_where_the_lab_routes_them(manifests: demo.Manifests) -> None:
    (service,) = manifests.read(demo.SERVICE_FILE)
    for text in service["spec"]["clusterIPs"]:
        assert SERVICE_CIDRS[family_of(text)].contains(parse_address(text))
    for each in service["status"]["loadBalancer"]["ingress"]:
        assert EXTERNAL_CIDRS[family_of(each["ip"])].contains(parse_address(each["ip"]))


def test_there_are_ways_from_everywhere(manifests: demo.Manifests) -> None:
    ways = demo.list_ways(manifests, DUAL)
    assert {way.origin for way in ways} == {"a pod", "a node", "outside"}
    assert len(ways) == 8
    assert len(demo.list_ways(manifests, (Family.IPV4,))) == 4


def test_a_pod_comes_and_a_pod_goes(manifests: demo.Manifests, topology: Topology) -> None:
    text = manifests.slices_with(added=[topology.member(demo.NEWCOMER)], removed=[demo.LEAVER])
    v4, v6 = yaml.safe_load_all(text)
    assert [each["addresses"] for each in v4["endpoints"]] == [
        ["10.244.1.3"],
        ["10.244.2.2"],
        ["10.244.2.3"],
        ["10.244.2.4"],
    ]
    assert v6["endpoints"][-1]["addresses"] == ["fd00:244:2::4"]
    assert len(v6["endpoints"]) == 4


RULES = """
table ip netproxy {
	map services {
		type ipv4_addr : verdict
		elements = {
			10.0.0.1 . tcp . 80 : goto two,	# default/web
			10.0.0.10 . tcp . 80 : goto three
		}
	}
	map endpoints {
		elements = {
			10.0.0.1 . 0 : 10.1.0.1,
			10.0.0.1 . 1 : 10.1.0.2
		}
	}
	chain two {
		dnat ip to numgen random mod 2 map @endpoints comment "one of 2"
	}
	chain three {
		drop
	}
}
table ip6 netproxy {
	map services {
		10.0.0.1 : goto never
	}
}
"""


def test_a_packet_is_followed_through_the_rules() -> None:
    assert demo.follow_packet(RULES, "10.0.0.1") == [
        ("map services", "10.0.0.1 . tcp . 80 : goto two"),
        ("chain two", "dnat ip to numgen random mod 2 map @endpoints"),
        ("map endpoints", "10.0.0.1 . 0 : 10.1.0.1"),
        ("map endpoints", "10.0.0.1 . 1 : 10.1.0.2"),
    ]
    assert demo.follow_packet(RULES, "10.0.0.2") == []
