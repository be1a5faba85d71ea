"""What to do next for a Pod: its spec, what is there, and the time come in; actions go out.

Rule 1: it depends on nothing but its arguments. An agent that was killed between any two actions
comes to the same plan as one that was not.
Rule 2: an action is one step, and each makes the next plan shorter; who carries it out looks again.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, TypeAlias

from netproxy.api.objects import Object
from netproxy.pods.core.demands import problem_of
from netproxy.pods.core.model import (
    Container,
    Kind,
    Run,
    Seen,
    containers_of,
    grace_of,
    is_over,
)
from netproxy.pods.core.restarts import is_restarted, next_start, next_streak

RETRY_S = 10.0
"""After so many seconds what could not be made is tried again."""


class MakeSandbox(NamedTuple):
    """A network namespace with an address, or nothing for a Pod on the node's network."""

    number: int


class RemoveSandbox(NamedTuple):
    """No process is left in it."""


class Start(NamedTuple):
    """Begin a run."""

    container: Container
    attempt: int
    streak: int


class Stop(NamedTuple):
    """End a run: what it wants to do before, SIGTERM, and SIGKILL when its time is over."""

    container: Container
    attempt: int
    until: float
    why: str
    """For people; empty: because the Pod goes."""


class Finish(NamedTuple):
    """Nothing is left of it: the API may forget it."""


Action: TypeAlias = MakeSandbox | RemoveSandbox | Start | Stop | Finish


class Plan(NamedTuple):
    """What to do now, and when to look again though nothing happens."""

    actions: list[Action]
    wake_at: float | None = None


def make_plan(pod: Object, seen: Seen, now: float) -> Plan:
    """What is to be done for a Pod.

    Args:
        pod: As the API has it.
        seen: What is there.
        now: Seconds since 1970.
    """
    if seen.leaving_since is not None:
        return _stop_all(pod, seen, seen.leaving_since + grace_of(pod), is_leaving=True)
    if is_over(pod) or has_failed(pod, seen) or is_past_deadline(pod, now):
        return _stop_all(pod, seen, now + grace_of(pod), is_leaving=False)
    planner = _Planner(pod, seen, now)
    planner.look()
    deadline = deadline_of(pod)
    if deadline is not None:
        planner.wait_until(deadline)
    return Plan(planner.actions, planner.wake_at)


def has_failed(pod: Object, seen: Seen) -> bool:
    """Whether an init container has ended in a way that no other run makes good."""
    policy = pod["spec"].get("restartPolicy", "Always")
    runs = [(each, seen.of(each.name).run) for each in containers_of(pod)]
    return any(
        run.ended.code != 0 and not is_restarted(each, policy, run.ended)
        for each, run in runs
        if each.kind is Kind.INIT and run is not None and run.ended is not None
    ) and not has_begun(pod, seen)


def has_begun(pod: Object, seen: Seen) -> bool:
    """Whether any of its main containers ever ran: its init containers have done their work."""
    sandbox = seen.sandbox.number if seen.sandbox else None
    runs = [seen.of(each.name).run for each in containers_of(pod) if each.kind is Kind.MAIN]
    return any(run is not None and run.sandbox == sandbox for run in runs)


def is_done(pod: Object, seen: Seen) -> bool:
    """Whether all main containers have ended for good."""
    policy = pod["spec"].get("restartPolicy", "Always")
    for each in containers_of(pod):
        if each.kind is Kind.MAIN:
            run = seen.of(each.name).run
            if run is None or run.ended is None or is_restarted(each, policy, run.ended):
                return False
    return True


def deadline_of(pod: Object) -> float | None:
    """Until when it may be active (``activeDeadlineSeconds``); None: there is no such time."""
    limit = pod["spec"].get("activeDeadlineSeconds")
    began = pod.get("status", {}).get("startTime")
    if limit is None or not began:
        return None
    return datetime.fromisoformat(began).timestamp() + float(limit)


def is_past_deadline(pod: Object, now: float) -> bool:
    """Whether it has been active for too long."""
    deadline = deadline_of(pod)
    return deadline is not None and now >= deadline


def _stop_all(pod: Object, seen: Seen, until: float, *, is_leaving: bool) -> Plan:
    """Main and init containers first; then sidecars, last come first gone."""
    alive = [
        (each, run)
        for each in containers_of(pod)
        if (run := seen.of(each.name).run) is not None and run.is_alive
    ]
    if alive:
        first = [each for each in alive if each[0].kind is not Kind.SIDECAR] or alive[-1:]
        return Plan([_stop(each, run, until) for each, run in first if _is_news(run, until)])
    if seen.sandbox is not None:
        return Plan([RemoveSandbox()])
    return Plan([Finish()] if is_leaving else [])


