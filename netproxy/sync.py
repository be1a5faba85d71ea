"""When to sync: at once after quiet, not too often under load, again after a failure.

Rule 1: ``SyncSchedule`` is arithmetic on times that its caller gives it; it has no clock.
Rule 2: ``SyncRunner`` waits and calls; it decides nothing.

Not here: what a sync does (``proxier.py``), and where its events come from (``daemon.py``).
"""

from __future__ import annotations

import asyncio
import enum
import random
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

BACKOFF_START_S = 0.25
"""Wait after the first failure; it doubles with each further one."""
BACKOFF_CUT_BY_CHANGE_S = 1.0
"""New objects may be what a failed sync needs, so they shorten a longer wait to this."""
FIGHT_START_S = 0.2
"""From one repair of drift to the next; doubles while drift follows each repair at once."""
FIGHT_OVER_S = 1.0
"""Drift this long after a repair, and after twice the wait, is no fight but an accident."""


class Periods(NamedTuple):
    """The operator's word on how often. All in seconds."""

    min_s: float = 0.1
    """Between the end of one sync and the start of the next (``--min-sync-period``); but after
    quiet of twice as long two syncs may follow each other at once, as in kube-proxy, whose limit
    has a burst of two: a new Service is followed by its endpoints.
    """
    retry_limit_s: float = 30.0
    """The longest wait after failures (``--sync-period``)."""
    full_s: float = 3600.0
    """Between comparisons of everything with the kernel (``--full-sync-period``)."""
    tidy_s: float = 1.5
    """From the last sync to the deletion of what it left unused."""


class Step(enum.Enum):
    """What is to be done next. In this order when several are due at the same time."""

    FULL = "full"
    """A sync that reads the kernel and compares everything."""
    SYNC = "sync"
    TIDY = "tidy"


class Due(NamedTuple):
    """The next thing to do, and when; a time in the past means now."""

    at: float
    step: Step


class SyncSchedule:
    """Decides when the next step is due. Pure but for the jitter, which is injected.

    The caller alternates ``started`` and ``finished``; requests may come at any time, also in
    between. Nothing is due before ``allow`` and nothing while a step is being taken.

    Args:
        periods: The operator's settings.
        jitter: Returns numbers in [0, 1); spreads retries of many nodes over time.
    """

    def __init__(self, periods: Periods, jitter: Callable[[], float] = random.random) -> None:
        self._periods = periods
        self._jitter = jitter
        self._is_allowed = False
        self._running: Step | None = None
        self._is_wanted = False
        """A sync is wanted: for new objects or after a failure."""
        self._has_fresh_changes = False
        """Objects changed since the last attempt started."""
        self._is_drift_wanted = False
        self._free_at = float("-inf")
        """End of the last step plus the minimum interval: nothing before."""
        self._has_spare = False
        """The step that is being taken begins after quiet: another one may follow at once."""
        self._retry_at = float("-inf")
        """No attempt before, except that fresh changes cut the wait short."""
        self._ended_at = float("-inf")
        self._full_at = float("inf")
        self._tidy_at = float("inf")
        self._drift_at = float("-inf")
        """No repair before."""
        self._repaired_at = float("-inf")
        """End of the last repair of drift."""
        self._is_repairing = False
        self._repairs = 0
        self.failures = 0
        """Failed attempts in a row."""

    def allow(self) -> None:
        """From now on syncs may happen: the source has said all it has."""
        self._is_allowed = True

    def request(self) -> None:
        """Objects changed."""
        self._is_wanted = self._has_fresh_changes = True

    def request_full(self) -> None:
        """Somebody else changed our tables, or an operator asks for a comparison."""
        self._is_drift_wanted = True

    def next_due(self) -> Due | None:
        """What comes next, if nothing further happens; None: nothing, or not yet known."""
        if self._running is not None or not self._is_allowed:
            return None
        candidates = [Due(self._clear_of_backoff(self._full_at), Step.FULL)]
        if self._is_drift_wanted:
            candidates.append(Due(self._clear_of_backoff(self._drift_at), Step.FULL))
        if self._is_wanted:
            candidates.append(Due(self._clear_of_backoff(self._free_at), Step.SYNC))
        candidates.append(Due(self._tidy_at, Step.TIDY))
        soonest = min(candidates, key=lambda due: due.at)  # the first of equals, as in Step
        return soonest if soonest.at < float("inf") else None

    def step_at(self, now: float) -> Step | None:
        """What to do now, if anything. A full comparison includes every other sync."""
        due = self.next_due()
        if due is None or due.at > now:
            return None
        wants_full = self._full_at <= now or (self._is_drift_wanted and self._drift_at <= now)
        return Step.FULL if due.step is Step.SYNC and wants_full else due.step

    def started(self, step: Step, now: float) -> None:
        """The step begins; what is requested from now on needs another one."""
        assert self._running is None, "one step at a time"
        self._running = step
        quiet_s = now - self._ended_at
        self._has_spare = step is not Step.TIDY and quiet_s >= 2 * self._periods.min_s
        if step is Step.TIDY:
            self._tidy_at = float("inf")
            return
        self._is_wanted = self._has_fresh_changes = False
        if step is Step.FULL and self._is_drift_wanted:
            self._is_drift_wanted = False
            is_fight = now - self._repaired_at <= max(2 * self._fight_wait_s(), FIGHT_OVER_S)
            self._repairs = self._repairs + 1 if is_fight else 1
            self._is_repairing = True

    def finished(self, now: float, *, ok: bool, full: bool = False) -> None:
        """The step has ended.

        Args:
            now: The time.
            ok: Whether the kernel is in step now.
            full: Whether everything was compared, asked for or not.
        """
        step, self._running = self._running, None
        assert step is not None, "finished without started"
        self._ended_at = now
        self._free_at = now if self._has_spare and ok else now + self._periods.min_s
        if self._is_repairing:
            self._is_repairing = False
            self._repaired_at = now
            self._drift_at = now + self._fight_wait_s()
        if not ok:
            self._finished_badly(now)
            return
        self.failures = 0
        self._retry_at = float("-inf")
        if step is Step.TIDY:
            return
        self._tidy_at = now + self._periods.tidy_s
        if full or step is Step.FULL or self._full_at == float("inf"):
            self._full_at = now + self._periods.full_s

    def _finished_badly(self, now: float) -> None:
        self.failures += 1
        self._is_wanted = True
        self._tidy_at = float("inf")
        backoff = BACKOFF_START_S * 2.0 ** min(self.failures - 1, 32)
        wait = min(backoff, self._periods.retry_limit_s) * (0.5 + self._jitter() / 2)
        self._retry_at = now + max(wait, self._periods.min_s)

    def _fight_wait_s(self) -> float:
        """From the last repair to the next. A first repair is immediate."""
        wait = FIGHT_START_S * 2.0 ** min(max(self._repairs - 1, 0), 32)
        return min(wait, self._periods.retry_limit_s)

    def _clear_of_backoff(self, wanted: float) -> float:
        """The first time at or after ``wanted`` that neither interval nor backoff forbids."""
        retry_at = self._retry_at
        if self._has_fresh_changes:
            retry_at = min(retry_at, self._ended_at + BACKOFF_CUT_BY_CHANGE_S)
        return max(wanted, retry_at, self._free_at)


