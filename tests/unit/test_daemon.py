"""The daemon with everything outside it replaced: what is synced when, and what is said."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import (
    AsyncGenerator,
)

import pytest

from netproxy.daemon import Daemon, Engine, Source
from netproxy.errors import ConfigError, DataplaneError, SourceError
from netproxy.model.diagnostic import Diagnostic, Severity
from netproxy.model.events import Listed, Reset
from tests.unit.fake_proxy import (
    GONE,
    LISTED,
    QUICK,
    REFUSED,
    RIVAL,
    Batch,
    Ear,
    FakeProxy,
    play,
    says,
    within_seconds,
)


def events_of(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= level]


def fields_of(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, object]]:
    return [vars(r)["fields"] for r in caplog.records if r.getMessage() == event]


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="netproxy")


def test_events_reach_the_proxy_and_a_sync_follows(caplog: pytest.LogCaptureFixture) -> None:
    proxy = FakeProxy()
    play(proxy, says(LISTED))
    assert proxy.events == [GONE, Listed()]
    assert proxy.calls == ["sync"]
    assert events_of(caplog) == ["stopping", "sync done", "stopped"]
    assert fields_of(caplog, "sync done")[0]["operations"] == 3


def test_nothing_is_synced_before_everything_was_said() -> None:
    proxy = FakeProxy()

    async def run() -> None:
        daemon = Daemon(Engine(proxy, says(Batch((GONE,))), QUICK))
        proxy.loop = asyncio.get_running_loop()
        proxy.loop.call_later(0.05, daemon.stop)
        await within_seconds(daemon.run())

    asyncio.run(run())
    assert proxy.calls == []


def test_a_failure_is_logged_once_with_its_hint_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxy = FakeProxy()
    proxy.troubles = [REFUSED, REFUSED, REFUSED]
    play(proxy, says(LISTED), syncs=4)
    assert events_of(caplog, logging.ERROR) == ["sync failed"]
    failed = fields_of(caplog, "sync failed")[0]
    assert failed == {"error": REFUSED.message, "hint": "run as root"}
    assert fields_of(caplog, "sync works again") == [{"failures": 3}]


def test_connections_that_stay_are_said_once_and_looked_for_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxy = FakeProxy()
    proxy.flow_trouble = REFUSED
    play(proxy, says(LISTED), syncs=3)
    assert events_of(caplog, logging.WARNING) == ["stale connections stay"]


def test_connections_that_were_left_are_looked_for_though_nothing_changes() -> None:
    proxy = FakeProxy()
    proxy.flows_wait_s = 0.001
    play(proxy, says(LISTED), syncs=3, periods=QUICK._replace(retry_limit_s=3600))
    assert proxy.calls.count("sync") >= 3


def test_however_many_syncs_leave_connections_one_timer_is_set() -> None:
    proxy = FakeProxy()
    proxy.flow_trouble = REFUSED
    timers: list[asyncio.TimerHandle] = []
    periods = QUICK._replace(retry_limit_s=3600)

    def synced(daemon: Daemon, count: int) -> None:
        if daemon._flow_timer is not None:
            timers.append(daemon._flow_timer)
        if count < 6:
            daemon._runner.request()

    play(proxy, says(LISTED), syncs=6, periods=periods, when_synced=synced)
    distinct = list({id(timer): timer for timer in timers}.values())
    assert len(distinct) > 1
    assert all(timer.cancelled() for timer in distinct[:-1])


def test_a_bug_in_a_sync_does_not_end_the_daemon(caplog: pytest.LogCaptureFixture) -> None:
    proxy = FakeProxy()
    proxy.troubles = [KeyError("oops")]
    play(proxy, says(LISTED), syncs=2)
    assert events_of(caplog, logging.ERROR) == ["sync crashed"]
    assert fields_of(caplog, "sync crashed")[0]["error"] == "KeyError: 'oops'"


def test_each_diagnostic_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    proxy = FakeProxy()
    proxy.diagnostics = (RIVAL,)
    bad = Diagnostic(Severity.ERROR, "", "", "is no YAML", path="web.yaml", line=3)
    play(proxy, says(LISTED._replace(diagnostics=(bad,)), Batch((), (bad,)), LISTED), syncs=1)
    said = fields_of(caplog, "object not right")
    assert [each["error"] for each in said] == ["is no YAML", "is taken"]
    assert (said[0]["path"], said[0]["line"], said[0]["severity"]) == ("web.yaml", 3, "error")


def test_a_source_that_fails_is_started_again_from_the_beginning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    proxy = FakeProxy()
    starts = 0

    async def watch() -> AsyncGenerator[Batch, None]:
        nonlocal starts
        starts += 1
        if starts == 1:
            raise SourceError("no such directory", hint="make it")
        yield LISTED
        await asyncio.Event().wait()

    play(proxy, Source(watch))
    assert proxy.events == [Reset(), GONE, Listed()]
    assert fields_of(caplog, "source failed") == [{"error": "no such directory", "hint": "make it"}]


def test_a_source_that_can_never_work_ends_the_daemon() -> None:
    with pytest.raises(ConfigError):
        play(FakeProxy(), says(ConfigError(setting="--filename", problem="is a socket")))


def test_nobody_reading_the_dry_run_ends_the_daemon() -> None:
    proxy = FakeProxy()
    proxy.troubles = [BrokenPipeError()]
    with pytest.raises(BrokenPipeError):
        play(proxy, says(LISTED), syncs=9)


def test_a_change_of_others_leads_to_a_full_sync(caplog: pytest.LogCaptureFixture) -> None:
    proxy, ear = FakeProxy(), Ear()

    def disturb(_: Daemon, count: int) -> None:
        if count == 1:
            ear.there.send(b"somebody was here")

    play(proxy, says(LISTED), syncs=2, drift=ear, when_synced=disturb)
    ear.close()
    assert proxy.calls == ["sync", "full", "sync"]
    assert "another program changed our tables, repaired" in events_of(caplog, logging.WARNING)


def test_a_drift_sensor_that_breaks_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    proxy, ear = FakeProxy(), Ear()
    ear.trouble = DataplaneError(operation="hear", subject="changes of nf_tables", errno=9)
    ear.there.send(b"?")
    play(proxy, says(LISTED), drift=ear)
    ear.close()
    assert len(fields_of(caplog, "cannot hear changes of our rules")) == 1
    assert proxy.calls == ["sync"]


def test_unused_chains_are_deleted_in_quiet() -> None:
    proxy = FakeProxy()

    async def run() -> None:
        daemon = Daemon(Engine(proxy, says(LISTED), QUICK._replace(tidy_s=0.01)))
        proxy.loop = asyncio.get_running_loop()
        proxy.loop.call_later(0.1, daemon.stop)
        await within_seconds(daemon.run())

    asyncio.run(run())
    assert proxy.calls == ["sync", "tidy"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_it(number: int) -> None:
    proxy = FakeProxy()
    play(proxy, says(LISTED), syncs=9, when_synced=lambda _, __: os.kill(os.getpid(), number))
    assert proxy.calls == ["sync"]


def test_sighup_reads_and_compares_everything_anew() -> None:
    proxy = FakeProxy()

    def hang_up(_: Daemon, count: int) -> None:
        if count == 1:
            os.kill(os.getpid(), signal.SIGHUP)

    play(proxy, says(LISTED), syncs=2, when_synced=hang_up)
    assert proxy.calls == ["sync", "full", "sync"]
    assert proxy.events == [GONE, Listed(), Reset(), GONE, Listed()]


def test_when_what_was_missing_comes_everything_is_compared() -> None:
    proxy, has_synced = FakeProxy(), asyncio.Event()

    async def watch() -> AsyncGenerator[Batch, None]:
        yield Batch((Listed(complete=False),))
        await has_synced.wait()
        yield LISTED
        await asyncio.Event().wait()

    play(proxy, Source(watch), syncs=2, when_synced=lambda _, __: has_synced.set())
    assert proxy.calls == ["sync", "full", "sync"]


def test_sighup_does_not_read_standard_input_again() -> None:
    proxy = FakeProxy()

    def hang_up(_: Daemon, count: int) -> None:
        if count == 1:
            os.kill(os.getpid(), signal.SIGHUP)

    source = says(LISTED)._replace(can_restart=False)
    play(proxy, source, syncs=2, when_synced=hang_up)
    assert proxy.events == [GONE, Listed()]


def test_an_unchanged_kernel_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    proxy = FakeProxy()
    proxy.operations = 0
    play(proxy, says(LISTED, LISTED), syncs=1, when_synced=lambda daemon, _: daemon.reload())
    assert events_of(caplog).count("sync done") == 1


def test_another_configuration_takes_over_between_two_syncs() -> None:
    first, second = FakeProxy(), FakeProxy()
    closed: list[str] = []

    def engine(name: str, proxy: FakeProxy, source: Source) -> Engine:
        return Engine(proxy, source, QUICK, close=lambda: closed.append(name))

    async def run() -> None:
        first.loop = second.loop = asyncio.get_running_loop()
        daemon = Daemon(engine("first", first, says(LISTED)))

        def synced(_: int) -> None:
            daemon.replace(engine("never used", FakeProxy(), says(LISTED)))
            daemon.replace(engine("second", second, says(Batch(), LISTED)))

        first.when_synced = synced
        second.when_synced = lambda _: daemon.stop()
        await within_seconds(daemon.run())

    asyncio.run(run())
    assert first.calls == ["sync"]
    assert second.events == [Reset(), GONE, Listed()]
    assert second.calls == ["sync"]
    assert closed == ["never used", "first", "second"]


def test_another_configuration_does_not_sync_before_its_source_said_everything() -> None:
    first, second = FakeProxy(), FakeProxy()

    async def run() -> None:
        first.loop = second.loop = asyncio.get_running_loop()
        daemon = Daemon(Engine(first, says(LISTED), QUICK))
        first.when_synced = lambda _: daemon.replace(Engine(second, says(Batch((GONE,))), QUICK))
        first.loop.call_later(0.1, daemon.stop)
        await within_seconds(daemon.run())

    asyncio.run(run())
    assert (first.calls, second.calls) == (["sync"], [])
