"""When the proxy counts as healthy."""

from __future__ import annotations

from netproxy.health.freshness import Freshness

LIMIT = 60.0


def test_with_nothing_to_do_it_is_healthy_for_ever() -> None:
    assert Freshness(LIMIT).is_healthy(1e9)


def test_an_update_may_wait_for_the_limit_and_no_longer() -> None:
    fresh = Freshness(LIMIT)
    fresh.queued(100)
    fresh.queued(150)
    assert fresh.is_healthy(159.9)
    assert not fresh.is_healthy(160)


def test_a_sync_that_works_ends_the_wait() -> None:
    fresh = Freshness(LIMIT)
    fresh.queued(100)
    fresh.started(101)
    fresh.finished(ok=True)
    assert fresh.is_healthy(1000)


def test_a_failed_sync_does_not_begin_the_wait_anew() -> None:
    fresh = Freshness(LIMIT)
    fresh.queued(100)
    for now in (110, 130, 150):
        fresh.started(now)
        fresh.queued(now + 1)
        fresh.finished(ok=False)
    assert fresh.is_healthy(159)
    assert not fresh.is_healthy(161)
    fresh.started(170)
    fresh.finished(ok=True)
    assert fresh.is_healthy(171)


def test_a_sync_that_hangs_is_not_healthy() -> None:
    fresh = Freshness(LIMIT)
    fresh.started(100)
    assert fresh.is_healthy(159)
    assert not fresh.is_healthy(161)


def test_what_comes_during_a_sync_waits_for_the_next() -> None:
    fresh = Freshness(LIMIT)
    fresh.queued(100)
    fresh.started(101)
    fresh.queued(102)
    fresh.finished(ok=True)
    assert fresh.is_healthy(161)
    assert not fresh.is_healthy(162)


def test_a_repair_that_fails_leaves_something_waiting() -> None:
    fresh = Freshness(LIMIT)
    fresh.started(100)
    fresh.finished(ok=False)
    assert not fresh.is_healthy(161)
