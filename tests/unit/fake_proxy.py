"""A daemon's surroundings, replaced: a proxy, a source, an ear for drift."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterable,
)
from typing import NamedTuple

from netproxy.contracts import FamilyReport
from netproxy.core.health import HealthNews
from netproxy.daemon import Daemon, Engine, Source
from netproxy.errors import DataplaneError
from netproxy.model.diagnostic import Diagnostic, Severity
from netproxy.model.events import Delete, Event, Listed
from netproxy.model.ip import Family
from netproxy.model.names import ServicePortName
from netproxy.proxier import FamilySync, SyncKind, SyncReport
from netproxy.sync import Periods

QUICK = Periods(min_s=0.0, retry_limit_s=0.001, full_s=3600, tidy_s=3600)
GONE = Delete(("Service", "default", "web"))
REFUSED = DataplaneError(operation="add chain", subject="ip netproxy", errno=1, hint="run as root")
RIVAL = Diagnostic(Severity.WARNING, "Service default/web", "spec.ports[0]", "is taken")


class Batch(NamedTuple):
    events: tuple[Event, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    trigger_times: tuple[float, ...] = ()


LISTED = Batch((GONE, Listed()))


class FakeProxy:
    """Remembers what it was asked to do."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.events: list[Event] = []
        self.troubles: list[Exception] = []
        self.diagnostics: tuple[Diagnostic, ...] = ()
        self.operations = 3
        self.when_synced: Callable[[int], None] = lambda _: None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.health_news: list[HealthNews] = []
        self.flow_trouble: DataplaneError | None = None
        self.flows_wait_s = 0.0
        self.syncs: list[FamilySync] = []

    families = (Family.IPV4,)
    is_node_eligible = True

    def apply_events(self, events: Iterable[Event]) -> None:
        self.events += events

    def read_counts(self) -> dict[Family, dict[ServicePortName, int]]:
        self.calls.append("counts")
        if self.troubles:
            raise self.troubles.pop(0)
        return {Family.IPV4: {ServicePortName("default", "web", "", "TCP"): 7}}

    def look_again(self) -> None:
        self.calls.append("look again")

    def request_full(self) -> None:
        self.calls.append("full")

    def sync(self) -> SyncReport:
        self.calls.append("sync")
        assert self.loop is not None
        self.loop.call_soon_threadsafe(self.when_synced, self.calls.count("sync"))
        if self.troubles:
            trouble = self.troubles.pop(0)
            if isinstance(trouble, DataplaneError):
                self.syncs = [FamilySync(Family.IPV4, SyncKind.PARTIAL, 0.002, refusal=trouble)]
            raise trouble
        family = FamilyReport(Family.IPV4, self.operations, 2, 1)
        self.syncs = [FamilySync(Family.IPV4, SyncKind.PARTIAL, 0.002, family)]
        return SyncReport(
            False,
            (family,),
            1,
            2,
            0.5,
            1.5,
            self.diagnostics,
            flow_trouble=self.flow_trouble,
            flows_wait_s=self.flows_wait_s,
        )

    def take_family_syncs(self) -> list[FamilySync]:
        syncs, self.syncs = self.syncs, []
        return syncs

    def take_health_news(self) -> list[HealthNews]:
        self.calls.append("health")
        news, self.health_news = self.health_news, []
        return news

    def tidy(self) -> bool:
        self.calls.append("tidy")
        return True


class Ear:
    """A drift that hears what a test says into a socket."""

    def __init__(self) -> None:
        self.here, self.there = socket.socketpair()
        self.here.setblocking(False)
        self.trouble: Exception | None = None

    def fileno(self) -> int:
        return self.here.fileno()

    def drain(self) -> bool:
        if self.trouble is not None:
            raise self.trouble
        try:
            return bool(self.here.recv(100))
        except BlockingIOError:
            return False

    def close(self) -> None:
        self.here.close()
        self.there.close()


def says(*batches: Batch | Exception) -> Source:
    """A source that says this, the same at each start, and then waits."""

    async def watch() -> AsyncGenerator[Batch, None]:
        for batch in batches:
            if isinstance(batch, Exception):
                raise batch
            yield batch
        await asyncio.Event().wait()

    return Source(watch)


def play(
    proxy: FakeProxy,
    source: Source,
    *,
    syncs: int = 1,
    periods: Periods = QUICK,
    drift: Ear | None = None,
    when_synced: Callable[[Daemon, int], None] = lambda _, __: None,
) -> None:
    """Run a daemon until it has synced so many times."""

    async def run() -> None:
        daemon = Daemon(Engine(proxy, source, periods, drift=drift))
        proxy.loop = asyncio.get_running_loop()

        def synced(count: int) -> None:
            when_synced(daemon, count)
            if count >= syncs:
                daemon.stop()

        proxy.when_synced = synced
        await within_seconds(daemon.run())

    asyncio.run(run())


async def within_seconds(awaitable: Awaitable[None]) -> None:
    async with asyncio.timeout(10):
        await awaitable
