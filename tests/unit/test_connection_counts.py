"""Counts of connections: read when somebody asks, not too often, and nobody waits for long."""

from __future__ import annotations

import asyncio
import logging

import pytest

from netproxy import connection_counts
from netproxy.connection_counts import FRESH_S, ConnectionCounts, Counts
from netproxy.daemon import Daemon, Engine
from netproxy.errors import DataplaneError
from netproxy.model.ip import Family
from netproxy.model.names import ServicePortName
from tests.unit.fake_proxy import LISTED, QUICK, FakeProxy, says, within_seconds

WEB = ServicePortName("default", "web", "http", "TCP")
REFUSED = DataplaneError(operation="read", subject="counts", errno=1)


class Kernel:
    """Has counted one more each time that it is read."""

    def __init__(self) -> None:
        self.reads = 0
        self.trouble: DataplaneError | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def read(self) -> Counts:
        await self.may_answer.wait()
        self.reads += 1
        if self.trouble:
            raise self.trouble
        return {Family.IPV4: {WEB: self.reads}}


def test_what_was_read_is_good_for_a_while() -> None:
    now = 100.0

    async def ask() -> None:
        nonlocal now
        kernel = Kernel()
        counts = ConnectionCounts(kernel.read, lambda: now)
        assert list(counts.looked.read()) == []
        await asyncio.gather(counts.refresh(), counts.refresh())
        assert kernel.reads == 1
        labels = ("default", "web", "http", "TCP", "IPv4")
        assert list(counts.looked.read()) == [(labels, 1)]
        await counts.refresh()
        assert kernel.reads == 1
        now += FRESH_S
        await counts.refresh()
        assert list(counts.looked.read()) == [(labels, 2)]

    asyncio.run(ask())


def test_who_asks_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_counts, "PATIENCE_S", 0.01)

    async def ask() -> None:
        kernel = Kernel()
        kernel.may_answer.clear()
        counts = ConnectionCounts(kernel.read)
        await counts.refresh()
        assert list(counts.looked.read()) == []
        kernel.may_answer.set()
        await counts.refresh()
        assert kernel.reads == 1
        assert len(list(counts.looked.read())) == 1
        counts.close()

    asyncio.run(ask())


def test_a_kernel_that_refuses_is_said_once_and_what_was_read_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = 0.0

    async def ask() -> None:
        nonlocal now
        kernel = Kernel()
        counts = ConnectionCounts(kernel.read, lambda: now)
        await counts.refresh()
        kernel.trouble = REFUSED
        for _ in range(3):
            now += FRESH_S
            await counts.refresh()
        assert kernel.reads == 4
        assert len(list(counts.looked.read())) == 1

    with caplog.at_level(logging.WARNING, logger="netproxy"):
        asyncio.run(ask())
    assert [r.getMessage() for r in caplog.records] == ["cannot read counts of connections"]


def test_the_daemon_reads_between_two_syncs() -> None:
    proxy = FakeProxy()

    async def run() -> None:
        proxy.loop = asyncio.get_running_loop()
        daemon = Daemon(Engine(proxy, says(LISTED), QUICK))
        answers: list[Counts] = []

        async def ask() -> None:
            answers.append(await daemon.read_counts())
            proxy.troubles.append(REFUSED)
            with pytest.raises(DataplaneError):
                await daemon.read_counts()
            daemon.stop()

        tasks = []
        proxy.when_synced = lambda _: tasks.append(asyncio.create_task(ask()))
        await within_seconds(daemon.run())
        await asyncio.gather(*tasks)
        assert answers[0][Family.IPV4] == {ServicePortName("default", "web", "", "TCP"): 7}

    asyncio.run(run())
    assert proxy.calls == ["sync", "counts", "counts"]
