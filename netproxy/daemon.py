"""The daemon's wiring: a source's events and the kernel's notifications in, syncs out.

Rule 1: one sync at a time, in a thread, so that the loop stays responsive; events that come
meanwhile wait in the inbox. Only the thread touches the ``Proxier``.
Rule 2: nothing that goes wrong ends the daemon but a setting that can never work.
Rule 3: stopping leaves the rules as they are.

Not here: when to sync (``sync.py``), what a sync does (``proxier.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from netproxy.contracts import DriftSensor
from netproxy.core.config import ProxyMode
from netproxy.core.health import HealthNews
from netproxy.errors import ConfigError, DataplaneError, NetproxyError, UnsupportedError
from netproxy.health.ports import HealthPorts, ListenTrouble
from netproxy.health.state import HealthState
from netproxy.inbox import Inbox
from netproxy.journal import Journal, log, log_crash
from netproxy.model.diagnostic import Diagnostic
from netproxy.model.events import Event, Listed, Reset
from netproxy.model.ip import Family
from netproxy.model.names import ServicePortName
from netproxy.observer import Observer
from netproxy.proxier import FamilySync, SyncReport
from netproxy.sync import (
    BACKOFF_START_S,
    Clock,
    LoopClock,
    Outcome,
    Periods,
    Step,
    SyncRunner,
    SyncSchedule,
)

DRIFT_POLL_S = 5.0
"""How often a drift sensor is asked that cannot speak by itself."""


class Batch(Protocol):
    """What a source tells at a time."""

    @property
    def events(self) -> Sequence[Event]: ...

    @property
    def diagnostics(self) -> Sequence[Diagnostic]: ...

    @property
    def trigger_times(self) -> Sequence[float]:
        """When those changes happened that made somebody write the endpoints; since 1970."""
        ...


class Proxy(Protocol):
    """What the daemon needs of a ``Proxier``."""

    @property
    def families(self) -> Collection[Family]: ...

    @property
    def is_node_eligible(self) -> bool: ...

    def apply_events(self, events: Iterable[Event]) -> None: ...

    def request_full(self) -> None: ...

    def look_again(self) -> None: ...

    def sync(self) -> SyncReport: ...

    def take_family_syncs(self) -> Sequence[FamilySync]: ...

    def read_counts(self) -> Mapping[Family, Mapping[ServicePortName, int]]: ...

    def take_health_news(self) -> Iterable[HealthNews]: ...

    def tidy(self) -> bool: ...


class Ear(Protocol):
    """Hears that something may have changed."""

    def fileno(self) -> int: ...

    def drain(self) -> bool: ...


class Source(NamedTuple):
    """Where events come from."""

    watch: Callable[[], AsyncIterator[Batch]]
    """Starts telling, from the beginning at each call."""
    can_restart: bool = True
    """False for what can be read only once, such as standard input."""


class Engine(NamedTuple):
    """What one configuration amounts to. Replaced as a whole when the configuration changes."""

    proxy: Proxy
    """Keeps the kernel in step."""
    source: Source
    """Tells what there is, and what changes."""
    periods: Periods
    """How often to sync."""
    drift: DriftSensor | None = None
    """Senses others change our rules; None where there is nothing to sense."""
    addresses: Ear | None = None
    """Hears this host's addresses change; None where nobody listens."""
    settle: Callable[[], Sequence[str]] | None = None
    """What is to be done once the rules of a complete source are in place; returns what it did,
    in words. Tried again after every sync until it works."""
    close: Callable[[], None] = lambda: None
    """Gives back what it holds open. The rules stay."""
    mode: ProxyMode | None = None
    """How it proxies; None where nobody asks."""


