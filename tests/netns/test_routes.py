"""Routes between nodes, in a kernel of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from netproxy.membership.paths import Path
from netproxy.membership.routing import PROTOCOL, Router, forward_packets
from netproxy.model.ip import IPAddress, parse_prefix
from tests.netns.namespace import NetworkNamespace


def path(prefix: str, gateway: str | None) -> Path:
    return Path(parse_prefix(prefix), IPAddress(gateway) if gateway else None)


OWN = path("10.244.0.0/24", None)
OTHERS = {
    path("10.244.1.0/24", "192.0.2.2"),
    path("10.244.2.0/24", "192.0.2.3"),
    path("fd00:244:1::/64", "2001:db8::2"),
}


@pytest.fixture
def node(netns: NetworkNamespace) -> NetworkNamespace:
    netns.run("ip", "link", "add", "wire", "type", "veth", "peer", "name", "far")
    netns.run("ip", "link", "set", "wire", "up")
    netns.run("ip", "link", "set", "far", "up")
    netns.run("ip", "address", "add", "192.0.2.1/24", "dev", "wire")
    netns.run("ip", "-6", "address", "add", "2001:db8::1/64", "dev", "wire", "nodad")
    return netns


@pytest.fixture
def router(node: NetworkNamespace) -> Iterator[Router]:
    made = node.call(lambda: Router("n1"))
    yield made
    node.call(made.close)


def read(node: NetworkNamespace) -> set[tuple[str, str | None]]:
    """What the kernel has that carries our protocol number, as iproute2 reads it."""
    found = set()
    for family in ("-4", "-6"):
        said = node.run("ip", "-j", "-N", family, "route", "show", "proto", str(PROTOCOL))
        routes: list[dict[str, Any]] = json.loads(said or "[]")
        found |= {(each["dst"], each.get("gateway")) for each in routes}
    return found


def expected(*paths: Path) -> set[tuple[str, str | None]]:
    return {(str(each.prefix), each.gateway) for each in paths}


def test_routes_are_as_wanted_and_change_with_what_is_wanted(
    node: NetworkNamespace, router: Router
) -> None:
    wanted = frozenset({OWN, *OTHERS})
    node.call(lambda: router.put(wanted))
    assert read(node) == expected(*wanted)
    moved = path("10.244.1.0/24", "192.0.2.9")
    fewer = frozenset({OWN, moved})
    node.call(lambda: router.put(fewer))
    assert read(node) == expected(*fewer)
    node.call(lambda: router.put(frozenset()))
    assert read(node) == set()


def test_a_newborn_process_finds_the_routes_of_its_forerunner(
    node: NetworkNamespace, router: Router
) -> None:
    node.call(lambda: router.put(frozenset({OWN, *OTHERS})))
    newborn = node.call(lambda: Router("n1"))
    node.call(lambda: newborn.put(frozenset({OWN})))
    assert read(node) == expected(OWN)
    node.call(newborn.close)


def test_what_somebody_removed_comes_back(node: NetworkNamespace, router: Router) -> None:
    wanted = frozenset({OWN, *OTHERS})
    node.call(lambda: router.put(wanted))
    node.run("ip", "route", "del", "10.244.1.0/24")
    node.call(lambda: router.put(wanted))
    assert read(node) == expected(*wanted)


def test_routes_of_others_stay_and_are_in_the_way_of_nobody_else(
    node: NetworkNamespace, router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    """An administrator's route to the same prefix wins; the other routes are made."""
    node.run("ip", "route", "add", "10.244.1.0/24", "via", "192.0.2.77")
    for _ in range(2):
        node.call(lambda: router.put(frozenset({OWN, *OTHERS})))
    assert read(node) == expected(OWN, *OTHERS) - {("10.244.1.0/24", "192.0.2.2")}
    assert "192.0.2.77" in node.run("ip", "route", "show", "10.244.1.0/24")
    assert [each.message for each in caplog.records].count("no route to pods") == 1


def test_a_node_beyond_a_router_is_said_and_harms_no_other(
    node: NetworkNamespace, router: Router, caplog: pytest.LogCaptureFixture
) -> None:
    far = path("10.244.7.0/24", "198.51.100.7")
    node.call(lambda: router.put(frozenset({OWN, far, *OTHERS})))
    assert read(node) == expected(OWN, *OTHERS)
    (said,) = [each for each in caplog.records if each.message == "no route to pods"]
    assert "common" in str(vars(said))


def test_packets_are_passed_on_and_routers_are_still_heard(node: NetworkNamespace) -> None:
    node.call(forward_packets)
    assert node.call(lambda: _sysctl("net/ipv4/ip_forward")) == "1"
    assert node.call(lambda: _sysctl("net/ipv6/conf/all/forwarding")) == "1"
    assert node.call(lambda: _sysctl("net/ipv6/conf/wire/accept_ra")) == "2"


def _sysctl(name: str) -> str:
    with open(f"/proc/sys/{name}") as file:
        return file.read().strip()
