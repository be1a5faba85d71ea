"""What observers of a daemon are told, and when."""

from __future__ import annotations

import asyncio
from collections.abc import (
    Collection,
    Mapping,
    Sequence,
)

import pytest

from netproxy.core.config import ProxyMode
from netproxy.daemon import Daemon, Engine
from netproxy.model.events import Event
from netproxy.model.ip import Family
from netproxy.observer import Observer
from netproxy.proxier import FamilySync, SyncReport
from tests.unit.fake_proxy import (
    LISTED,
    QUICK,
    REFUSED,
    Ear,
    FakeProxy,
    says,
    within_seconds,
)


class Counting(Observer):
    """An observer that remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def began(self, mode: ProxyMode | None, families: Collection[Family]) -> None:
        self.heard.append(f"began {mode} {[family.label for family in families]}")

    def queued(
        self, events: Sequence[Event], triggers: Sequence[float], waiting: Mapping[str, int]
    ) -> None:
        self.heard.append(f"queued {len(events)}, {list(triggers)}, {dict(waiting)} wait")

    def reloading(self) -> None:
        self.heard.append("reloading")

    def sync_started(self) -> None:
        self.heard.append("started")

    def synced(self, report: SyncReport, *, is_repair: bool) -> None:
        self.heard.append(f"synced {report.services}, repair {is_repair}")

    def sync_failed(self) -> None:
        self.heard.append("failed")

    def sync_crashed(self) -> None:
        self.heard.append("crashed")

    def families_synced(self, syncs: Sequence[FamilySync], *, is_repair: bool) -> None:
        words = ["refused" if each.refusal else each.kind.value for each in syncs]
        self.heard.append(f"{words}, repair {is_repair}")


def test_observers_hear_of_everything_in_its_order() -> None:
    proxy, counting = FakeProxy(), Counting()
    proxy.troubles = [REFUSED]

    async def run() -> None:
        proxy.loop = asyncio.get_running_loop()
        source = says(LISTED._replace(trigger_times=(5.0,)))
        daemon = Daemon(Engine(proxy, source, QUICK), observers=[counting])
        proxy.when_synced = lambda count: daemon.stop() if count == 2 else None
        await within_seconds(daemon.run())

    asyncio.run(run())
    assert counting.heard == [
        "began None ['IPv4']",
        "queued 2, [5.0], {'Service': 1} wait",
        "started",
        "['refused'], repair False",
        "failed",
        "started",
        "['partial'], repair False",
        "synced 1, repair False",
    ]


def test_a_bug_is_counted_as_such_and_an_observer_with_one_is_survived(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Observer):
        def sync_started(self) -> None:
            raise KeyError("nobody")

    proxy, counting = FakeProxy(), Counting()
    proxy.troubles = [ValueError("a bug")]

    async def run() -> None:
        proxy.loop = asyncio.get_running_loop()
        daemon = Daemon(Engine(proxy, says(LISTED), QUICK), observers=[Broken(), counting])
        proxy.when_synced = lambda count: daemon.stop() if count == 2 else None
        await within_seconds(daemon.run())

    asyncio.run(run())
    assert counting.heard[3:5] == ["[], repair False", "failed"]
    assert "crashed" in counting.heard
    assert proxy.calls.count("sync") == 2
    assert "observer crashed" in [record.getMessage() for record in caplog.records]


def test_a_repair_that_failed_is_still_one_when_it_works() -> None:
    class FailsSecond(FakeProxy):
        def sync(self) -> SyncReport:
            self.troubles = [REFUSED] if self.calls.count("sync") == 1 else []
            return super().sync()

    proxy, ear, counting = FailsSecond(), Ear(), Counting()

    async def run() -> None:
        proxy.loop = asyncio.get_running_loop()
        engine = Engine(proxy, says(LISTED), QUICK, drift=ear)
        daemon = Daemon(engine, observers=[counting])

        def when_synced(count: int) -> None:
            if count == 1:
                ear.there.send(b"x")
            elif count == 3:
                daemon.stop()

        proxy.when_synced = when_synced
        await within_seconds(daemon.run())

    asyncio.run(run())
    ear.close()
    assert [word for word in counting.heard if "repair True" in word] == [
        "['refused'], repair True",
        "['partial'], repair True",
        "synced 1, repair True",
    ]
