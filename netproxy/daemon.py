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
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from netproxy.contracts import DriftSensor
from netproxy.core.health import HealthNews
from netproxy.errors import ConfigError, DataplaneError, NetproxyError, UnsupportedError
from netproxy.health.freshness import Freshness
from netproxy.health.ports import HealthPorts, ListenTrouble
from netproxy.log import EventLogger
from netproxy.model.diagnostic import Diagnostic
from netproxy.model.events import Event, Listed, Reset
from netproxy.proxier import SyncReport
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
_MOST_REMEMBERED = 10_000
"""Diagnostics that were logged; more are forgotten, and logged again should they come again."""

log = EventLogger(__name__)


class Batch(Protocol):
    """What a source tells at a time."""

    @property
    def events(self) -> Sequence[Event]: ...

    @property
    def diagnostics(self) -> Sequence[Diagnostic]: ...


class Proxy(Protocol):
    """What the daemon needs of a ``Proxier``."""

    def apply_events(self, events: Iterable[Event]) -> None: ...

    def request_full(self) -> None: ...

    def look_again(self) -> None: ...

    def sync(self) -> SyncReport: ...

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


class Daemon:
    """One node's proxy at work, until it is told to stop.

    Args:
        proxy: Keeps the kernel in step.
        source: Tells what there is, and what changes.
        periods: How often to sync.
        drift: Senses others change our rules; None where there is nothing to sense.
        addresses: Hears this host's addresses change; None where nobody listens.
        settle: What is to be done once the rules of a complete source are in place; returns what
            it did, in words. Tried again after every sync until it works.
        answers_health_checks: Open the Services' healthCheckNodePorts.
        clock: Time; tests bring their own.
    """

    def __init__(
        self,
        proxy: Proxy,
        source: Source,
        *,
        periods: Periods,
        drift: DriftSensor | None = None,
        addresses: Ear | None = None,
        settle: Callable[[], Sequence[str]] | None = None,
        answers_health_checks: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._proxy = proxy
        self._source = source
        self._drift = drift
        self._addresses = addresses
        self._settle = settle
        self._has_to_look = False
        self._periods = periods
        self._clock = clock or LoopClock()
        self._schedule = SyncSchedule(periods)
        self._runner = SyncRunner(self._schedule, self._act, self._clock)
        self._freshness = Freshness(2 * periods.retry_limit_s)
        self._health_ports = (
            HealthPorts(self._is_healthy, _say_listen_trouble) if answers_health_checks else None
        )
        self._inbox: list[Event] = []
        self._source_task: asyncio.Task[None] | None = None
        self._poll_timer: asyncio.TimerHandle | None = None
        self._fatal: BaseException | None = None
        self._said: set[Diagnostic] = set()
        self._last_error = ""
        self._last_settle_error = ""
        self._last_flow_error = ""
        self._flow_timer: asyncio.TimerHandle | None = None
        self._has_synced = False
        self._is_listed = False
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
        self._listen()
        if self._addresses is not None:
            loop.add_reader(self._addresses.fileno(), self._hear_of_addresses)
        self._source_task = loop.create_task(self._follow(is_restart=False))
        try:
            await self._runner.run()
        finally:
            self._deafen()
            if self._addresses is not None:
                loop.remove_reader(self._addresses.fileno())
            if self._health_ports is not None:
                self._health_ports.close()
            self._source_task.cancel()
            await asyncio.gather(self._source_task, return_exceptions=True)
        if self._fatal is not None:
            raise self._fatal
        log.info("stopped", rules="left in place")

    def stop(self) -> None:
        """Finish the sync that is running, if one is, and return from ``run``."""
        log.info("stopping")
        self._runner.stop()

    def reload(self) -> None:
        """Read the source from the beginning, and compare everything with the kernel."""
        log.info("reloading")
        if self._source_task is None or not self._source.can_restart:
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
                self._inbox.append(Reset())
            try:
                async for batch in self._source.watch():
                    failures = 0
                    self._say_diagnostics(batch.diagnostics)
                    self._take(batch.events)
                return  # it had no more to say, as standard input
            except (ConfigError, UnsupportedError) as error:
                self._end(error)
                return
            except NetproxyError as error:
                log.error("source failed", error=error.message, hint=error.hint)
            except Exception as error:  # noqa: BLE001 - the outermost loop: the rules must stay alive
                _log_crash("source crashed", error)
            is_restart = True
            failures += 1
            wait_s = min(2.0**failures * BACKOFF_START_S, self._periods.retry_limit_s)
            await self._clock.wait(asyncio.Event(), self._clock.now() + wait_s)

    def _take(self, events: Sequence[Event]) -> None:
        self._inbox.extend(events)
        if any(isinstance(event, Listed) for event in events):
            self._runner.allow()
            if self._is_listed:
                # What the kernel has besides may be removed now. The first sync compares anyway.
                self._runner.request_full()
            self._is_listed = True
        if events:
            self._freshness.queued(self._clock.now())
            self._runner.request()

    def _listen(self) -> None:
        """From now on learn of drift, be it told or asked for."""
        loop = asyncio.get_running_loop()
        if self._drift is None:
            return
        descriptor = self._drift.fileno()
        if descriptor is not None:
            loop.add_reader(descriptor, self._hear)
        else:
            self._hear()
            self._poll_timer = loop.call_later(DRIFT_POLL_S, self._listen)

    def _hear(self) -> None:
        """The sensor may have something to say."""
        assert self._drift is not None
        try:
            is_drift = self._drift.drain()
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
        assert self._addresses is not None
        if self._addresses.drain():
            self._has_to_look = True
            self._runner.request()

    def _deafen(self) -> None:
        if self._poll_timer is not None:
            self._poll_timer.cancel()
        if self._drift is not None:
            with contextlib.suppress(OSError, ValueError):
                descriptor = self._drift.fileno()
                if descriptor is not None:
                    asyncio.get_running_loop().remove_reader(descriptor)
            self._drift = None

    async def _act(self, step: Step) -> Outcome:
        """Take one step of the schedule; whatever goes wrong is logged and tried again."""
        try:
            if step is not Step.TIDY:
                return await self._take_sync(is_full=step is Step.FULL)
            if await asyncio.to_thread(self._proxy.tidy):
                log.debug("unused chains deleted")
            return Outcome(ok=True)
        except NetproxyError as error:
            self._say_failure(error)
        except BrokenPipeError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - the outermost loop: the next sync may work
            _log_crash("sync crashed", error)
        return Outcome(ok=False)

    async def _take_sync(self, *, is_full: bool) -> Outcome:
        is_repair = self._has_heard_drift and is_full
        if is_repair:
            self._has_heard_drift = False
        events, self._inbox = self._inbox, []
        self._freshness.started(self._clock.now())
        is_ok = False
        try:
            report = await asyncio.to_thread(self._sync, events, is_full=is_full)
            is_ok = True
        finally:
            self._freshness.finished(ok=is_ok)
            # Also after a failure: one family may have been synced.
            self._follow_health()
        self._say_success(report, is_repair=is_repair)
        if self._drift is not None:
            self._hear()  # it may have been deaf meanwhile
        if report.is_complete:
            await self._settle_down()
        return Outcome(ok=True, full=report.full)

    def _follow_health(self) -> None:
        if self._health_ports is None:
            return
        try:
            for news in self._proxy.take_health_news():
                self._health_ports.update(news)
        except Exception as error:  # noqa: BLE001 - rules matter more than what is said about them
            _log_crash("health checks crashed", error)

    def _is_healthy(self) -> bool:
        return self._freshness.is_healthy(self._clock.now())

    async def _settle_down(self) -> None:
        """Our rules are in place: do what had to wait for that."""
        if self._settle is None:
            return
        try:
            done = await asyncio.to_thread(self._settle)
        except NetproxyError as error:
            say = log.debug if error.message == self._last_settle_error else log.warning
            self._last_settle_error = error.message
            say("cannot settle down", error=error.message, hint=error.hint)
            return
        self._settle = None
        log.info("in charge", done="; ".join(done) or "nothing to clear away")

    def _sync(self, events: Sequence[Event], *, is_full: bool) -> SyncReport:
        self._proxy.apply_events(events)
        if self._has_to_look:
            self._has_to_look = False
            self._proxy.look_again()
        if is_full:
            self._proxy.request_full()
        return self._proxy.sync()

    def _end(self, error: BaseException) -> None:
        self._fatal = error
        self._runner.stop()

    def _say_success(self, report: SyncReport, *, is_repair: bool) -> None:
        if self._last_error:
            log.info("sync works again", failures=self._schedule.failures)
            self._last_error = ""
        self._say_diagnostics(report.diagnostics)
        self._follow_flows(report)
        if is_repair and report.changed:
            log.warning("another program changed our tables, repaired")
        is_news = report.changed or report.forgotten_flows or not self._has_synced
        say = log.info if is_news else log.debug
        self._has_synced = True
        say(
            "sync done",
            full=report.full,
            services=report.services,
            endpoints=report.endpoints,
            operations=sum(each.operations for each in report.families),
            forgotten_flows=report.forgotten_flows,
            compile_ms=report.compile_ms,
            kernel_ms=report.kernel_ms,
        )

    def _follow_flows(self, report: SyncReport) -> None:
        """The rules are right; connections that were left are looked for again in time."""
        trouble = report.flow_trouble
        if trouble is not None:
            say = log.debug if trouble.message == self._last_flow_error else log.warning
            say("stale connections stay", error=trouble.message, hint=trouble.hint)
        self._last_flow_error = trouble.message if trouble else ""
        if self._flow_timer is not None:
            self._flow_timer.cancel()  # one is enough, however many syncs have trouble
            self._flow_timer = None
        wait_s = self._periods.retry_limit_s if trouble else report.flows_wait_s
        if wait_s > 0:
            loop = asyncio.get_running_loop()
            self._flow_timer = loop.call_later(wait_s, self._runner.request)

    def _say_failure(self, error: NetproxyError) -> None:
        """Once per distinct message: a failure repeats until somebody does something."""
        say = log.debug if error.message == self._last_error else log.error
        self._last_error = error.message
        say("sync failed", error=error.message, hint=error.hint)

    def _say_diagnostics(self, diagnostics: Iterable[Diagnostic]) -> None:
        for diagnostic in diagnostics:
            if diagnostic in self._said:
                continue
            if len(self._said) >= _MOST_REMEMBERED:
                self._said.clear()
            self._said.add(diagnostic)
            log.warning(
                "object not right",
                severity=diagnostic.severity.value,
                object=diagnostic.subject,
                field=diagnostic.field,
                error=diagnostic.message,
                path=diagnostic.path,
                line=diagnostic.line or None,
            )


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


def _log_crash(event: str, error: Exception) -> None:
    """A bug of ours: one line for the operator, where it happened for whoever looks closer."""
    log.error(event, error=f"{type(error).__name__}: {error}", hint="this is a bug in netproxy")
    log.debug(event, traceback="".join(traceback.format_exception(error)))
