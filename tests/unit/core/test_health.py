"""What load balancers hear about a Service, and since when."""

from __future__ import annotations

import json

import pytest

from netproxy.core.health import (
    HealthBook,
    HealthNews,
    ServiceHealth,
    health_answer,
    service_health,
)
from netproxy.model.endpoints import Endpoint, EndpointSlice, SlicePort
from netproxy.model.ip import Family, IPAddress
from netproxy.model.names import ServiceKey
from netproxy.model.service import Service, ServicePort

KEY = ServiceKey("default", "web")
HTTP, METRICS = SlicePort("http", "TCP", 8080), SlicePort("metrics", "TCP", 9090)
SERVICE = Service(
    KEY,
    (ServicePort("http", "TCP", 80), ServicePort("metrics", "TCP", 9090)),
    (IPAddress("10.96.0.1"),),
    health_check_node_port=32000,
)
A, B = IPAddress("10.1.0.1"), IPAddress("10.1.0.2")


def _slice(*endpoints: Endpoint, ports: tuple[SlicePort, ...] = (HTTP, METRICS)) -> EndpointSlice:
    return EndpointSlice(KEY, f"web-{ports[0].name}", Family.IPV4, ports, endpoints)


def _count(*slices: EndpointSlice) -> int:
    health = service_health(SERVICE, slices, "node-a", Family.IPV4)
    assert health is not None
    assert (health.service, health.port) == (KEY, 32000)
    return health.local_endpoints


def _here(address: IPAddress = A, *, ready: bool = True, terminating: bool = False) -> Endpoint:
    return Endpoint(address, "node-a", ready=ready, terminating=terminating)


def test_an_address_counts_once_whatever_its_ports_and_slices() -> None:
    assert _count() == 0
    assert _count(_slice(_here(A))) == 1
    assert _count(_slice(_here(A), _here(B))) == 2
    assert _count(_slice(_here(A), ports=(HTTP,)), _slice(_here(A), ports=(METRICS,))) == 1
    assert _count(_slice(_here(A), ports=(HTTP,)), _slice(_here(B), ports=(METRICS,))) == 2


@pytest.mark.parametrize(
    "endpoint",
    [
        Endpoint(A, "node-b"),
        Endpoint(A),
        _here(ready=False),
        _here(ready=False, terminating=True),
        _here(ready=True, terminating=True),
    ],
    ids=["elsewhere", "nowhere", "not ready", "draining", "draining though it publishes itself"],
)
def test_does_not_count(endpoint: Endpoint) -> None:
    assert _count(_slice(endpoint)) == 0
    assert _count(_slice(endpoint, _here(B))) == 1


def test_endpoints_of_the_other_family_do_not_count() -> None:
    foreign = EndpointSlice(KEY, "web-6", Family.IPV6, (HTTP,), (_here(IPAddress("2001:db8::1")),))
    assert _count(foreign) == 0


def test_nobody_asks_in_a_family_that_the_service_lacks_or_without_a_port() -> None:
    assert service_health(SERVICE, (), "node-a", Family.IPV6) is None
    without = SERVICE._replace(health_check_node_port=0)
    assert service_health(without, (), "node-a", Family.IPV4) is None


@pytest.mark.parametrize(
    ("count", "is_proxy_healthy", "status"),
    [(2, True, 200), (0, True, 503), (2, False, 503), (0, False, 503)],
)
def test_the_answer(count: int, is_proxy_healthy: bool, status: int) -> None:
    answer = health_answer(ServiceHealth(KEY, 1, count), is_proxy_healthy=is_proxy_healthy)
    assert answer.status == status
    assert answer.headers == {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        "X-Load-Balancing-Endpoint-Weight": str(count),
    }
    assert json.loads(answer.body) == {
        "service": {"namespace": "default", "name": "web"},
        "localEndpoints": count,
        "serviceProxyHealthy": is_proxy_healthy,
    }


def _health(count: int) -> ServiceHealth:
    return ServiceHealth(KEY, 32000, count)


def test_what_was_noted_is_news_only_once_the_rules_are_in_step() -> None:
    book = HealthBook(Family.IPV4)
    book.note(KEY, _health(1))
    assert book.take() is None
    book.settle((A,))
    assert book.take() == HealthNews(Family.IPV4, (A,), {KEY: _health(1)}, is_whole=True)
    assert book.take() is None
    book.settle((A,))
    assert book.take() == HealthNews(Family.IPV4, (A,), {}), "the first news only is all there is"


def test_several_syncs_make_one_piece_of_news() -> None:
    book = HealthBook(Family.IPV4)
    other = KEY._replace(name="db")
    book.note(KEY, _health(1))
    book.note(other, _health(3)._replace(service=other))
    book.settle(None)
    book.note(KEY, None)
    book.settle((A,))
    book.note(other, None)  # not yet in the kernel
    assert book.take() == HealthNews(
        Family.IPV4, (A,), {KEY: None, other: _health(3)._replace(service=other)}, is_whole=True
    )


def test_what_did_not_change_is_no_news() -> None:
    book = HealthBook(Family.IPV4)
    book.note(KEY, _health(1))
    book.settle(None)
    book.take()
    book.note(KEY, _health(1))
    book.note(KEY._replace(name="db"), None)
    book.settle(None)
    assert book.take() == HealthNews(Family.IPV4, (), {})


def test_a_change_that_is_taken_back_before_a_sync_is_said_as_it_is() -> None:
    book = HealthBook(Family.IPV4)
    book.note(KEY, _health(1))
    book.settle(None)
    book.take()
    book.note(KEY, None)
    book.note(KEY, _health(1))
    book.settle(None)
    assert book.take() == HealthNews(Family.IPV4, (), {KEY: _health(1)})
