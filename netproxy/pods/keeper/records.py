"""The files of one run of a container: what is to run, that it runs, how it ended.

A run is a directory, and a directory is one run: nothing in it is ever used again for another.

* ``spec.json`` is written by the agent before it asks for the run;
* ``lock`` is held (flock) by the keeper for as long as it lives, and says which process that is.
  The kernel lets go of it whatever way the process ends, so no file can claim that a dead one runs;
* ``exit.json`` is written by the keeper, whole or not at all, before it ends;
* ``log`` and ``log.1`` are what the container wrote.
"""

from __future__ import annotations

import fcntl
import json
import os
from typing import Any, NamedTuple

SPEC, LOCK, EXIT, LOG = "spec.json", "lock", "exit.json", "log"
START_ERROR = 128
"""Exit code of what could not be started. Source: containerd's."""
LOST = 137
"""Exit code of what is gone without a record. Source: the kubelet's ContainerStatusUnknown."""


class RunSpec(NamedTuple):
    """What is to run, and where."""

    command: list[str]
    environment: dict[str, str]
    working_directory: str
    """Empty: the root."""
    root: str
    """The directory that the container sees as ``/``; empty: the host's own root."""
    hostname: str
    network: str
    """Path of the network namespace; empty: the one of the agent."""
    etc: str
    """A directory; each file in it appears under ``/etc`` of the container. Empty: none."""
    uid: int
    gid: int
    groups: list[int]
    most_log_bytes: int
    """Of one log file; there are two."""
    streak: int
    """The how manieth start in a row without a long life, from 0. The agent's own note."""
    sandbox: int
    """In which of its Pod's sandboxes, by number. The agent's own note."""

    def to_json(self) -> str:
        return json.dumps(self._asdict())

    @classmethod
    def from_json(cls, text: bytes | str) -> RunSpec:
        """Raises ``ValueError`` or ``TypeError`` for what is none."""
        return cls(**json.loads(text))


class Exit(NamedTuple):
    """How a run ended."""

    code: int
    """As a shell has it: 128 and the signal's number for one that was killed."""
    signal: int
    """0: it ended by itself."""
    started_at: float
    """Seconds since 1970; 0: it never ran."""
    finished_at: float
    error: str
    """Why it could not be started; empty: it was."""


class Alive(NamedTuple):
    """The process that keeps a run."""

    pid: int
    started_at: float


def read_spec(directory: str) -> RunSpec | None:
    """What was to run; None: the agent died before it was written."""
    try:
        with open(os.path.join(directory, SPEC), "rb") as file:
            return RunSpec.from_json(file.read())
    except (OSError, ValueError, TypeError):
        return None


def write_whole(directory: int, name: str, text: str) -> None:
    """Write a file so that others see all of it or nothing.

    Args:
        directory: A descriptor.
        name: Of the file in it.
        text: What it is to have.
    """
    new = f".{name}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    file = os.open(new, flags, 0o600, dir_fd=directory)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)
    os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)


def write_exit(directory: int, record: Exit) -> None:
    """Say how it ended; a full disk is no reason to hang."""
    try:
        write_whole(directory, EXIT, json.dumps(record._asdict()))
    except OSError:
        return


def read_exit(directory: str) -> Exit | None:
    """How it ended; None: it has not, or nobody was left to tell."""
    found = _read(os.path.join(directory, EXIT))
    try:
        return None if found is None else Exit(**found)
    except TypeError:
        return None


def take_lock(directory: str) -> int:
    """Hold the lock of a run; returns the descriptor that does. Children inherit it."""
    path = os.path.join(directory, LOCK)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def write_alive(lock: int, alive: Alive) -> None:
    """Say in the lock's file who holds it."""
    os.pwrite(lock, json.dumps(alive._asdict()).encode(), 0)


def read_alive(directory: str) -> Alive | None:
    """Who keeps the run; None: nobody (any more)."""
    path = os.path.join(directory, LOCK)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        found = _read(path)
        return None if found is None else Alive(**found)
    finally:
        os.close(descriptor)
    return None


def _read(path: str) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
