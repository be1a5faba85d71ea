"""Source ranges in nftables mode: what they cost, and that no moment is unsafe."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import pytest

from netproxy.backends.nftables import names
from netproxy.backends.nftables.dataplane import nftables_dataplanes
from netproxy.core.config import ProxyConfig
from netproxy.core.packet import FateKind, Packet
from netproxy.model.endpoints import Endpoint, EndpointSlice, SlicePort
from netproxy.model.events import Delete, Event, Listed, Upsert, key_of
from netproxy.model.ip import Family, IPAddress, parse_prefix
from netproxy.model.names import ServiceKey
from netproxy.model.service import Service, ServicePort
from netproxy.nft.fake import FakeTable
from netproxy.nft.transaction import (
    AddElements,
    AddRule,
    AddSet,
    DeleteElements,
    DeleteSet,
    FlushChain,
    Operation,
    Transaction,
)
from netproxy.nft.wire import encode
from netproxy.proxier import Proxier
from netproxy.trace.nftables import trace

BALANCER = IPAddress("1.2.3.4")


def service(*ranges: str, name: str = "web", address: IPAddress = BALANCER) -> Service:
    """A Service with a load balancer that only these sources may use."""
    return Service(
        ServiceKey("default", name),
        (ServicePort("http", "TCP", 80),),
        (IPAddress(f"172.30.0.{address[-1]}"),),
        load_balancer_ips=(address,),
        source_ranges=tuple(map(parse_prefix, ranges)),
    )


def endpoints(name: str = "web") -> EndpointSlice:
    return EndpointSlice(
        ServiceKey("default", name),
        f"{name}-1",
        Family.IPV4,
        (SlicePort("http", "TCP", 8080),),
        (Endpoint(IPAddress("10.180.1.2"), "node-b"),),
    )


class Node:
    """A proxy on a table in memory."""

    def __init__(self, table: FakeTable | None = None) -> None:
        self.table = table or FakeTable(Family.IPV4)
        dataplanes = nftables_dataplanes({Family.IPV4: self.table})
        self.proxier = Proxier(ProxyConfig("node-a", families=(Family.IPV4,)), dataplanes)

    def sync(self, *events: Event) -> list[Operation]:
        """The operations that reached the table."""
        before = len(self.table.commits)
        self.proxier.apply_events(events)
        self.proxier.sync()
        return self.since(before)

    def tidy(self) -> list[Operation]:
        before = len(self.table.commits)
        self.proxier.tidy()
        return self.since(before)

    def since(self, before: int) -> list[Operation]:
        return [op for commit in self.table.commits[before:] for op in commit.operations]

    def allows(self, source: str, address: IPAddress = BALANCER) -> bool:
        return fate(self.table, source, address) is FateKind.FORWARD


def fate(table: FakeTable, source: str, address: IPAddress = BALANCER) -> FateKind:
    packet = Packet(IPAddress(source), address, "TCP", 80, "eth0")
    return trace(packet, table.ruleset, ()).kind


def test_ranges_may_lie_in_each_other_and_come_twice() -> None:
    node = Node()
    ranges = ("203.0.113.0/25", "203.0.113.0/28", "203.0.113.0/25", "203.0.113.9/28")
    node.sync(Upsert(service(*ranges)), Upsert(endpoints()), Listed())
    assert node.allows("203.0.113.127")
    assert not node.allows("203.0.113.128")
    node.sync(Upsert(service("203.0.113.0/28")))
    assert node.allows("203.0.113.15")
    assert not node.allows("203.0.113.16"), "the wide range is gone, the one in it is not"


def test_a_range_of_a_known_length_is_one_element() -> None:
    node = Node()
    others = [
        Upsert(service("10.0.0.0/8", "10.1.0.0/16", name=f"s{n}", address=IPAddress(f"9.9.9.{n}")))
        for n in range(10, 15)
    ]
    node.sync(*others, Upsert(service("10.0.0.0/8")), Upsert(endpoints()), Listed())
    added, deleted = node.sync(Upsert(service("10.2.0.0/16")))
    assert isinstance(added, AddElements)
    assert isinstance(deleted, DeleteElements)
    assert (added.set, len(added.items)) == (names.allowed_sources(16), 1)
    assert (deleted.set, len(deleted.items)) == (names.allowed_sources(8), 1)
    assert node.tidy() == []


def test_a_new_length_is_a_set_and_a_rule_which_go_when_all_is_quiet() -> None:
    node = Node()
    node.sync(Upsert(service("10.0.0.0/8")), Upsert(endpoints()), Listed())
    kinds = [type(operation) for operation in node.sync(Upsert(service("10.2.0.0/15")))]
    # A rule for /8, a rule for /15, and the one that drops.
    assert kinds == [AddSet, FlushChain, *[AddRule] * 3, AddElements, DeleteElements]
    assert [type(operation) for operation in node.tidy()] == [FlushChain, *[AddRule] * 2, DeleteSet]
    assert node.tidy() == []
    newborn = Node(node.table)
    assert newborn.sync(Upsert(service("10.2.0.0/15")), Upsert(endpoints()), Listed()) == []


def test_who_has_not_heard_of_a_service_yet_does_not_change_who_may_use_it() -> None:
    node = Node()
    other = service("10.0.0.0/9", name="other", address=IPAddress("1.2.3.5"))
    both = (Upsert(service("10.0.0.0/8")), Upsert(endpoints()), Upsert(other))
    node.sync(*both, Listed())
    newborn = Node(node.table)
    assert newborn.sync(Upsert(other), Listed(complete=False)) == []
    assert newborn.tidy() == [], "its set, its rule and its class chain are somebody's still"
    assert newborn.allows("10.200.0.1")
    assert not newborn.allows("11.0.0.1")
    third = service("10.0.0.0/10", name="third", address=IPAddress("1.2.3.6"))
    newborn.sync(Upsert(third))
    assert newborn.allows("10.200.0.1"), "a new length does not push out an old one"
    newborn.sync(*both, Delete(key_of(third)), Listed())
    newborn.tidy()
    assert names.allowed_sources(10) not in newborn.table.ruleset.sets
    assert newborn.allows("10.200.0.1")


LIMITS = {
    "gone": None,
    "open": (),
    "narrow": ("10.1.0.0/16",),
    "wide": ("10.0.0.0/8",),
    "moved": ("11.1.0.0/16",),
    "several": ("10.1.0.0/16", "11.0.0.0/9", "12.0.0.1/32"),
}
CLIENTS = ("10.1.0.1", "10.2.0.1", "11.1.0.1", "11.200.0.1", "12.0.0.1", "12.0.0.2")


def prefixes(transaction: Transaction) -> Iterator[Transaction]:
    """What the kernel may have been told when a batch is cut, by all cuts that may be made."""
    messages = encode(transaction)
    for message in messages[1:]:
        if not message.is_glued:
            yield transaction._replace(operations=transaction.operations[: message.operation])


@pytest.mark.parametrize(("before", "after"), list(permutations(LIMITS, 2)))
def test_no_moment_of_a_change_lets_in_or_keeps_out_the_wrong_ones(before: str, after: str) -> None:
    # A neighbour, so that rules and sets are there already, or not, as it comes.
    neighbour = service("10.0.0.0/8", name="near", address=IPAddress("1.2.3.9"))

    def at(limits: str) -> Node:
        ranges = LIMITS[limits]
        node = Node()
        about = [] if ranges is None else [Upsert(service(*ranges)), Upsert(endpoints())]
        node.sync(Upsert(neighbour), *about, Listed())
        return node

    node, aim = at(before), LIMITS[after]
    at_first = {client: fate(node.table, client) for client in CLIENTS}
    at_last = {client: fate(at(after).table, client) for client in CLIENTS}
    gone = [Delete(key_of(service())), Delete(key_of(endpoints()))]
    here = [Upsert(service(*aim or ())), Upsert(endpoints())]
    operations = node.sync(*(gone if aim is None else here))
    transaction = Transaction(Family.IPV4, names.TABLE, operations)
    for part in prefixes(transaction):
        table = at(before).table
        if part.operations:
            table.commit(part)
        for client in CLIENTS:
            seen = fate(table, client)
            if at_first[client] == at_last[client]:
                assert seen == at_first[client], (client, part.operations[-1])