class Outcome(NamedTuple):
    """What the taker of a step tells the schedule."""

    ok: bool
    full: bool = False


class Clock(Protocol):
    """Time, and waiting for it."""

    def now(self) -> float:
        """Seconds; never goes backwards."""
        ...

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        """Return when the event is set, or at the given time if there is one."""
        ...


class LoopClock:
    """The real one."""

    def now(self) -> float:
        return time.monotonic()

    async def wait(self, event: asyncio.Event, until: float | None) -> None:
        try:
            async with asyncio.timeout(None if until is None else max(0.0, until - self.now())):
                await event.wait()
        except TimeoutError:
            pass


class SyncRunner:
    """Takes steps when they are due, one at a time, until it is stopped.

    Args:
        schedule: Says when.
        act: Takes one step. Must not raise.
        clock: Time; tests bring their own.
    """

    def __init__(
        self,
        schedule: SyncSchedule,
        act: Callable[[Step], Awaitable[Outcome]],
        clock: Clock | None = None,
    ) -> None:
        self._schedule = schedule
        self._act = act
        self._clock = clock or LoopClock()
        self._wake = asyncio.Event()
        self._is_stopped = False
        self._between: list[Callable[[], Awaitable[None]]] = []

    def allow(self) -> None:
        """See ``SyncSchedule.allow``."""
        self._schedule.allow()
        self._wake.set()

    def request(self) -> None:
        """See ``SyncSchedule.request``."""
        self._schedule.request()
        self._wake.set()

    def request_full(self) -> None:
        """See ``SyncSchedule.request_full``."""
        self._schedule.request_full()
        self._wake.set()

    def follow(self, schedule: SyncSchedule) -> None:
        """From now on another schedule says when. Only between two steps."""
        self._schedule = schedule

    def call_between_steps(self, action: Callable[[], Awaitable[None]]) -> None:
        """Have something done while no step is being taken."""
        self._between.append(action)
        self._wake.set()

    def stop(self) -> None:
        """Let ``run`` return; a step that is being taken is taken to its end."""
        self._is_stopped = True
        self._wake.set()

    async def run(self) -> None:
        """Take steps until ``stop``."""
        while not self._is_stopped:
            self._wake.clear()
            while self._between:
                await self._between.pop(0)()
            step = self._schedule.step_at(self._clock.now())
            if step is None:
                due = self._schedule.next_due()
                await self._clock.wait(self._wake, due.at if due else None)
                continue
            self._schedule.started(step, self._clock.now())
            outcome = await self._act(step)
            self._schedule.finished(self._clock.now(), ok=outcome.ok, full=outcome.full)