class Daemon:
    """One node's proxy at work, until it is told to stop.

    Args:
        engine: What to begin with.
        answers_health_checks: Open the Services' healthCheckNodePorts.
        health: Is kept up to date, for whoever asks how the proxy is.
        observers: Count what happens.
        report: Hears that such a port cannot be opened, and that it can after all.
        clock: Time; tests bring their own.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        answers_health_checks: bool = False,
        health: HealthState | None = None,
        observers: Sequence[Observer] = (),
        report: Callable[[ListenTrouble], None] = lambda _: None,
        clock: Clock | None = None,
    ) -> None:
        self._engine = engine
        self._next_engine: Engine | None = None
        self._clock = clock or LoopClock()
        self._schedule = SyncSchedule(engine.periods)
        self._runner = SyncRunner(self._schedule, self._act, self._clock)
        self._health = health or HealthState(self._clock.now)
        self._observers = tuple(observers)
        self._report = report
        self._health_ports = (
            HealthPorts(self._is_healthy, self._hear_of_port) if answers_health_checks else None
        )
        self._journal = Journal()
        self._inbox = Inbox()
        self._source_task: asyncio.Task[None] | None = None
        self._poll_timer: asyncio.TimerHandle | None = None
        self._flow_timer: asyncio.TimerHandle | None = None
        self._fatal: BaseException | None = None
        self._is_deaf = True
        self._is_settled = False
        self._is_listed = False
        self._has_to_look = False
        self._has_heard_drift = False

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT; SIGHUP reads and compares everything anew.

        Raises:
            ConfigError, UnsupportedError: the source can never work.
            BrokenPipeError: nobody reads the dry run any more.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        self._start_engine(is_restart=False)
        try:
            await self._runner.run()
        finally:
            await self._stop_engine()
            if self._next_engine is not None:
                self._next_engine.close()
            if self._health_ports is not None:
                self._health_ports.close()
        if self._fatal is not None:
            raise self._fatal
        log.info("stopped", rules="left in place")

    def replace(self, engine: Engine) -> None:
        """Go on with another configuration, after the sync that is running, if one is.

        The new engine finds the rules of the old one in the kernel, as a newborn process would,
        and changes what is different. Until its source has said everything, the old rules stay.
        """
        if self._next_engine is not None:
            self._next_engine.close()  # another one came before its turn
        self._next_engine = engine
        self._runner.call_between_steps(self._take_next_engine)

    async def read_counts(self) -> Mapping[Family, Mapping[ServicePortName, int]]:
        """Connections to each service port, read from the kernel between two steps.

        Raises:
            DataplaneError: it could not be read.
        """
        answer = asyncio.get_running_loop().create_future()

        async def read() -> None:
            try:
                counts = await asyncio.to_thread(self._engine.proxy.read_counts)
            except NetproxyError as error:
                if not answer.done():
                    answer.set_exception(error)
            else:
                if not answer.done():
                    answer.set_result(counts)

        self._runner.call_between_steps(read)
        return await answer  # type: ignore[no-any-return]

    async def _take_next_engine(self) -> None:
        if self._next_engine is None:
            return
        self._observe(lambda observer: observer.reloading())
        await self._stop_engine()
        self._engine, self._next_engine = self._next_engine, None
        self._schedule = SyncSchedule(self._engine.periods)
        self._runner.follow(self._schedule)
        self._inbox = Inbox()
        self._is_settled = self._is_listed = False
        self._has_to_look = self._has_heard_drift = False
        self._start_engine(is_restart=True)

    def _start_engine(self, *, is_restart: bool) -> None:
        loop = asyncio.get_running_loop()
        families = self._engine.proxy.families
        self._health.begin(families, 2 * self._engine.periods.retry_limit_s)
        self._observe(lambda observer: observer.began(self._engine.mode, families))
        self._is_deaf = False
        self._listen()
        if self._engine.addresses is not None:
            loop.add_reader(self._engine.addresses.fileno(), self._hear_of_addresses)
        self._source_task = loop.create_task(self._follow(is_restart=is_restart))

    async def _stop_engine(self) -> None:
        engine, task = self._engine, self._source_task
        self._deafen()
        if engine.addresses is not None:
            asyncio.get_running_loop().remove_reader(engine.addresses.fileno())
        if self._flow_timer is not None:
            self._flow_timer.cancel()
            self._flow_timer = None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        engine.close()

    def stop(self) -> None:
        """Finish the sync that is running, if one is, and return from ``run``."""
        log.info("stopping")
        self._runner.stop()

    def reload(self) -> None:
        """Read the source from the beginning, and compare everything with the kernel."""
        log.info("reloading")
        self._observe(lambda observer: observer.reloading())
        if self._source_task is None or not self._engine.source.can_restart:
            self._runner.request_full()
            return
        self._source_task.cancel()  # the comparison comes when all has been read anew
        loop = asyncio.get_running_loop()
        self._source_task = loop.create_task(self._follow(is_restart=True))

    async def _follow(self, *, is_restart: bool) -> None:
        """Take in what the source tells, and start it again when it fails."""
        failures = 0
        while True:
            if is_restart:
                self._put((Reset(),), ())
            try:
                async for batch in self._engine.source.watch():
                    failures = 0
                    self._journal.found(batch.diagnostics)
                    self._take(batch.events, batch.trigger_times)
                return  # it had no more to say, as standard input
            except (ConfigError, UnsupportedError) as error:
                self._end(error)
                return
            except NetproxyError as error:
                log.error("source failed", error=error.message, hint=error.hint)
            except Exception as error:  # noqa: BLE001 - the outermost loop: the rules must stay alive
                log_crash("source crashed", error)
            is_restart = True
            failures += 1
            wait_s = min(2.0**failures * BACKOFF_START_S, self._engine.periods.retry_limit_s)
            await self._clock.wait(asyncio.Event(), self._clock.now() + wait_s)

    def _put(self, events: Sequence[Event], trigger_times: Sequence[float]) -> None:
        self._inbox.put(events)
        waiting = self._inbox.waiting
        self._observe(lambda observer: observer.queued(events, trigger_times, waiting))

    def _take(self, events: Sequence[Event], trigger_times: Sequence[float]) -> None:
        self._put(events, trigger_times)
        if any(isinstance(event, Listed) for event in events):
            self._runner.allow()
            if self._is_listed:
                # What the kernel has besides may be removed now. The first sync compares anyway.
                self._runner.request_full()
            self._is_listed = True
        if events:
            if self._is_listed:  # before that nobody expects a sync
                self._health.queued()
            self._runner.request()

    def _listen(self) -> None:
        """From now on learn of drift, be it told or asked for."""
        drift = self._engine.drift
        if drift is None:
            return
        loop = asyncio.get_running_loop()
        descriptor = drift.fileno()
        if descriptor is not None:
            loop.add_reader(descriptor, self._hear)
        else:
            self._hear()
            if not self._is_deaf:
                self._poll_timer = loop.call_later(DRIFT_POLL_S, self._listen)

    def _hear(self) -> None:
        """The sensor may have something to say."""
        if self._engine.drift is None or self._is_deaf:
            return
        try:
            is_drift = self._engine.drift.drain()
        except (DataplaneError, OSError) as error:
            self._deafen()
            hint = "only the periodic comparison repairs drift now; restart netproxy"
            log.error("cannot hear changes of our rules", error=str(error), hint=hint)
            return
        if is_drift:
            self._has_heard_drift = True
            self._runner.request_full()

    def _hear_of_addresses(self) -> None:
        """An address came or went, of this node or of a pod's cable."""
        assert self._engine.addresses is not None
        if self._engine.addresses.drain():
            self._has_to_look = True
            self._runner.request()

    def _deafen(self) -> None:
        self._is_deaf = True
        if self._poll_timer is not None:
            self._poll_timer.cancel()
        if self._engine.drift is not None:
            with contextlib.suppress(OSError, ValueError):
                descriptor = self._engine.drift.fileno()
                if descriptor is not None:
                    asyncio.get_running_loop().remove_reader(descriptor)

    async def _act(self, step: Step) -> Outcome:
        """Take one step of the schedule; whatever goes wrong is logged and tried again."""
        try:
            if step is not Step.TIDY:
                return await self._take_sync(is_full=step is Step.FULL)
            return await self._tidy()
        except NetproxyError as error:
            self._journal.failed(error)
        except BrokenPipeError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - the outermost loop: the next sync may work
            self._observe(lambda observer: observer.sync_crashed())
            log_crash("sync crashed", error)
        return Outcome(ok=False)

    async def _tidy(self) -> Outcome:
        try:
            if await asyncio.to_thread(self._engine.proxy.tidy):
                log.debug("unused chains deleted")
        finally:
            syncs = self._engine.proxy.take_family_syncs()
            self._observe(lambda observer: observer.families_synced(syncs, is_repair=False))
        return Outcome(ok=True)

    async def _take_sync(self, *, is_full: bool) -> Outcome:
        # What follows a failure compares everything, too.
        is_repair = self._has_heard_drift and (is_full or self._schedule.failures > 0)
        if is_repair:
            self._has_heard_drift = False
        events = self._inbox.take()
        self._health.sync_started()
        self._observe(lambda observer: observer.sync_started())
        is_ok = False
        try:
            report = await asyncio.to_thread(self._sync, events, is_full=is_full)
            is_ok = True
        finally:
            # Also after a failure: one family may have been synced.
            self._note_sync(is_repair=is_repair)
            self._follow_health()
            if not is_ok:
                self._has_heard_drift |= is_repair
                self._observe(lambda observer: observer.sync_failed())
        self._journal.synced(report, is_repair=is_repair, failures=self._schedule.failures)
        self._observe(lambda observer: observer.synced(report, is_repair=is_repair))
        self._follow_flows(report)
        self._hear()  # it may have been deaf meanwhile
        if report.is_complete:
            await self._settle_down()
        return Outcome(ok=True, full=report.full)

    def _note_sync(self, *, is_repair: bool) -> None:
        proxy = self._engine.proxy
        syncs = proxy.take_family_syncs()
        self._health.is_node_eligible = proxy.is_node_eligible
        self._health.sync_ended({each.family for each in syncs if each.refusal is None})
        self._observe(lambda observer: observer.families_synced(syncs, is_repair=is_repair))

    def _observe(self, what: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            try:
                what(observer)
            except Exception as error:  # noqa: BLE001 - rules matter more than who counts them
                log_crash("observer crashed", error)

    def _follow_health(self) -> None:
        if self._health_ports is None:
            return
        try:
            for news in self._engine.proxy.take_health_news():
                self._health_ports.update(news)
        except Exception as error:  # noqa: BLE001 - rules matter more than what is said about them
            log_crash("health checks crashed", error)

    def _hear_of_port(self, trouble: ListenTrouble) -> None:
        _say_listen_trouble(trouble)
        self._report(trouble)

    def _is_healthy(self) -> bool:
        return self._health.is_healthy

    async def _settle_down(self) -> None:
        """Our rules are in place: do what had to wait for that."""
        if self._is_settled or self._engine.settle is None:
            return
        try:
            done = await asyncio.to_thread(self._engine.settle)
        except NetproxyError as error:
            self._journal.cannot_settle(error)
            return
        self._is_settled = True
        log.info("in charge", done="; ".join(done) or "nothing to clear away")

    def _sync(self, events: Sequence[Event], *, is_full: bool) -> SyncReport:
        self._engine.proxy.apply_events(events)
        if self._has_to_look:
            self._has_to_look = False
            self._engine.proxy.look_again()
        if is_full:
            self._engine.proxy.request_full()
        return self._engine.proxy.sync()

    def _end(self, error: BaseException) -> None:
        self._fatal = error
        self._runner.stop()

    def _follow_flows(self, report: SyncReport) -> None:
        """The rules are right; connections that were left are looked for again in time."""
        if self._flow_timer is not None:
            self._flow_timer.cancel()  # one is enough, however many syncs have trouble
            self._flow_timer = None
        is_trouble = report.flow_trouble is not None
        wait_s = self._engine.periods.retry_limit_s if is_trouble else report.flows_wait_s
        if wait_s > 0:
            loop = asyncio.get_running_loop()
            self._flow_timer = loop.call_later(wait_s, self._runner.request)


def _say_listen_trouble(trouble: ListenTrouble) -> None:
    say = log.warning if trouble.error else log.info
    say(
        "cannot answer health checks" if trouble.error else "health checks are answered now",
        service=str(trouble.service),
        address=trouble.address,
        port=trouble.port,
        error=trouble.error,
        hint=trouble.hint,
    )
