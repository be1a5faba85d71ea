"""Which connections are forgotten: kube-proxy's cases, and those it forgets wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netproxy.core.conntrack import FlowBook, Place, Sweep, udp_servers
from netproxy.model.endpoints import Endpoint, EndpointSlice, SlicePort
from netproxy.model.ip import Family, IPAddress, pack_address, parse_address
from netproxy.model.names import ServiceKey
from netproxy.model.parse import parse_object
from netproxy.model.service import Service, ServicePort

DATA = Path(__file__).parents[2] / "data/flows/conntrack.json"
CASES = json.loads(DATA.read_text())
NODE_IP = IPAddress("192.168.0.2")
KEY = ServiceKey("ns", "dns")
A, B = (b"\n\0\0\1", 53), (b"\n\0\0\2", 53)
VIP, OTHER_VIP = (b"\n\x60\0\1", 53), (b"\n\x60\0\2", 53)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_kube_proxys_cases(case: dict[str, Any]) -> None:
    family = Family.IPV4 if case["config"]["ipFamily"] == "IPv4" else Family.IPV6
    objects = [
        each
        for raw in (*map(_as_stored, case["services"]), *case["endpointSlices"])
        for each in parse_object(raw).objects
    ]
    slices = [each for each in objects if isinstance(each, EndpointSlice)]
    book = FlowBook(family)
    for service in objects:
        if isinstance(service, Service):
            own = [each for each in slices if each.service == service.key]
            book.note(service.key, udp_servers(service, own, family))
    sweep = book.take([NODE_IP])
    assert sweep is not None
    for entry in case["entries"]:
        if entry["protocol"] != "UDP":
            assert not entry["deleted"], "only UDP is ever looked at"
            continue
        # Without a destination any would do: here, one that accepts NodePorts.
        destination = place(entry["origDst"] or NODE_IP, entry["origPortDst"])
        server = place(entry["replySrc"], entry["replyPortSrc"])
        is_served = bool(sweep.frontends.get(destination, SOMEBODY))
        # kube-proxy passes over Services without endpoints; netproxy does not, on purpose.
        expected = entry["deleted"] or not is_served
        assert sweep.condemns(destination, server) is expected, entry


SOMEBODY = frozenset({(b"", 0)})


def _as_stored(service: dict[str, Any]) -> dict[str, Any]:
    """An API server keeps NodePorts and ingress addresses of this type alone."""
    return service | {"spec": service["spec"] | {"type": "LoadBalancer"}}


def place(address: str, port: int) -> Place:
    return pack_address(parse_address(address)), port


def sweep_of(book: FlowBook) -> Sweep:
    sweep = book.take([NODE_IP])
    assert sweep is not None
    return sweep


@pytest.fixture
def book() -> FlowBook:
    """A Service with two servers, already swept."""
    made = FlowBook(Family.IPV4)
    made.note(KEY, {VIP: frozenset({A, B})})
    assert sweep_of(made)
    assert made.take([NODE_IP]) is None
    return made


def test_a_server_that_is_gone(book: FlowBook) -> None:
    book.note(KEY, {VIP: frozenset({A})})
    sweep = sweep_of(book)
    assert sweep.condemns(VIP, B)
    assert not sweep.condemns(VIP, A)
    assert not sweep.condemns(OTHER_VIP, B)
    assert book.take([NODE_IP]) is None


def test_the_last_server_is_gone(book: FlowBook) -> None:
    book.note(KEY, {VIP: frozenset()})
    assert sweep_of(book).condemns(VIP, A)


def test_the_first_server_comes(book: FlowBook) -> None:
    book.note(KEY, {VIP: frozenset()})
    sweep_of(book)
    book.note(KEY, {VIP: frozenset({A})})
    assert sweep_of(book).condemns(VIP, VIP), "a client that sent in vain, untranslated"


def test_one_more_server_sends_nobody_away(book: FlowBook) -> None:
    book.note(KEY, {VIP: frozenset({A, B, (b"\n\0\0\3", 53)})})
    assert book.take([NODE_IP]) is None


def test_the_service_is_gone(book: FlowBook) -> None:
    book.note(KEY, {})
    assert sweep_of(book).condemns(VIP, A)


def test_the_service_moves(book: FlowBook) -> None:
    book.note(KEY, {OTHER_VIP: frozenset({A, B})})
    sweep = sweep_of(book)
    assert sweep.condemns(VIP, A)
    assert not sweep.condemns(OTHER_VIP, A)


@pytest.mark.parametrize("heir_first", [True, False])
def test_another_service_takes_the_address_over(book: FlowBook, heir_first: bool) -> None:
    steps = [(ServiceKey("ns", "heir"), {VIP: frozenset({B})}), (KEY, {})]
    for key, served in steps if heir_first else reversed(steps):
        book.note(key, served)
    sweep = sweep_of(book)
    assert sweep.condemns(VIP, A)
    assert not sweep.condemns(VIP, B)


def test_what_could_not_be_done_is_done_the_next_time(book: FlowBook) -> None:
    book.note(KEY, {VIP: frozenset({A})})
    book.put_back(sweep_of(book))
    book.note(KEY, {VIP: frozenset({B})})
    sweep = sweep_of(book)
    assert sweep.condemns(VIP, A), "as things are now"
    assert not sweep.condemns(VIP, B)


def test_transit_with_the_number_of_a_nodeport(book: FlowBook) -> None:
    book.note(KEY, {(b"", 30053): frozenset({A})})
    sweep = sweep_of(book)
    assert sweep.condemns((pack_address(NODE_IP), 30053), B)
    assert not sweep.condemns((b"\xcb\0\x71\1", 30053), B), "somebody else's address"


def test_another_service_takes_over_with_the_same_servers(book: FlowBook) -> None:
    book.note(ServiceKey("ns", "heir"), {VIP: frozenset({A, B})})
    book.note(KEY, {})
    assert book.take([NODE_IP]) is None, "nobody has to move"


def test_a_nodeport_does_not_judge_a_frontend_with_its_number(book: FlowBook) -> None:
    own = (pack_address(NODE_IP), 30053)
    book.note(ServiceKey("ns", "other"), {own: frozenset({B})})
    sweep_of(book)
    book.note(KEY, {(b"", 30053): frozenset({A})})
    assert not sweep_of(book).condemns(own, B), "an external IP of another Service"


def test_what_is_new_waits_until_all_is_known(book: FlowBook) -> None:
    book.note(ServiceKey("ns", "half-known"), {OTHER_VIP: frozenset()})
    assert book.take([NODE_IP], is_complete=False) is None
    book.note(KEY, {VIP: frozenset({A})})
    sweep = book.take([NODE_IP], is_complete=False)
    assert sweep is not None
    assert sweep.condemns(VIP, B), "that it is gone is known"
    assert not sweep.condemns(OTHER_VIP, B)
    assert sweep_of(book).condemns(OTHER_VIP, B)


def test_legacy_endpoints_say_nothing_where_slices_are() -> None:
    service = Service(KEY, (ServicePort("", "UDP", 53),), (IPAddress("10.96.0.1"),))

    def served(address: str, *, is_legacy: bool) -> EndpointSlice:
        ports, endpoints = (SlicePort("", "UDP", 53),), (Endpoint(IPAddress(address), "n"),)
        return EndpointSlice(KEY, address, Family.IPV4, ports, endpoints, is_legacy=is_legacy)

    old, new = served("10.0.0.1", is_legacy=True), served("10.0.0.2", is_legacy=False)
    assert udp_servers(service, [old, new], Family.IPV4) == {VIP: frozenset({B})}
    assert udp_servers(service, [old], Family.IPV4) == {VIP: frozenset({A})}
