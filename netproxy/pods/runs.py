"""The runs of a Pod's containers: read from their files, started, stopped, and watched.

Rule 1: what runs is known from files and locks alone, so that it does not matter which agent
started it; only what probes say and what is just being stopped lives in memory.
Rule 2: a process is signalled through a descriptor that was opened while its run's lock was held:
never by a number that may mean somebody else by now.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from netproxy.pods.core.model import Ended, Run
from netproxy.pods.keeper import records
from netproxy.pods.keeper.command import Outcome
from netproxy.pods.keeper.records import RunSpec
from netproxy.pods.launching import Launching

KEPT = 2
"""Runs of a container whose files stay: the last one, and the one before (``logs --previous``)."""
_KILL_AGAIN_S = 1.0


class LiveRun:
    """A run whose keeper lives, with a descriptor of it.

    Args:
        directory: Of its files.
        keeper: A pidfd.
        on_end: Called when the keeper has ended.
    """

    def __init__(self, directory: Path, keeper: int, on_end: Callable[[], None]) -> None:
        self.directory = directory
        self.keeper = keeper
        self.is_started = False
        self.is_ready = False
        self.condemned = ""
        self.stopping_until: float | None = None
        self.probing: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._on_end = on_end
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(keeper, self._has_ended)

    def _has_ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self.keeper)
        self._ended.set()
        self._on_end()

    @property
    def has_ended(self) -> bool:
        """Whether the keeper is gone."""
        return self._ended.is_set()

    def stop(self, until: float, before: Callable[[], asyncio.Future[None]] | None) -> None:
        """SIGTERM, and SIGKILL when it is time; an earlier time replaces a later one.

        Args:
            until: Seconds since 1970.
            before: What the container wants to do first; it uses up the same time.
        """
        self.stopping_until = until
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(before))

    async def _stop(self, before: Callable[[], asyncio.Future[None]] | None) -> None:
        if before is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._left_s()):
                    await before()
        self._signal(signal.SIGTERM)
        while not self.has_ended:
            left = self._left_s()
            if left <= 0.0:
                self._signal(signal.SIGKILL)
                left = _KILL_AGAIN_S
            with contextlib.suppress(TimeoutError):
                # In short steps: the time may be brought forward meanwhile.
                await asyncio.wait_for(self._ended.wait(), min(left, 0.2))

    def _left_s(self) -> float:
        return max(0.0, (self.stopping_until or 0.0) - time.time())

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.keeper, number)

    def close(self) -> None:
        """Let go of the run, which goes on."""
        for task in (self._stopping, self.probing):
            if task is not None:
                task.cancel()
        if not self.has_ended:
            asyncio.get_running_loop().remove_reader(self.keeper)
        os.close(self.keeper)


class ContainerRuns:
    """All runs of one container.

    Args:
        directory: Of its runs; each is a directory called after its attempt.
        launching: Starts processes.
        on_end: Called when a run has ended.
    """

    def __init__(self, directory: Path, launching: Launching, on_end: Callable[[], None]) -> None:
        self._directory = directory
        self._launching = launching
        self._on_end = on_end
        self.live: LiveRun | None = None
        self._attempt = -1

    def look(self) -> tuple[Run | None, tuple[int, Ended] | None]:
        """The latest run, and the end of the one before."""
        attempts = self._attempts()
        if not attempts:
            return None, None
        latest = self._read(attempts[-1])
        before = None
        if len(attempts) > 1:
            earlier = self._read(attempts[-2])
            if earlier.ended is not None:
                before = (attempts[-2], earlier.ended)
        return latest, before

    def _attempts(self) -> list[int]:
        try:
            return sorted(int(each) for each in os.listdir(self._directory) if each.isdigit())
        except FileNotFoundError:
            return []

    def _read(self, attempt: int) -> Run:
        directory = self._directory / str(attempt)
        spec = records.read_spec(str(directory))
        streak, sandbox = (spec.streak, spec.sandbox) if spec else (0, -1)
        alive = records.read_alive(str(directory))
        if alive is not None:
            live = self._attend(attempt, directory, alive.pid)
            if live is not None:
                return Run(
                    attempt,
                    streak,
                    sandbox,
                    alive.started_at,
                    is_started=live.is_started,
                    is_ready=live.is_ready,
                    condemned=live.condemned,
                    stopping_until=live.stopping_until,
                )
        if self.live is not None and self._attempt == attempt:
            self._forget()
        ended = _end_of(directory)
        return Run(attempt, streak, sandbox, ended.started_at, ended)

    def _attend(self, attempt: int, directory: Path, pid: int) -> LiveRun | None:
        """Hold on to a run that lives; None: it has just ended."""
        if self.live is not None and self._attempt == attempt:
            return None if self.live.has_ended else self.live
        try:
            keeper = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        if records.read_alive(str(directory)) is None:  # the number was somebody else's already
            os.close(keeper)
            return None
        self._forget()
        self._attempt, self.live = attempt, LiveRun(directory, keeper, self._on_end)
        return self.live

    def _forget(self) -> None:
        if self.live is not None:
            self.live.close()
            self.live = None

    async def start(self, attempt: int, spec: RunSpec) -> str:
        """Begin a run; returns why it could not be started, or nothing.

        Raises:
            LauncherDiedError: it may have begun: look.
            OSError: its files cannot be written.
        """
        self._forget()
        directory = self._directory / str(attempt)
        directory.mkdir(parents=True, mode=0o700)
        (directory / records.SPEC).write_text(spec.to_json())
        _, problem = await self._launching.start(directory)
        for old in self._attempts()[:-KEPT]:
            shutil.rmtree(self._directory / str(old), ignore_errors=True)
        return problem

    async def execute(self, command: list[str], timeout_s: float) -> Outcome:
        """Run a command in the container that runs now."""
        live = self.live
        if live is None:
            return Outcome(records.START_ERROR, "", error="the container does not run")
        return await self._launching.execute(live.directory, live.keeper, command, timeout_s)

    def close(self) -> None:
        """Let go; what runs goes on."""
        self._forget()


def _end_of(directory: Path) -> Ended:
    """How a run ended that nobody keeps any more."""
    told = records.read_exit(str(directory))
    if told is not None:
        return Ended(told.code, told.signal, told.started_at, told.finished_at, told.error)
    try:
        seen = directory.stat().st_mtime
    except OSError:
        seen = time.time()
    return Ended(records.LOST, 0, 0.0, seen, is_lost=True)