def _is_news(run: Run, until: float) -> bool:
    return run.stopping_until is None or until < run.stopping_until


def _stop(container: Container, run: Run, until: float, why: str = "") -> Stop:
    return Stop(container, run.attempt, until, why)


class _Planner:
    """Collects the actions for a Pod that is to run."""

    def __init__(self, pod: Object, seen: Seen, now: float) -> None:
        self.actions: list[Action] = []
        self.wake_at: float | None = None
        self._pod = pod
        self._seen = seen
        self._now = now
        self._policy: str = pod["spec"].get("restartPolicy", "Always")

    def wait_until(self, at: float) -> None:
        self.wake_at = at if self.wake_at is None else min(at, self.wake_at)

    def look(self) -> None:
        if self._stop_strangers():
            return
        if self._seen.sandbox is None:
            self._make_sandbox()
            return
        if is_done(self._pod, self._seen):
            self.actions += _stop_all(
                self._pod, self._seen, self._now + grace_of(self._pod), is_leaving=False
            ).actions
            return
        for each in containers_of(self._pod):
            if not self._advance(each):
                return

    def _stop_strangers(self) -> bool:
        """Runs of a sandbox that is no more."""
        current = self._seen.sandbox.number if self._seen.sandbox else None
        found = False
        for each in containers_of(self._pod):
            run = self._seen.of(each.name).run
            if run is not None and run.is_alive and run.sandbox != current:
                found = True
                if _is_news(run, self._now):
                    why = "its network is gone"
                    self.actions.append(_stop(each, run, self._now, why))
        return found

    def _make_sandbox(self) -> None:
        if is_done(self._pod, self._seen) or not self._seen.may_begin:
            return
        trouble = self._seen.sandbox_trouble
        if trouble is not None and self._now < trouble.at + RETRY_S:
            self.wait_until(trouble.at + RETRY_S)
            return
        self.actions.append(MakeSandbox(self._seen.next_sandbox))

    def _advance(self, container: Container) -> bool:
        """Look after one container; false: the next ones have to wait for it."""
        run = self._seen.of(container.name).run
        assert self._seen.sandbox is not None
        is_behind = container.kind is not Kind.MAIN and has_begun(self._pod, self._seen)
        if run is not None and run.is_alive:
            if run.condemned and _is_news(run, self._until(container, run)):
                self.actions.append(
                    _stop(container, run, self._until(container, run), run.condemned)
                )
            return (
                is_behind
                or container.kind is Kind.MAIN
                or (container.kind is Kind.SIDECAR and run.is_started)
            )
        if container.kind is Kind.INIT:
            is_current = run is not None and run.sandbox == self._seen.sandbox.number
            if is_behind or (is_current and run is not None and _has_succeeded(run)):
                return True
            if not is_current:
                run = run and run._replace(ended=None)  # done in another sandbox: once more
        self._start(container, run)
        return is_behind or container.kind is Kind.MAIN

    def _until(self, container: Container, run: Run) -> float:
        """When a run that a probe has condemned is killed."""
        if run.stopping_until is not None:
            return run.stopping_until
        for kind in ("livenessProbe", "startupProbe"):
            probe = container.spec.get(kind) or {}
            if kind.removesuffix("Probe") in run.condemned.lower():
                own = probe.get("terminationGracePeriodSeconds")
                if own is not None:
                    return self._now + float(own)
        return self._now + grace_of(self._pod)

    def _start(self, container: Container, run: Run | None) -> None:
        """Begin a run if it is its time.

        Args:
            container: Which.
            run: The last one, ended for a reason that counts; None, or without an end: no such.
        """
        if problem_of(self._pod, container) is not None:
            return
        trouble = self._seen.of(container.name).trouble
        if trouble is not None and self._now < trouble.at + RETRY_S:
            self.wait_until(trouble.at + RETRY_S)
            return
        if run is None or run.ended is None:
            attempt = 0 if run is None else run.attempt + 1
            self.actions.append(Start(container, attempt, 0))
            return
        if not is_restarted(container, self._policy, run.ended):
            return
        at = next_start(run, self._now)
        if at > self._now:
            self.wait_until(at)
        else:
            self.actions.append(Start(container, run.attempt + 1, next_streak(run)))


def _has_succeeded(run: Run) -> bool:
    return run.ended is not None and run.ended.code == 0
