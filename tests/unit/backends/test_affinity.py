"""Tickets: numbers and seats, who gets which, and who keeps what."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netproxy.backends.nftables import affinity, names
from netproxy.backends.nftables.affinity import (
    NOBODY,
    SEATS,
    Numbers,
    Seating,
    after_restart,
    head,
    number_of,
    seat_of,
    tail,
    take_seats,
)
from netproxy.backends.nftables.compile import Fragment, can_remember, compile_plan
from netproxy.backends.nftables.dataplane import NftablesDataplane
from netproxy.core.config import ProxyConfig
from netproxy.core.plan import Action, Frontend, FrontendKind, ServicePlan, Target
from netproxy.model.ip import Family, IPAddress, unpack_address
from netproxy.model.names import ServiceKey, ServicePortName
from netproxy.nft.fake import FakeTable
from netproxy.nft.objects import Ruleset
from netproxy.proxier import Proxier
from tests.property import strategies as make

every_family = pytest.mark.parametrize("family", list(Family))
endpoints = st.lists(st.binary(min_size=1, max_size=1), max_size=12, unique=True)


@every_family
@given(number=st.integers(0, 0xFFFF), seat=st.integers(0, SEATS - 1))
def test_a_ticket_is_an_address_that_tells_number_and_seat(
    family: Family, number: int, seat: int
) -> None:
    ticket = head(number, family) + tail(seat, family)
    assert len(ticket) == (4 if family is Family.IPV4 else 16)
    assert (number_of(ticket, family), seat_of(ticket, family)) == (number, seat)


def test_tickets_can_be_read_by_people() -> None:
    shown = {f: unpack_address(head(5, f) + tail(2, f)) for f in Family}
    assert shown == {Family.IPV4: "0.5.0.2", Family.IPV6: "0:5::2"}


@given(endpoints, endpoints)
def test_who_has_a_seat_keeps_it_and_nobody_shares_one(
    before: list[bytes], wanted: list[bytes]
) -> None:
    had = take_seats(NOBODY, before)
    seats = take_seats(had, wanted).seats
    assert set(seats) == set(wanted)
    assert len(set(seats.values())) == len(wanted)
    assert all(seats[one] == had.seats[one] for one in wanted if one in had.seats)


def test_a_seat_that_became_free_is_not_given_at_once() -> None:
    had = take_seats(NOBODY, [b"a", b"b", b"c"])
    had = take_seats(had, [b"a", b"b"])
    had = take_seats(had, [b"a", b"b", b"c"])
    assert had.seats == {b"a": 0, b"b": 1, b"c": 3}
    full = Seating({b"a": SEATS - 1, b"b": 1}, SEATS)
    assert take_seats(full, [b"b", b"c", b"d"]).seats == {b"b": 1, b"c": 0, b"d": 2}


def test_after_a_restart_the_seats_of_those_who_left_are_left_out() -> None:
    had = after_restart({b"a": 2})
    assert take_seats(had, [b"a", b"b"]).seats == {b"a": 2, b"b": 2 + 1024}
    had = after_restart({b"a": SEATS - 2, b"b": 1})
    assert take_seats(had, [b"a", b"b", b"c", b"d"]).seats == {
        b"a": SEATS - 2,
        b"b": 1,
        b"c": 0,
        b"d": 2,
    }


def test_numbers_are_given_again_as_late_as_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(affinity.NUMBERS, Family.IPV4, 4)
    numbers = Numbers(Family.IPV4)
    assert [numbers.take() for _ in range(4)] == [1, 2, 3, None]
    numbers.give_back(3)
    numbers.give_back(1)
    assert [numbers.take() for _ in range(3)] == [1, 3, None]
    numbers.reserve({2})
    assert [numbers.take() for _ in range(3)] == [1, 3, None]


def _plan(count: int, timeout_s: int = 10800) -> ServicePlan:
    frontend = Frontend(
        FrontendKind.CLUSTER_IP,
        IPAddress("172.30.0.41"),
        80,
        Action.FORWARD if count else Action.REJECT,
    )
    targets = (Target(IPAddress("10.0.0.1"), n, False) for n in range(1, count + 1))
    name = ServicePortName("default", "web", "http", "TCP")
    return ServicePlan(name, Family.IPV4, (frontend,), tuple(targets), (), timeout_s)


@pytest.mark.parametrize(
    ("count", "timeout_s", "expected"),
    [(1, 10800, True), (0, 10800, False), (3, 0, False), (SEATS, 1, True), (SEATS + 1, 1, False)],
)
def test_who_can_be_remembered(count: int, timeout_s: int, expected: bool) -> None:
    target = Target(IPAddress("10.0.0.1"), 80, False)
    plan = _plan(0, timeout_s)._replace(targets=(target,) * count)
    assert can_remember(plan) is expected


def test_without_a_number_nobody_is_remembered() -> None:
    fragment = compile_plan(_plan(3))
    assert fragment.affinity is None
    assert fragment == compile_plan(_plan(3, timeout_s=0))
    assert {name for name, _, _ in fragment.exclusive()} == {names.SERVICE_IPS}


def test_more_service_ports_than_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(affinity.NUMBERS, Family.IPV4, 3)
    dataplane = NftablesDataplane(FakeTable(Family.IPV4))
    program = dataplane.program
    for number in range(4):
        program.put_service(ServiceKey("default", f"s{number}"), [_plan(2)])
    fragments = [f for ports in program._fragments.values() for f in ports.values()]
    assert [f.affinity is not None for f in fragments] == [True, True, False, False]


def _numbers(ruleset: Ruleset) -> dict[bytes, set[int]]:
    """Frontend → the numbers of its tickets."""
    found: dict[bytes, set[int]] = {}
    for key, ticket in ruleset.elements[names.TICKETS].items():
        assert isinstance(ticket, bytes)
        found.setdefault(key[:-4], set()).add(number_of(ticket, ruleset.family))
    return found


def test_a_newborn_process_takes_over_numbers_that_it_would_have_given_to_others() -> None:
    table = FakeTable(Family.IPV4)
    keys = [ServiceKey("default", name) for name in "abc"]
    first = NftablesDataplane(table)
    plans = {key: _named(_plan(2), n) for n, key in enumerate(keys)}
    for key in reversed(keys):
        first.put_service(key, [plans[key]])
    first.sync(prune=True)
    before = _numbers(table.ruleset)
    newborn = NftablesDataplane(table)
    # One more than there was, and before all others.
    for key in (ServiceKey("default", "0"), *keys):
        newborn.put_service(key, [plans.get(key, _named(_plan(3), 9))])
    newborn.sync(prune=True)
    after = _numbers(table.ruleset)
    assert {frontend: after[frontend] for frontend in before} == before
    assert len({n for some in after.values() for n in some}) == 4
    later = NftablesDataplane(table)
    for key in keys:
        later.put_service(key, [plans[key]])
    later.put_service(ServiceKey("default", "0"), [_named(_plan(3), 9)])
    assert not later.sync(prune=True).operations


def _named(plan: ServicePlan, number: int) -> ServicePlan:
    (frontend,) = plan.frontends
    moved = frontend._replace(address=IPAddress(f"172.30.1.{number}"))
    return plan._replace(frontends=(moved,), name=plan.name._replace(name=f"s{number}"))


def test_two_frontends_that_had_one_number_do_not_share_it_afterwards() -> None:
    """What was one service port is two: only one of them can be who it was."""
    table = FakeTable(Family.IPV4)
    both = _plan(2)
    other = both.frontends[0]._replace(address=IPAddress("172.30.0.42"))
    dataplane = NftablesDataplane(table)
    dataplane.put_service(
        ServiceKey("default", "a"), [both._replace(frontends=(*both.frontends, other))]
    )
    dataplane.sync(prune=True)
    newborn = NftablesDataplane(table)
    newborn.put_service(ServiceKey("default", "a"), [both])
    newborn.put_service(ServiceKey("default", "b"), [both._replace(frontends=(other,))])
    newborn.sync(prune=True)
    assert sorted(map(sorted, _numbers(table.ruleset).values())) == [[1], [1 + 1024]]


def test_memory_is_no_part_of_what_is_compared() -> None:
    tables = {family: FakeTable(family) for family in Family}
    dataplanes = {family: NftablesDataplane(table) for family, table in tables.items()}
    proxier = Proxier(ProxyConfig(make.NODE), dataplanes)
    proxier.apply_events(make.fixed_history())
    proxier.sync()
    tables[Family.IPV4].remember({names.CLIENTS: {bytes(6): bytes(4)}})
    proxier.request_full()
    assert not proxier.sync().changed
    assert tables[Family.IPV4].ruleset.elements[names.CLIENTS] == {bytes(6): bytes(4)}


def test_fragments_of_one_service_are_numbered_apart() -> None:
    dataplane = NftablesDataplane(FakeTable(Family.IPV4))
    ports = [_plan(2)._replace(name=ServicePortName("default", "web", n, "TCP")) for n in "abc"]
    dataplane.put_service(ServiceKey("default", "web"), ports)
    (fragments,) = dataplane.program._fragments.values()
    assert [_number(f) for f in islice(fragments.values(), 3)] == [1, 2, 3]
    dataplane.put_service(ServiceKey("default", "web"), ports[1:])
    assert [_number(f) for f in fragments_of(dataplane)] == [2, 3]


def fragments_of(dataplane: NftablesDataplane) -> list[Fragment]:
    return [f for ports in dataplane.program._fragments.values() for f in ports.values()]


def _number(fragment: Fragment) -> int:
    assert fragment.affinity is not None
    return fragment.affinity.number
