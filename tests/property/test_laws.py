"""Laws that hold for every cluster, whatever its objects and the path taken to them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netproxy.backends.nftables import names
from netproxy.backends.nftables.affinity import number_of
from netproxy.backends.nftables.dataplane import nftables_dataplanes
from netproxy.core.config import DetectLocalMode, ProxyConfig
from netproxy.core.oracle import World, judge, service_port_of
from netproxy.core.packet import Arrival, Fate, Packet
from netproxy.core.plan import ServicePlan
from netproxy.core.resolve import Locality, resolve_service
from netproxy.core.store import Store
from netproxy.errors import DataplaneError
from netproxy.model.events import (
    Delete,
    Event,
    Listed,
    ModelObject,
    ObjectKey,
    Reset,
    Upsert,
    key_of,
)
from netproxy.model.ip import Family, IPAddress
from netproxy.model.names import ServicePortName
from netproxy.nft.diff import diff_rulesets
from netproxy.nft.fake import FakeTable
from netproxy.nft.objects import Data, Ruleset
from netproxy.nft.transaction import Transaction
from netproxy.proxier import Proxier
from netproxy.trace.nftables import journeys, trace
from tests.property import strategies as make


class Node:
    """A proxy on fake tables."""

    def __init__(self, config: ProxyConfig, tables: dict[Family, FakeTable] | None = None) -> None:
        self.tables = tables or {family: FakeTable(family) for family in Family}
        self.proxier = Proxier(config, nftables_dataplanes(self.tables))

    def sync(self, events: Iterable[Event]) -> bool:
        self.proxier.apply_events(events)
        return self.proxier.sync().changed

    def state(self) -> list[object]:
        return [_without_placement(table.ruleset) for table in self.tables.values()]


def _without_placement(ruleset: Ruleset) -> object:
    """A rule set in which it does not matter which endpoint stands at which index.

    Nor which tickets stand for endpoints: each is replaced by its endpoint and by all frontends
    that have tickets with the same number.
    """
    elements: dict[str, object] = {}
    holders = _holders(ruleset)
    for name, items in ruleset.elements.items():
        if name in _INDEXED:
            lists: dict[tuple[bytes, bool], Counter[object]] = {}
            for key, data in items.items():
                assert isinstance(data, bytes)
                is_local = int.from_bytes(key[-4:], "little") >= 1_000_000
                shown = holders.get(data, data) if "tickets" in name else data
                lists.setdefault((key[:-4], is_local), Counter())[shown] += 1
            elements[name] = lists
        elif name in _OF_TICKETS:
            elements[name] = Counter(holders[key[:-4]] for key in items)
        else:
            elements[name] = items
    return ruleset.chains, ruleset.sets, elements


_TICKETS = (names.TICKETS, names.NODEPORT_TICKETS)
_INDEXED = (names.ENDPOINTS, names.NODEPORT_ENDPOINTS, *_TICKETS)
_OF_TICKETS = (names.TICKET_ENDPOINTS, names.LOCAL_TICKET_ENDPOINTS)


def _holders(ruleset: Ruleset) -> dict[bytes, object]:
    """Ticket → where it leads, under either policy, and the frontends that share its number."""
    family = ruleset.family
    frontends: dict[int, set[tuple[str, bytes]]] = {}
    for name in _TICKETS:
        for key, ticket in ruleset.elements.get(name, {}).items():
            assert isinstance(ticket, bytes)
            frontends.setdefault(number_of(ticket, family), set()).add((name, key[:-4]))
    leads: dict[bytes, list[tuple[str, bytes, Data]]] = {}
    for name in _OF_TICKETS:
        for key, endpoint in ruleset.elements.get(name, {}).items():
            leads.setdefault(key[:-4], []).append((name, key[-4:], endpoint))
    return {
        ticket: (tuple(where), frozenset(frontends[number_of(ticket, family)]))
        for ticket, where in leads.items()
    }


@given(make.configs(), make.histories(), st.data())
def test_incremental_result_equals_full_recomputation(
    config: ProxyConfig, history: list[Event], data: st.DataObject
) -> None:
    stepwise = Node(config)
    stepwise.sync([Listed()])
    position = 0
    while position < len(history):
        step = data.draw(st.integers(1, 5))
        stepwise.sync(history[position : position + step])
        position += step
    stepwise.proxier.tidy()
    at_once = Node(config)
    at_once.sync(history)
    assert stepwise.state() == at_once.state()


@given(make.configs(), make.histories(), st.integers(0, 2**32))
def test_order_of_events_about_different_objects_is_irrelevant(
    config: ProxyConfig, history: list[Event], seed: int
) -> None:
    final = _final_objects(history)
    shuffled = list(final)
    random.Random(seed).shuffle(shuffled)
    one, other = Node(config), Node(config)
    one.sync([*(Upsert(o) for o in final), Listed()])
    other.sync([*(Upsert(o) for o in shuffled), Listed()])
    assert [t.ruleset for t in one.tables.values()] == [t.ruleset for t in other.tables.values()]


def _final_objects(history: list[Event]) -> list[ModelObject]:
    objects: dict[ObjectKey, ModelObject] = {}
    for event in history:
        if isinstance(event, Upsert):
            objects.pop(key_of(event.object), None)
            objects[key_of(event.object)] = event.object
        elif isinstance(event, Delete):
            objects.pop(event.key, None)
    return list(objects.values())


@given(make.configs(), make.histories())
def test_a_second_sync_and_a_restart_write_nothing(
    config: ProxyConfig, history: list[Event]
) -> None:
    node = Node(config)
    node.sync(history)
    assert not node.sync([])
    node.proxier.request_full()
    assert not node.sync([])
    newborn = Node(config, node.tables)
    assert not newborn.sync(history)


@given(make.configs(), make.histories(), make.histories())
def test_a_restart_into_another_state_converges(
    config: ProxyConfig, before: list[Event], after: list[Event]
) -> None:
    node = Node(config)
    node.sync(before)
    newborn = Node(config, node.tables)
    newborn.sync(after)
    fresh = Node(config)
    fresh.sync(after)
    assert newborn.state() == fresh.state()


@given(make.configs(), make.histories(), make.histories())
def test_there_and_back_again_gives_the_same_rules(
    config: ProxyConfig, here: list[Event], there: list[Event]
) -> None:
    node = Node(config)
    node.sync(here)
    state = node.state()
    node.sync([Reset(), *there])
    node.sync([Reset(), *here])
    node.proxier.tidy()
    assert node.state() == state


@given(make.configs(), make.histories(), st.lists(st.booleans(), min_size=60, max_size=60))
def test_refused_commits_lose_nothing(
    config: ProxyConfig, history: list[Event], refusals: list[bool]
) -> None:
    node = Node(config, {family: _Moody(family, refusals) for family in Family})
    node.proxier.apply_events([Listed()])
    for event in history:
        node.proxier.apply_events([event])
        before = [t.ruleset for t in node.tables.values()]
        try:
            node.proxier.sync()
        except DataplaneError:
            after = [t.ruleset for t in node.tables.values()]
            assert any(b == a for b, a in zip(before, after, strict=True))
    for table in node.tables.values():
        assert isinstance(table, _Moody)
        table.refusals = []
    node.sync([])
    node.proxier.tidy()
    fresh = Node(config)
    fresh.sync(history)
    assert node.state() == fresh.state()


class _Moody(FakeTable):
    """A kernel that refuses some commits, after which it holds what it held before."""

    def __init__(self, family: Family, refusals: list[bool]) -> None:
        super().__init__(family)
        self.refusals = list(refusals)

    def commit(self, transaction: Transaction) -> None:
        if self.refusals and self.refusals.pop():
            raise DataplaneError(operation="commit", subject="a batch", errno=12)
        super().commit(transaction)


@given(make.configs(), make.histories(), make.histories())
def test_diff_laws(config: ProxyConfig, one: list[Event], other: list[Event]) -> None:
    left, right = Node(config), Node(config)
    left.sync(one)
    right.sync(other)
    for family in Family:
        a, b = left.tables[family].ruleset, right.tables[family].ruleset
        assert not diff_rulesets(a, a)
        change = diff_rulesets(a, b)
        left.tables[family].commit(change)
        assert left.tables[family].ruleset == b


@pytest.mark.parametrize("family", list(Family))
@given(data=st.data(), config=make.configs(), history=make.histories())
def test_rules_do_what_the_plans_say(
    family: Family, data: st.DataObject, config: ProxyConfig, history: list[Event]
) -> None:
    traffic = Traffic(Node(config), config, family)
    traffic.sync(history)
    for packet in data.draw(st.lists(make.packets(family), min_size=1, max_size=12)):
        traffic.check(packet)


@pytest.mark.parametrize("family", list(Family))
@given(data=st.data(), config=make.configs())
def test_clients_stay_where_the_plans_say(
    family: Family, data: st.DataObject, config: ProxyConfig
) -> None:
    """Endpoints come and go, the process is restarted, and clients come again by all ways."""
    service = data.draw(make.sticky_services(family))
    tables = {each: FakeTable(each) for each in Family}
    traffic = Traffic(Node(config, tables), config, family)
    traffic.sync([Upsert(service), Listed()])
    for _ in range(data.draw(st.integers(1, 4))):
        traffic.sync([Upsert(data.draw(make.slices_of(service, family)))])
        if data.draw(st.booleans()):
            traffic.restart(Node(config, tables))
        for packet in data.draw(st.lists(make.calls(service, family), min_size=1, max_size=10)):
            fate = traffic.check(packet)
            if fate.arrivals:
                traffic.settle(packet, data.draw(st.sampled_from(sorted(fate.arrivals))))


class Traffic:
    """Packets on paper: the rules are held against the plans, and clients are remembered."""

    def __init__(self, node: Node, config: ProxyConfig, family: Family) -> None:
        self._node = node
        self._config = config
        self._family = family
        self._told: list[Event] = []
        self._memory: dict[tuple[ServicePortName, IPAddress], tuple[IPAddress, int]] = {}
        self._forgotten: set[tuple[ServicePortName, IPAddress]] = set()
        self._uncertain: set[tuple[ServicePortName, IPAddress]] = set()
        self._local = make.NODE_ADDRESSES[family]
        self._world = World(
            local_addresses=self._local,
            nodeport_addresses=self._local[:1],
            is_from_pod=_detector(config, family),
            masquerade_all=config.masquerade_all,
            service_cidrs=config.service_cidrs,
        )

    def sync(self, events: list[Event]) -> None:
        self._told += events
        self._node.sync(events)
        plans = {plan.name: plan for plan in _plans(self._config, self._told, self._family)}
        for key, place in list(self._memory.items()):
            plan = plans[key[0]]
            if place not in [(t.address, t.port) for t in (*plan.targets, *plan.local_targets)]:
                del self._memory[key]  # who is gone is forgotten, even if it comes back
                self._forgotten.add(key)

    def restart(self, newborn: Node) -> None:
        """Another process takes over. It does not know whom its predecessor had forgotten, and may
        give the seat of an endpoint that is gone to another one: its clients then go there.
        """
        self._uncertain |= self._forgotten
        self._node = newborn
        newborn.sync(self._told)

    def check(self, packet: Packet) -> Fate:
        """What becomes of a packet, by the rules; asserts that the plans say the same."""
        on_paper = trace(packet, self._ruleset, self._local)
        plans = _plans(self._config, self._told, self._family)
        memory = {key: [place] for key, place in self._memory.items()}
        judged = judge(packet, plans, self._world, memory)
        name = service_port_of(packet, plans, self._world)
        if name is not None and (name, packet.source) in self._uncertain:
            assert on_paper.kind is judged.kind
            assert on_paper.arrivals <= judged.arrivals
        else:
            assert str(on_paper) == str(judged), packet
        return on_paper

    def settle(self, packet: Packet, arrival: Arrival) -> None:
        """The packet has arrived there."""
        plans = _plans(self._config, self._told, self._family)
        name = service_port_of(packet, plans, self._world)
        assert name is not None
        key = name, packet.source
        self._memory[key] = arrival.address, arrival.port
        self._forgotten.discard(key)
        self._uncertain.discard(key)
        ways = journeys(packet, self._ruleset, self._local)
        memory = next(way.memory for way in ways if arrival in way.fate.arrivals)
        self._node.tables[self._family].remember(memory)

    @property
    def _ruleset(self) -> Ruleset:
        return self._node.tables[self._family].ruleset


def _plans(config: ProxyConfig, history: list[Event], family: Family) -> list[ServicePlan]:
    store = Store(config.node_name)
    for event in history:
        store.apply(event)
    locality = Locality(config.node_name, config.zone)
    return [
        plan
        for key, service in store.services.items()
        for plan in resolve_service(
            service, store.slices_of(key), locality, (family,), store.lost_frontends(service)
        )
    ]


def _detector(config: ProxyConfig, family: Family) -> Callable[[Packet], bool] | None:
    if config.detect_local_mode is DetectLocalMode.BRIDGE_INTERFACE:
        return lambda packet: packet.interface == config.pod_bridge_interface
    if config.detect_local_mode is DetectLocalMode.INTERFACE_NAME_PREFIX:
        return lambda packet: packet.interface.startswith(config.pod_interface_name_prefix)
    prefix = next((p for p in config.cluster_cidrs if p.family is family), None)
    if prefix is None:
        return None

    def is_from_pod(packet: Packet) -> bool:
        return prefix.contains(packet.source)

    return is_from_pod
