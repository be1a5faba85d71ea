"""When syncs happen. No test here waits: time is a number that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netproxy.sync import (
    BACKOFF_CUT_BY_CHANGE_S,
    Outcome,
    Periods,
    Step,
    SyncRunner,
    SyncSchedule,
)

PERIODS = Periods(min_s=0.1, retry_limit_s=30.0, full_s=3600.0, tidy_s=1.5)


class Run(NamedTuple):
    """One step as the script saw it."""

    step: Step
    start: float
    end: float


class Script:
    """A clock, and what happens at which time; time jumps from one thing to the next."""

    def __init__(
        self,
        *,
        until: float,
        took: float = 0.01,
        periods: Periods = PERIODS,
        outcomes: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self.time = 0.0
        self.runs: list[Run] = []
        self._until = until
        self._took = took
        self._outcomes = outcomes
        self._happenings: list[tuple[float, Callable[[], None]]] = []
        self.schedule = SyncSchedule(periods, jitter=lambda: 1.0)
        self.runner = SyncRunner(self.schedule, self._act, self)
        self.at(until, self.runner.stop)

    def at(self, time: float, action: Callable[[], None]) -> Script:
        self._happenings.append((time, action))
        self._happenings.sort(key=lambda each: each[0])
        return self

    def play(self) -> list[Run]:
        asyncio.run(self.runner.run())
        return self.runs

    def steps(self) -> list[tuple[str, float]]:
        return [(run.step.value, round(run.start, 3)) for run in self.play()]

    def now(self) -> float:
        return self.time

    async def wait(self, event: asyncio.Event, until: float | None) -> None:  # noqa: ARG002
        target = self._until if until is None else until
        if self._happenings and self._happenings[0][0] <= target:
            self._advance(self._happenings[0][0])
        else:
            self.time = max(self.time, target)

    async def _act(self, step: Step) -> Outcome:
        start = self.time
        self._advance(start + self._took)
        self.runs.append(Run(step, start, self.time))
        number = sum(run.step is not Step.TIDY for run in self.runs)
        ok = step is Step.TIDY or self._outcomes(number)
        return Outcome(ok=ok, full=step is Step.FULL or number == 1)

    def _advance(self, target: float) -> None:
        """To the target, taking what happens on the way."""
        while self._happenings and self._happenings[0][0] <= target:
            time, action = self._happenings.pop(0)
            self.time = max(self.time, time)
            action()
        self.time = max(self.time, target)


def listed(script: Script) -> Script:
    """The source has said everything at time 0."""
    return script.at(0.0, script.runner.allow).at(0.0, script.runner.request)


def test_nothing_happens_before_the_source_has_said_everything() -> None:
    script = Script(until=100)
    script.at(1, script.runner.request).at(2, script.runner.request_full)
    assert script.steps() == []


def test_the_first_sync_comes_with_the_permission() -> None:
    script = Script(until=6)
    script.at(1, script.runner.request).at(5, script.runner.allow)
    assert script.steps() == [("sync", 5.0)]


def test_a_change_after_quiet_is_programmed_at_once() -> None:
    script = listed(Script(until=11))
    script.at(10, script.runner.request)
    assert script.steps() == [("sync", 0.0), ("tidy", 1.51), ("sync", 10.0)]


def test_a_burst_becomes_two_syncs_at_once_and_one_after_the_interval() -> None:
    script = listed(Script(until=10.5))
    for number in range(50):
        script.at(10 + number / 1000, script.runner.request)
    assert script.steps()[2:] == [("sync", 10.0), ("sync", 10.01), ("sync", 10.12)]


def test_what_comes_while_a_sync_runs_gets_another_one() -> None:
    script = listed(Script(until=15, took=2.0))
    script.at(0.5, script.runner.request)
    assert script.steps()[:2] == [("sync", 0.0), ("sync", 2.0)]


def test_failures_back_off_to_the_limit() -> None:
    script = listed(Script(until=200, took=0, outcomes=lambda _: False))
    starts = [start for _, start in script.steps()]
    waits = [round(b - a, 3) for a, b in pairwise(starts)]
    assert waits[:9] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_jitter_only_shortens_a_wait() -> None:
    schedule = SyncSchedule(PERIODS, jitter=lambda: 0.0)
    schedule.allow()
    schedule.request()
    schedule.started(Step.SYNC, 0.0)
    schedule.finished(0.0, ok=False)
    due = schedule.next_due()
    assert due is not None
    assert due.at == pytest.approx(0.125)


def test_a_change_cuts_a_long_backoff_short() -> None:
    script = listed(Script(until=45, took=0, outcomes=lambda number: number > 7))
    script.at(20, script.runner.request)  # the next attempt would have been at 31.75
    assert script.steps()[6:8] == [("sync", 15.75), ("sync", 20.0)]


def test_changes_all_the_time_do_not_defeat_the_backoff() -> None:
    script = listed(Script(until=60, took=0, outcomes=lambda _: False))
    for number in range(6000):
        script.at(number / 100, script.runner.request)
    starts = [start for _, start in script.steps()]
    late = [b - a for a, b in pairwise(starts) if a > 5]
    assert min(late) >= BACKOFF_CUT_BY_CHANGE_S - 0.001


def test_a_success_ends_the_backoff() -> None:
    script = listed(Script(until=10, took=0, outcomes=lambda number: number > 3))
    script.at(5, script.runner.request)
    assert ("sync", 5.0) in script.steps()


def test_everything_is_compared_periodically() -> None:
    script = listed(Script(until=8000, took=0))
    assert [s for s in script.steps() if s[0] == "full"] == [("full", 3600.0), ("full", 7200.0)]


def test_a_full_sync_on_the_way_counts_as_the_periodic_one() -> None:
    script = listed(Script(until=5000, took=0))
    script.at(2000, script.runner.request_full)
    assert [s for s in script.steps() if s[0] == "full"] == [("full", 2000.0)]


def test_drift_is_repaired_at_once() -> None:
    script = listed(Script(until=12))
    script.at(10, script.runner.request_full)
    assert ("full", 10.0) in script.steps()


def test_drift_and_changes_are_one_sync() -> None:
    script = listed(Script(until=10.5))
    script.at(10, script.runner.request).at(10, script.runner.request_full)
    assert script.steps()[2:] == [("full", 10.0)]


def test_a_fight_with_another_program_slows_down() -> None:
    script = listed(Script(until=300, took=0))
    act = script.runner._act

    async def fight(step: Step) -> Outcome:
        outcome = await act(step)
        if step is not Step.TIDY:
            script.runner.request_full()  # the other one answers at once
        return outcome

    script.runner._act = fight
    starts = [start for step, start in script.steps() if step == "full"]
    waits = [round(b - a, 3) for a, b in pairwise(starts)]
    assert waits[:8] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6]
    assert max(waits) == 30


def test_changes_do_not_wait_for_a_fight() -> None:
    script = listed(Script(until=60, took=0))
    for tenth in range(100, 120):
        script.at(tenth / 10, script.runner.request_full)
    script.at(12.05, script.runner.request)
    assert any(step == "sync" and 12 < start < 12.3 for step, start in script.steps())


def test_drift_now_and_then_is_no_fight() -> None:
    script = listed(Script(until=100, took=0))
    for time in range(10, 90, 5):
        script.at(time, script.runner.request_full)
    repairs = [start for step, start in script.steps() if step == "full"]
    assert repairs == list(range(10, 90, 5))


def test_tidying_waits_for_quiet() -> None:
    script = listed(Script(until=20, took=0))
    for time in range(1, 6):
        script.at(time, script.runner.request)
    assert [s for s in script.steps() if s[0] == "tidy"] == [("tidy", 6.5)]


def test_a_failed_tidying_leads_to_a_sync() -> None:
    schedule = SyncSchedule(PERIODS, jitter=lambda: 1.0)
    schedule.allow()
    schedule.request()
    schedule.started(Step.SYNC, 0.0)
    schedule.finished(0.0, ok=True, full=True)
    assert schedule.step_at(1.5) is Step.TIDY
    schedule.started(Step.TIDY, 1.5)
    schedule.finished(1.5, ok=False)
    assert schedule.step_at(1.75) is Step.SYNC


def test_an_idle_schedule_waits_for_the_hour() -> None:
    script = listed(Script(until=10, took=0))
    script.play()
    due = script.schedule.next_due()
    assert due is not None
    assert due == (3600.0, Step.FULL)


class Storm(NamedTuple):
    """Anything at any time."""

    requests: list[float]
    drifts: list[float]
    took: float
    failing: list[bool]


times = st.lists(st.floats(0, 50, allow_nan=False), max_size=30)
storms = st.builds(
    Storm, times, times, st.floats(0, 3), st.lists(st.booleans(), min_size=1, max_size=10)
)


def play(storm: Storm) -> tuple[Script, list[Run]]:
    def outcome(number: int) -> bool:
        return number > len(storm.failing) or not storm.failing[number - 1]

    script = listed(Script(until=500, took=storm.took, outcomes=outcome))
    for time in storm.requests:
        script.at(time, script.runner.request)
    for time in storm.drifts:
        script.at(time, script.runner.request_full)
    return script, script.play()


@given(storms)
def test_never_three_within_the_interval_and_two_after_quiet_only(storm: Storm) -> None:
    _, runs = play(storm)
    former_end = float("-inf")
    for before, after in pairwise(runs):
        quiet = before.start - former_end >= 2 * PERIODS.min_s - 1e-9
        former_end = before.end
        if after.step is Step.TIDY or (quiet and before.step is not Step.TIDY):
            continue
        assert after.start - before.end >= PERIODS.min_s - 1e-9


@given(storms)
def test_every_request_is_followed_by_a_sync(storm: Storm) -> None:
    _, runs = play(storm)
    syncs = [run.start for run in runs if run.step is not Step.TIDY]
    fulls = [run.start for run in runs if run.step is Step.FULL]
    assert all(any(start >= time for start in syncs) for time in storm.requests)
    assert all(any(start >= time for start in fulls) for time in storm.drifts)


@given(storms)
def test_without_failures_no_change_waits_longer_than_needed(storm: Storm) -> None:
    _, runs = play(storm._replace(failing=[False]))
    for time in storm.requests:
        start = next(run.start for run in runs if run.step is not Step.TIDY and run.start >= time)
        busy = [run.end for run in runs if run.end > time - PERIODS.min_s and run.start < start]
        assert start <= max([time, *(end + PERIODS.min_s for end in busy)]) + 1e-9


@given(storms)
def test_when_all_is_quiet_nothing_runs_but_the_periodic_sync(storm: Storm) -> None:
    script, runs = play(storm)
    due = script.schedule.next_due()
    assert due is not None
    assert due.step is Step.FULL
    last_full = max(run.end for run in runs if run.step is not Step.TIDY)
    assert due.at <= last_full + PERIODS.full_s + 1e-9
