"""What a proxier does besides rules: news for load balancers, reports, no garbage kept."""

from __future__ import annotations

import errno
import gc
import weakref

import pytest

from netproxy.backends.nftables.dataplane import nftables_dataplanes
from netproxy.core.config import ProxyConfig
from netproxy.core.gaps import LocalGaps
from netproxy.core.health import HealthNews, ServiceHealth
from netproxy.core.surroundings import Addresses
from netproxy.errors import DataplaneError
from netproxy.model.endpoints import Endpoint, EndpointSlice, SlicePort
from netproxy.model.events import Delete, Listed, Upsert
from netproxy.model.ip import Family, IPAddress
from netproxy.model.names import ServiceKey
from netproxy.model.node import Node
from netproxy.model.service import Service, ServicePort, TrafficPolicy
from netproxy.nft.fake import FakeTable
from netproxy.nft.transaction import Transaction
from netproxy.proxier import Proxier, SyncKind

KEY = ServiceKey("default", "web")
SERVICE = Service(
    KEY,
    (ServicePort("", "TCP", 80),),
    (IPAddress("10.96.0.1"), IPAddress("fd00::1")),
    external_policy=TrafficPolicy.LOCAL,
    health_check_node_port=32000,
)
PRIMARY = {Family.IPV4: IPAddress("192.168.0.2"), Family.IPV6: IPAddress("2001:db8::2")}
ENDPOINTS = {Family.IPV4: IPAddress("10.1.0.1"), Family.IPV6: IPAddress("2001:db8::1:1")}


def _slice(family: Family, *, ready: bool = True) -> EndpointSlice:
    endpoint = Endpoint(ENDPOINTS[family], "node-a", ready=ready)
    return EndpointSlice(
        KEY, f"web-{family.label}", family, (SlicePort("", "TCP", 8080),), (endpoint,)
    )


class _Table(FakeTable):
    """Refuses everything while it is told to."""

    refuses = False

    def commit(self, transaction: Transaction) -> None:
        if self.refuses:
            raise DataplaneError(operation="commit", subject="table", errno=errno.EPERM)
        super().commit(transaction)


class World:
    """A proxier on fake tables."""

    def __init__(self) -> None:
        self.tables = {family: _Table(family) for family in Family}
        self.primary = dict(PRIMARY)
        self.proxier = Proxier(
            ProxyConfig("node-a"),
            nftables_dataplanes(self.tables),
            lambda family: Addresses((self.primary[family],), self.primary[family]),
        )
        self.proxier.apply_events(
            [Upsert(SERVICE), *(Upsert(_slice(family)) for family in Family), Listed()]
        )

    def told(self) -> dict[Family, HealthNews]:
        return {news.family: news for news in self.proxier.take_health_news()}


def _news(family: Family, count: int, *, is_whole: bool = False) -> HealthNews:
    health = {KEY: ServiceHealth(KEY, 32000, count)}
    return HealthNews(family, (PRIMARY[family],), health, is_whole=is_whole)


NOTHING = {family: HealthNews(family, (PRIMARY[family],), {}) for family in Family}


def test_load_balancers_hear_what_the_kernel_has() -> None:
    world = World()
    assert world.told() == {}
    world.proxier.sync()
    assert world.told() == {family: _news(family, 1, is_whole=True) for family in Family}
    world.proxier.sync()
    assert world.told() == NOTHING
    world.proxier.apply_events([Upsert(_slice(Family.IPV6, ready=False))])
    assert world.told() == {}
    world.proxier.sync()
    assert world.told() == NOTHING | {Family.IPV6: _news(Family.IPV6, 0)}
    world.proxier.apply_events([Delete(("Service", *KEY))])
    world.proxier.sync()
    assert [dict(news.services) for news in world.told().values()] == [{KEY: None}, {KEY: None}]


def test_a_family_that_is_refused_keeps_its_news_back_and_not_the_others() -> None:
    world = World()
    world.tables[Family.IPV4].refuses = True
    for _ in range(2):
        with pytest.raises(DataplaneError):
            world.proxier.sync()
    assert world.told() == {Family.IPV6: _news(Family.IPV6, 1, is_whole=True)}
    world.tables[Family.IPV4].refuses = False
    world.proxier.sync()
    assert world.told() == NOTHING | {Family.IPV4: _news(Family.IPV4, 1, is_whole=True)}


def test_news_say_where_to_listen() -> None:
    world = World()
    world.proxier.sync()
    world.told()
    world.primary[Family.IPV4] = IPAddress("192.168.0.3")
    world.proxier.request_full()
    world.proxier.sync()
    assert world.told()[Family.IPV4] == HealthNews(Family.IPV4, (world.primary[Family.IPV4],), {})


class _Circle:
    def __init__(self) -> None:
        self.me = self


