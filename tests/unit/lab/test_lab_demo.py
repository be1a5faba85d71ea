"""The demo's manifests agree with the demo's lab."""

from __future__ import annotations

import pytest

from netproxy.lab import demo, hosted
from netproxy.lab.follow import follow_packet
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


def test_the_dry_run_needs_no_api_and_shows_the_service(manifests: demo.Manifests) -> None:
    """The slices beside the manifests are those of a cluster in which the first Pods are these."""
    for each in manifests.slices_directory.iterdir():
        for obj in hosted.read_manifest(each):
            assert obj["metadata"]["labels"]["kubernetes.io/service-name"] == demo.SERVICE
            assert len(obj["endpoints"]) == demo.REPLICAS


def test_the_pods_are_those_that_the_service_selects(manifests: demo.Manifests) -> None:
    (service,) = manifests.read(demo.SERVICE_FILE)
    deployment, visitor = manifests.read(demo.APP_FILE)
    assert deployment["spec"]["template"]["metadata"]["labels"] == service["spec"]["selector"]
    assert deployment["spec"]["replicas"] == demo.REPLICAS
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (port,) = service["spec"]["ports"]
    assert str(port["targetPort"]) in container["command"]
    assert visitor["metadata"]["name"] == demo.VISITOR


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
    assert follow_packet(RULES, "10.0.0.1") == [
        ("map services", "10.0.0.1 . tcp . 80 : goto two"),
        ("chain two", "dnat ip to numgen random mod 2 map @endpoints"),
        ("map endpoints", "10.0.0.1 . 0 : 10.1.0.1"),
        ("map endpoints", "10.0.0.1 . 1 : 10.1.0.2"),
    ]
    assert follow_packet(RULES, "10.0.0.2") == []
