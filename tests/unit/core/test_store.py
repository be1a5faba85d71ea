"""The store: what becomes dirty, what a relist forgets, whose slices these are."""

from __future__ import annotations

from typing import Any

import pytest

from netproxy.core.store import Store
from netproxy.model.endpoints import Endpoint, EndpointSlice, SlicePort
from netproxy.model.events import Delete, Event, Listed, ModelObject, Reset, Upsert, key_of
from netproxy.model.ip import Family, IPAddress, Prefix
from netproxy.model.names import ServiceKey
from netproxy.model.node import Node, ServiceCIDR
from netproxy.model.service import IgnoredService, Service, ServicePort

WEB, DB = ServiceKey("default", "web"), ServiceKey("default", "db")
PORTS = (ServicePort("http", "TCP", 80),)


def _service(key: ServiceKey = WEB, ip: str = "172.30.0.41", **more: Any) -> Service:
    return Service(key, PORTS, (IPAddress(ip),))._replace(**more)


def _slice(
    key: ServiceKey = WEB, name: str = "one", *addresses: str, namespace: str = ""
) -> EndpointSlice:
    owner = ServiceKey(namespace, key.name) if namespace else key
    endpoints = tuple(Endpoint(IPAddress(address)) for address in addresses)
    return EndpointSlice(owner, name, Family.IPV4, (SlicePort("http", "TCP", 80),), endpoints)


NODE = Node("node-a", zone="zone-a")
CIDR = ServiceCIDR("kubernetes", (Prefix(IPAddress("172.30.0.0"), 16),))


def _store(*objects: ModelObject) -> Store:
    """A store that knows these and has nothing left to say about them."""
    store = Store("node-a")
    for one in objects:
        store.apply(Upsert(one))
    store.apply(Listed())
    store.take_dirty()
    store.take_surroundings_changed()
    return store


CHANGES: dict[str, tuple[list[ModelObject], list[Event], set[ServiceKey]]] = {
    "service added": ([], [Upsert(_service())], {WEB}),
    "service unchanged": ([_service()], [Upsert(_service())], set()),
    "service changed": ([_service()], [Upsert(_service(ip="172.30.0.42"))], {WEB}),
    "service deleted": ([_service()], [Delete(key_of(_service()))], {WEB}),
    "unknown service deleted": ([], [Delete(key_of(_service()))], set()),
    "service becomes ignored": ([_service()], [Upsert(IgnoredService(WEB, "headless"))], {WEB}),
    "ignored service appears": ([], [Upsert(IgnoredService(WEB, "headless"))], set()),
    "slice added": ([_service()], [Upsert(_slice(WEB, "one", "10.0.0.1"))], {WEB}),
    "slice unchanged": ([_slice()], [Upsert(_slice())], set()),
    "slice changed": ([_slice()], [Upsert(_slice(WEB, "one", "10.0.0.1"))], {WEB}),
    "slice deleted": ([_slice()], [Delete(key_of(_slice()))], {WEB}),
    "unknown slice deleted": ([], [Delete(key_of(_slice()))], set()),
    "slice of the same name elsewhere deleted": (
        [_slice()],
        [Delete(key_of(_slice(namespace="other")))],
        set(),
    ),
    "slice changes its service": ([_slice(WEB)], [Upsert(_slice(DB))], {WEB, DB}),
    "node added": ([_service()], [Upsert(NODE)], set()),
    "two services": (
        [_service(), _service(DB, "172.30.0.50")],
        [Upsert(_service(DB, "172.30.0.51"))],
        {DB},
    ),
}


@pytest.mark.parametrize(("before", "events", "dirty"), CHANGES.values(), ids=CHANGES.keys())
def test_only_what_changes_is_looked_at_again(
    before: list[ModelObject], events: list[Event], dirty: set[ServiceKey]
) -> None:
    store = _store(*before)
    for event in events:
        store.apply(event)
    assert store.take_dirty() == dirty
    assert store.take_dirty() == set()
    store.take_surroundings_changed()
    assert not store.has_changes


SURROUNDINGS: dict[str, tuple[list[ModelObject], Event, bool]] = {
    "our node appears": ([], Upsert(NODE), True),
    "our node unchanged": ([NODE], Upsert(NODE), False),
    "our node moves": ([NODE], Upsert(NODE._replace(zone="zone-b")), True),
    "our node goes": ([NODE], Delete(key_of(NODE)), True),
    "our node goes twice": ([], Delete(key_of(NODE)), False),
    "another node": ([NODE], Upsert(Node("node-b")), False),
    "another node goes": ([NODE], Delete(key_of(Node("node-b"))), False),
    "range appears": ([], Upsert(CIDR), True),
    "range unchanged": ([CIDR], Upsert(CIDR), False),
    "range grows": ([CIDR], Upsert(CIDR._replace(cidrs=())), True),
    "range goes": ([CIDR], Delete(key_of(CIDR)), True),
    "unknown range goes": ([], Delete(key_of(CIDR)), False),
    "a service": ([], Upsert(_service()), False),
}


