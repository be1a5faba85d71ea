"""Runs a command inside a container that runs already: probes, and what is done before it stops."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import NamedTuple

from netproxy.pods.keeper import container, records, syscalls

MOST_OUTPUT = 10 * 1024
"""Bytes that are kept of what it writes. Source: the kubelet, of a probe's."""
_INSIDE = (
    syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNET
)
_BUFFER = 1 << 16


class Outcome(NamedTuple):
    """What became of a command."""

    code: int
    """As a shell has it."""
    output: str
    is_timed_out: bool = False
    error: str = ""
    """Why it could not be run."""


def run(directory: str, keeper: int, command: list[str], timeout_s: float) -> Outcome:
    """Run it as the container's user; called in a process made for it, which ends afterwards.

    Args:
        directory: Of the container's run.
        keeper: A pidfd of its keeper.
        command: Program and arguments.
        timeout_s: After so long it is killed.
    """
    spec = records.read_spec(directory)
    if spec is None:
        return Outcome(records.START_ERROR, "", error="the container is gone")
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        syscalls.setns(keeper, _INSIDE)
        child = os.fork()
    except OSError as error:
        return Outcome(records.START_ERROR, "", error=error.strerror or str(error))
    if child == 0:
        _become_command(spec._replace(command=command), writer)
    os.close(writer)
    return _wait(child, reader, time.monotonic() + timeout_s)


def _become_command(spec: records.RunSpec, writer: int) -> None:
    try:
        nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for standard, end in ((0, nothing), (1, writer), (2, writer)):
            os.dup2(end, standard)
        container.execute(spec)
    except OSError as error:
        os.write(writer, (error.strerror or str(error)).encode())
    finally:
        os._exit(records.START_ERROR)


def _wait(child: int, reader: int, deadline: float) -> Outcome:
    output = bytearray()
    ended = os.pidfd_open(child)
    poll = select.poll()
    for descriptor in (reader, ended):
        poll.register(descriptor, select.POLLIN)
    is_timed_out = False
    while True:
        left_ms = max(0.0, (deadline - time.monotonic()) * 1000)
        ready = [descriptor for descriptor, _ in poll.poll(left_ms)]
        if reader in ready and not _read(reader, output):
            poll.unregister(reader)
        if ended in ready:
            break
        if not ready and not is_timed_out:
            is_timed_out = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
                os.kill(child, signal.SIGKILL)
            deadline += 3600  # for a process that the kernel is not done with
    os.set_blocking(reader, False)
    with contextlib.suppress(BlockingIOError):
        while _read(reader, output):
            pass
    _, status = os.waitpid(child, 0)
    code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return Outcome(code, output.decode(errors="replace"), is_timed_out)


def _read(reader: int, output: bytearray) -> bool:
    data = os.read(reader, _BUFFER)
    output += data[: MOST_OUTPUT - len(output)]
    return bool(data)