def test_garbage_of_others_is_not_kept_for_ever() -> None:
    """Connections of asyncio leave circles; frozen with the rest they would add up."""
    assert gc.isenabled(), "else there is nothing to see"
    world = World()
    world.proxier.sync()
    left = weakref.ref(_Circle())
    world.proxier.sync()
    assert left() is None


def test_what_changes_on_our_node_acts_at_once_as_far_as_it_matters() -> None:
    world = World()
    family = Family.IPV4
    zones = [Endpoint(IPAddress(f"10.1.0.{n}"), zone_hints=frozenset({f"z{n}"})) for n in (1, 2)]
    hinted = _slice(family)._replace(endpoints=tuple(zones))
    everywhere = SERVICE._replace(external_policy=TrafficPolicy.CLUSTER)
    node = Node("node-a", zone="z1", addresses=(PRIMARY[family],))
    world.proxier.apply_events([Upsert(everywhere), Upsert(hinted), Upsert(node)])
    world.proxier.sync()

    def changes(now: Node) -> bool:
        world.proxier.apply_events([Upsert(now)])
        return world.proxier.sync().changed

    assert not changes(node._replace(is_leaving=True))
    assert changes(node._replace(zone="z2"))
    assert not changes(node._replace(zone="z2", is_leaving=True))
    assert changes(node._replace(zone="z2", addresses=(IPAddress("192.168.0.9"),)))


def test_how_each_sync_went_in_each_family() -> None:
    world = World()
    assert world.proxier.take_family_syncs() == []
    world.proxier.sync()
    first = world.proxier.take_family_syncs()
    assert [(each.family, each.kind) for each in first] == [(f, SyncKind.FULL) for f in Family]
    assert all(each.report and each.report.batches == 1 for each in first)
    assert world.proxier.take_family_syncs() == []
    world.tables[Family.IPV4].refuses = True
    world.proxier.apply_events([Upsert(_slice(family, ready=False)) for family in Family])
    with pytest.raises(DataplaneError):
        world.proxier.sync()
    refused, worked = world.proxier.take_family_syncs()
    assert refused.kind is worked.kind is SyncKind.PARTIAL
    assert refused.report is None
    assert refused.refusal
    assert refused.refusal.errno == errno.EPERM
    assert worked.report
    assert not worked.refusal


def test_a_clean_up_is_refused_in_one_family_and_done_in_the_other() -> None:
    world = World()
    world.proxier.sync()
    world.proxier.apply_events([Delete(("Service", *KEY))])
    world.proxier.sync()
    world.tables[Family.IPV4].refuses = True
    with pytest.raises(DataplaneError):
        world.proxier.tidy()
    refused, worked = world.proxier.take_family_syncs()
    assert refused.kind is worked.kind is SyncKind.TIDY
    assert refused.refusal
    assert worked.report
    assert worked.report.operations > 0


def test_policy_local_without_an_endpoint_here_is_counted_as_long_as_it_lasts() -> None:
    world = World()

    def gaps() -> LocalGaps:
        world.proxier.sync()
        return world.proxier.take_family_syncs()[0].without_local

    external = SERVICE._replace(external_ips=(IPAddress("203.0.113.1"),))
    world.proxier.apply_events([Upsert(external)])
    assert gaps() == LocalGaps(0, 0)
    elsewhere = _slice(Family.IPV4)
    endpoint = elsewhere.endpoints[0]._replace(node="node-b")
    elsewhere = elsewhere._replace(endpoints=(endpoint,))
    world.proxier.apply_events([Upsert(elsewhere)])
    assert gaps() == LocalGaps(internal=0, external=1)
    world.proxier.apply_events([Upsert(external._replace(internal_policy=TrafficPolicy.LOCAL))])
    assert gaps() == LocalGaps(internal=1, external=1)
    world.proxier.apply_events([Delete(("EndpointSlice", KEY.namespace, elsewhere.name))])
    assert gaps() == LocalGaps(0, 0), "there is none elsewhere either: refused, not dropped"
    world.proxier.apply_events([Upsert(elsewhere), Delete(("Service", *KEY))])
    assert gaps() == LocalGaps(0, 0)


def test_a_node_is_eligible_until_it_leaves() -> None:
    world = World()
    assert world.proxier.is_node_eligible, "a source without Nodes says nothing about ours"
    for event, is_eligible in (
        (Upsert(Node("node-b", is_leaving=True)), True),
        (Upsert(Node("node-a")), True),
        (Upsert(Node("node-a", is_leaving=True)), False),
        (Upsert(Node("node-a")), True),
        (Delete(("Node", "", "node-a")), False),
    ):
        world.proxier.apply_events([event])
        assert world.proxier.is_node_eligible is is_eligible, event