@pytest.mark.parametrize(
    ("before", "event", "changed"), SURROUNDINGS.values(), ids=SURROUNDINGS.keys()
)
def test_what_every_service_depends_on(
    before: list[ModelObject], event: Event, changed: bool
) -> None:
    store = _store(*before)
    store.apply(event)
    assert store.take_surroundings_changed() is changed
    assert store.take_surroundings_changed() is False


EVERYTHING: list[ModelObject] = [
    _service(),
    IgnoredService(DB, "headless"),
    _slice(),
    NODE,
    CIDR,
]


def _known(store: Store) -> list[object]:
    return [store.services, list(store.slices_of(WEB)), store.node, store.service_cidrs]


def test_a_relist_that_repeats_everything_changes_nothing() -> None:
    store = _store(*EVERYTHING)
    before = _known(store)
    relist: list[Event] = [Reset(), *map(Upsert, EVERYTHING), Listed()]
    for event in relist:
        store.apply(event)
    assert not store.has_changes
    assert _known(store) == before


@pytest.mark.parametrize("missing", EVERYTHING, ids=lambda one: type(one).__name__)
def test_a_relist_forgets_what_it_does_not_repeat(missing: ModelObject) -> None:
    store = _store(*EVERYTHING)
    rest = [one for one in EVERYTHING if one != missing]
    relist: list[Event] = [Reset(), *map(Upsert, rest)]
    for event in relist:
        store.apply(event)
    assert not store.has_changes, "nothing is forgotten before all has been said"
    store.apply(Listed())
    assert _known(store) == _known(_store(*rest))


def test_an_incomplete_relist_forgets_nothing() -> None:
    store = _store(*EVERYTHING)
    store.apply(Reset())
    store.apply(Listed(complete=False))
    assert _known(store) == _known(_store(*EVERYTHING))
    was_complete = store.is_complete
    store.apply(Reset())
    store.apply(Listed())
    assert (was_complete, store.is_complete) == (False, True)
    assert _known(store) == _known(_store())


def test_a_store_is_listed_once_a_source_said_so() -> None:
    store = Store("node-a")
    store.apply(Upsert(_service()))
    before = store.is_listed
    store.apply(Listed())
    assert (before, store.is_listed) == (False, True)


def test_service_ranges_are_sorted_and_stand_once() -> None:
    twice = ServiceCIDR("again", (*CIDR.cidrs, Prefix(IPAddress("10.96.0.0"), 12)))
    assert [str(p) for p in _store(CIDR, twice).service_cidrs] == ["10.96.0.0/12", "172.30.0.0/16"]


def test_slices_of_a_service_are_those_that_name_it() -> None:
    store = _store(_slice(WEB, "one"), _slice(WEB, "two"), _slice(DB, "three"))
    assert {one.name for one in store.slices_of(WEB)} == {"one", "two"}
    store.apply(Upsert(_slice(DB, "two")))
    assert {one.name for one in store.slices_of(WEB)} == {"one"}
    assert {one.name for one in store.slices_of(DB)} == {"two", "three"}


def _rival(name: str, created: str) -> Service:
    return _service(
        ServiceKey("default", name), f"172.30.1.{len(name)}", creation_timestamp=created
    )._replace(external_ips=(IPAddress("192.168.99.22"),))


OLD, YOUNG = _rival("old", "2024-01-01T00:00:00Z"), _rival("young", "2025-01-01T00:00:00Z")
TURNS: dict[str, tuple[list[ModelObject], Event]] = {
    "an older one comes": ([YOUNG], Upsert(OLD)),
    "a younger one comes": ([OLD], Upsert(YOUNG)),
    "the older one goes": ([OLD, YOUNG], Delete(key_of(OLD))),
    "the older one lets go": ([OLD, YOUNG], Upsert(OLD._replace(external_ips=()))),
    "the younger one goes": ([OLD, YOUNG], Delete(key_of(YOUNG))),
}


@pytest.mark.parametrize(("before", "event"), TURNS.values(), ids=TURNS.keys())
def test_rivals_are_looked_at_together(before: list[ModelObject], event: Event) -> None:
    store = _store(*before)
    store.apply(event)
    assert store.take_dirty() == {OLD.key, YOUNG.key}


def test_the_younger_rival_loses() -> None:
    store = _store(YOUNG, OLD)
    assert not store.lost_frontends(OLD)
    assert set(store.lost_frontends(YOUNG).values()) == {OLD.key}
    store.apply(Delete(key_of(OLD)))
    assert not store.lost_frontends(YOUNG)


THERE_AND_BACK: dict[str, list[Event]] = {
    "claims": [Upsert(OLD), Delete(key_of(OLD)), Upsert(OLD), Delete(key_of(OLD))],
    "slices": [Upsert(_slice(DB)), Upsert(_slice(WEB)), Delete(key_of(_slice()))],
}


@pytest.mark.parametrize("events", THERE_AND_BACK.values(), ids=THERE_AND_BACK.keys())
def test_nothing_stays_of_what_is_gone(events: list[Event]) -> None:
    store = _store(YOUNG)
    for event in events:
        store.apply(event)
    assert not store.lost_frontends(YOUNG)
    assert not store.slices_of(WEB)
    assert not store.slices_of(DB)
