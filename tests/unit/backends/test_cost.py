"""What a change costs, in exact numbers: an accidental rewrite fails here, not in a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from netproxy.backends.nftables.dataplane import nftables_dataplanes
from netproxy.core.config import ProxyConfig
from netproxy.model.endpoints import Endpoint, EndpointSlice, SlicePort
from netproxy.model.events import Delete, Event, Listed, ModelObject, Reset, Upsert, key_of
from netproxy.model.ip import Family, IPAddress
from netproxy.model.names import ServiceKey
from netproxy.model.service import Service, ServicePort
from netproxy.nft.fake import FakeTable
from netproxy.nft.transaction import AddElements, DeleteElements, ReplaceElements
from netproxy.proxier import Proxier

NODE = "node-a"
SIZES = [5, 100, 1000]
every_size = pytest.mark.parametrize("size", SIZES)


class Cost(NamedTuple):
    """What one sync sent to the kernel."""

    added: int = 0
    replaced: int = 0
    deleted: int = 0
    """Elements."""
    chains_and_rules: int = 0


NOTHING = Cost()


class Meter:
    """A proxy in step with some objects, and what the next change costs it."""

    def __init__(self, *objects: ModelObject) -> None:
        self._table = FakeTable(Family.IPV4)
        self._proxier = Proxier(ProxyConfig(NODE), nftables_dataplanes({Family.IPV4: self._table}))
        self._proxier.apply_events([*map(Upsert, objects), Listed()])
        self._proxier.sync()

    def cost(self, *events: Event) -> Cost:
        before = len(self._table.commits)
        self._proxier.apply_events(events)
        report = self._proxier.sync()
        operations = [op for commit in self._table.commits[before:] for op in commit.operations]
        counts = {AddElements: 0, ReplaceElements: 0, DeleteElements: 0}
        for operation in operations:
            if isinstance(operation, AddElements | ReplaceElements | DeleteElements):
                counts[type(operation)] += len(operation.items)
        rest = sum(type(operation) not in counts for operation in operations)
        assert report.changed is bool(operations)
        added, replaced, deleted = counts.values()
        return Cost(added, replaced, deleted, rest)

    def tidy(self) -> int:
        """How many operations it takes to delete what is unused."""
        before = len(self._table.commits)
        self._proxier.tidy()
        return sum(len(commit.operations) for commit in self._table.commits[before:])


def _service(name: str = "web", number: int = 41, **more: Any) -> Service:
    return Service(
        ServiceKey("default", name),
        (ServicePort("http", "TCP", 80),),
        (IPAddress(f"172.30.0.{number}"),),
    )._replace(**more)


WEB = _service()
OPEN = WEB._replace(
    ports=(ServicePort("http", "TCP", 80, 30080),), external_ips=(IPAddress("192.168.99.22"),)
)
"""The same with three frontends: ClusterIP, externalIP, NodePort."""


def _slice(
    numbers: Sequence[int], service: Service = WEB, *, node: str = "node-b"
) -> EndpointSlice:
    endpoints = [
        Endpoint(IPAddress(f"10.{100 + n // 100}.0.{100 + n % 100}"), node) for n in numbers
    ]
    port = SlicePort("http", "TCP", 80)
    return EndpointSlice(
        service.key, f"{service.key.name}-1", Family.IPV4, (port,), tuple(endpoints)
    )


def _without(size: int, index: int) -> list[int]:
    return [number for number in range(size) if number != index]


@every_size
def test_an_endpoint_added(size: int) -> None:
    meter = Meter(WEB, _slice(range(size)))
    # The endpoint; the verdict, which leads to the chain for one more; that chain and its rule.
    cost = Cost(added=1, replaced=1, chains_and_rules=2)
    assert meter.cost(Upsert(_slice(range(size + 1)))) == cost


@every_size
def test_an_endpoint_added_when_its_chain_is_there(size: int) -> None:
    other = _service("other", 42)
    meter = Meter(WEB, _slice(range(size)), other, _slice(range(size + 1), other))
    assert meter.cost(Upsert(_slice(range(size + 1)))) == Cost(added=1, replaced=1)


@every_size
def test_a_local_endpoint_added(size: int) -> None:
    meter = Meter(WEB, _slice(range(size), node=NODE))
    # One more: the set of those who may reach themselves.
    cost = Cost(added=2, replaced=1, chains_and_rules=2)
    assert meter.cost(Upsert(_slice(range(size + 1), node=NODE))) == cost


@every_size
def test_an_endpoint_added_to_three_frontends(size: int) -> None:
    meter = Meter(OPEN, _slice(range(size)))
    # Three times the same; chains of external frontends have one rule more, which masquerades.
    cost = Cost(added=3, replaced=3, chains_and_rules=2 + 3 + 3)
    assert meter.cost(Upsert(_slice(range(size + 1)))) == cost


@every_size
@pytest.mark.parametrize("place", [0, 0.5], ids=["first", "middle"])
def test_an_endpoint_removed(size: int, place: float) -> None:
    meter = Meter(WEB, _slice(range(size)))
    # The last one fills the hole; its own place goes; the verdict; the chain for one less.
    cost = Cost(replaced=2, deleted=1, chains_and_rules=2)
    assert meter.cost(Upsert(_slice(_without(size, int(size * place))))) == cost


@every_size
def test_the_last_endpoint_removed(size: int) -> None:
    meter = Meter(WEB, _slice(range(size)))
    cost = Cost(replaced=1, deleted=1, chains_and_rules=2)
    assert meter.cost(Upsert(_slice(range(size - 1)))) == cost


@every_size
def test_an_endpoint_exchanged_for_another(size: int) -> None:
    meter = Meter(WEB, _slice(range(size)))
    assert meter.cost(Upsert(_slice([*_without(size, size // 2), size]))) == Cost(replaced=1)


@every_size
def test_chains_that_nobody_uses_go_later(size: int) -> None:
    meter = Meter(WEB, _slice(range(size)))
    meter.cost(Upsert(_slice(range(size + 1))))
    assert meter.tidy() == 2  # flush, delete
    assert meter.tidy() == 0


@every_size
def test_a_service_added_and_deleted(size: int) -> None:
    """However many others there are: none of them is touched."""
    services = [_service(f"s{n}", n) for n in range(100, 100 + size % 100 + 1)]
    first = _slice(range(2), services[0])
    meter = Meter(*services, first)
    # Its address, its verdict, two endpoints.
    events = Upsert(WEB), Upsert(_slice(range(2)))
    assert meter.cost(*events) == Cost(added=4)
    gone = Delete(key_of(WEB)), Delete(key_of(_slice(())))
    assert meter.cost(*gone) == Cost(deleted=4)
    assert meter.tidy() == 0


@every_size
def test_a_service_without_endpoints_becomes_one_with_and_back(size: int) -> None:
    meter = Meter(WEB)
    # The refusal makes room for the verdict, and all endpoints come.
    cost = Cost(added=1 + size, deleted=1, chains_and_rules=2)
    assert meter.cost(Upsert(_slice(range(size)))) == cost
    assert meter.cost(Upsert(_slice(()))) == Cost(added=1, deleted=1 + size)


@every_size
def test_what_has_not_changed_costs_nothing(size: int) -> None:
    meter = Meter(WEB, _slice(range(size)))
    assert meter.cost() == NOTHING
    assert meter.cost(Upsert(WEB), Upsert(_slice(range(size)))) == NOTHING
    assert meter.cost(Upsert(_slice(list(range(size))[::-1]))) == NOTHING
    everything = Reset(), Upsert(WEB), Upsert(_slice(range(size))), Listed()
    assert meter.cost(*everything) == NOTHING


STICKY = WEB._replace(affinity_timeout_s=10800)
OPEN_STICKY = OPEN._replace(affinity_timeout_s=10800)


@every_size
def test_an_endpoint_added_with_affinity(size: int) -> None:
    meter = Meter(STICKY, _slice(range(size)))
    # The ticket, and where it leads; the verdict; its chain with five rules.
    cost = Cost(added=2, replaced=1, chains_and_rules=1 + 5)
    assert meter.cost(Upsert(_slice(range(size + 1)))) == cost


@every_size
def test_an_endpoint_added_to_three_frontends_with_affinity(size: int) -> None:
    meter = Meter(OPEN_STICKY, _slice(range(size)))
    # Three times the ticket, which leads to one place; external frontends have a rule more.
    cost = Cost(added=4, replaced=3, chains_and_rules=6 + 7 + 7)
    assert meter.cost(Upsert(_slice(range(size + 1)))) == cost


@every_size
@pytest.mark.parametrize("place", [0, 0.5], ids=["first", "middle"])
def test_an_endpoint_removed_with_affinity(size: int, place: float) -> None:
    meter = Meter(STICKY, _slice(range(size)))
    # The last ticket fills the hole; its own place goes; the ticket of the one that is gone leads
    # nowhere, and so all that was remembered of it.
    cost = Cost(replaced=2, deleted=2, chains_and_rules=1 + 5)
    assert meter.cost(Upsert(_slice(_without(size, int(size * place))))) == cost


@every_size
def test_an_endpoint_exchanged_with_affinity(size: int) -> None:
    meter = Meter(STICKY, _slice(range(size)))
    cost = Cost(added=1, replaced=1, deleted=1)
    assert meter.cost(Upsert(_slice([*_without(size, size // 2), size]))) == cost


@every_size
def test_another_affinity_timeout(size: int) -> None:
    meter = Meter(STICKY, _slice(range(size)))
    cost = Cost(replaced=1, chains_and_rules=1 + 5)
    assert meter.cost(Upsert(STICKY._replace(affinity_timeout_s=60))) == cost


@every_size
def test_what_has_not_changed_costs_nothing_with_affinity(size: int) -> None:
    meter = Meter(STICKY, _slice(range(size)))
    assert meter.cost(Upsert(STICKY), Upsert(_slice(list(range(size))[::-1]))) == NOTHING
    everything = Reset(), Upsert(STICKY), Upsert(_slice(range(size))), Listed()
    assert meter.cost(*everything) == NOTHING


THERE_AND_BACK: dict[str, list[Event]] = {
    "endpoint goes and comes": [
        Upsert(_slice(_without(5, 2))),
        Upsert(_slice(range(5))),
    ],
    "all endpoints go and come": [Upsert(_slice(())), Upsert(_slice(range(5)))],
    "slice goes and comes": [Delete(key_of(_slice(()))), Upsert(_slice(range(5)))],
    "service goes and comes": [Delete(key_of(WEB)), Upsert(WEB)],
    "service changes and changes back": [Upsert(OPEN), Upsert(WEB)],
    "another one comes and goes": [
        Upsert(_service("other", 42)),
        Delete(key_of(_service("other", 42))),
    ],
}


@pytest.mark.parametrize("events", THERE_AND_BACK.values(), ids=THERE_AND_BACK.keys())
def test_there_and_back_at_once_costs_nothing(events: list[Event]) -> None:
    assert Meter(WEB, _slice(range(5))).cost(*events) == NOTHING
