"""Who gets a frontend that several Services claim."""

from __future__ import annotations

import itertools

import pytest

from netproxy.core.plan import FrontendKey
from netproxy.core.resolve import frontend_keys
from netproxy.core.rivals import FrontendClaims, Seniority, rival_diagnostics, seniority
from netproxy.model.ip import IPAddress
from netproxy.model.names import ServiceKey
from netproxy.model.service import Service, ServicePort

VIP = IPAddress("192.168.99.22")
CONTESTED = FrontendKey(VIP, "TCP", 80)


def _service(name: str, created: str = "", port: int = 80, protocol: str = "TCP") -> Service:
    return Service(
        ServiceKey("default", name),
        (ServicePort("http", protocol, port),),
        (),
        external_ips=(VIP,),
        creation_timestamp=created,
    )


OLD = _service("zebra", "2024-01-01T00:00:00Z")
YOUNG = _service("aardvark", "2025-01-01T00:00:00Z")
AGELESS = _service("aaron")
RIVALS = [OLD, YOUNG, AGELESS]


def _claims(*services: Service) -> FrontendClaims:
    claims = FrontendClaims()
    for service in services:
        claims.claim(seniority(service), frontend_keys(service))
    return claims


def _winner(claims: FrontendClaims, services: list[Service]) -> list[str]:
    return [s.key.name for s in services if not claims.lost_by(s, frontend_keys(s))]


ORDERS: list[tuple[Service, Service]] = [
    (OLD, YOUNG),
    (YOUNG, AGELESS),
    (_service("a", "2024-01-01T00:00:00Z"), _service("b", "2024-01-01T00:00:00Z")),
    (_service("a"), _service("b")),
]


@pytest.mark.parametrize(("first", "second"), ORDERS)
def test_the_older_comes_first_then_the_name(first: Service, second: Service) -> None:
    assert seniority(first) < seniority(second)


@pytest.mark.parametrize("order", list(itertools.permutations(RIVALS)))
def test_order_of_claims_is_irrelevant(order: tuple[Service, ...]) -> None:
    assert _winner(_claims(*order), RIVALS) == ["zebra"]


@pytest.mark.parametrize("gone", list(itertools.permutations(RIVALS, 2)))
def test_the_next_one_takes_over(gone: tuple[Service, ...]) -> None:
    claims = _claims(*RIVALS)
    left = list(RIVALS)
    for service in gone:
        claims.withdraw(seniority(service), frontend_keys(service))
        left.remove(service)
        assert _winner(claims, left) == [left[0].key.name]
    assert not claims.has_rivals


def test_who_is_affected_is_told() -> None:
    claims = FrontendClaims()
    keys = frontend_keys(OLD)
    assert claims.claim(seniority(YOUNG), keys) == set()
    assert claims.claim(seniority(OLD), keys) == {YOUNG.key}
    assert claims.claim(seniority(AGELESS), keys) == {OLD.key, YOUNG.key}
    assert claims.withdraw(seniority(OLD), keys) == {YOUNG.key, AGELESS.key}
    assert claims.withdraw(seniority(YOUNG), keys) == {AGELESS.key}
    assert claims.withdraw(seniority(AGELESS), keys) == set()


@pytest.mark.parametrize(
    "other", [_service("other", port=81), _service("other", protocol="UDP")], ids=["port", "proto"]
)
def test_another_port_or_protocol_is_no_rival(other: Service) -> None:
    assert not _claims(OLD, other).has_rivals


def test_a_claim_that_was_never_made_is_taken_back_in_peace() -> None:
    nobody: Seniority = seniority(YOUNG)
    claims = FrontendClaims()
    assert claims.withdraw(nobody, frontend_keys(YOUNG)) == set()


def test_nodeports_are_contested_as_well() -> None:
    one = OLD._replace(external_ips=(), ports=(ServicePort("http", "TCP", 80, 30080),))
    other = YOUNG._replace(external_ips=(), ports=(ServicePort("http", "TCP", 81, 30080),))
    claims = _claims(one, other)
    lost = claims.lost_by(other, frontend_keys(other))
    assert [str(key) for key in lost] == ["nodePort 30080/TCP"]


def test_an_address_named_twice_is_claimed_once() -> None:
    twice = OLD._replace(load_balancer_ips=(VIP,))
    assert frontend_keys(twice) == [CONTESTED]
    assert not _claims(twice).has_rivals


def test_the_loser_is_told_who_won() -> None:
    (found,) = rival_diagnostics(YOUNG, {CONTESTED: OLD.key})
    assert "192.168.99.22:80/TCP already belongs to Service default/zebra" in str(found)
    assert "default/aardvark" in str(found)
