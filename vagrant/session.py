"""Namespaces in which everything happens that must not outlive us, nor be seen outside.

A session is a process with a network, a process table and mounts of its own. Whatever is started
in it ends with it: virtual machines, libvirtd, bridges, rules, mounts. It ends when it is told to,
and, unless it was asked to stay, when the process that made it dies, however that happens.

Where neither root nor user namespaces are to be had there is no session; commands then run as they
are, and only what is started through ``popen`` ends with us.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from vagrant.layout import RUN, VAGRANT
from vagrant.processes import mortal

_PATIENCE_S = 60.0
_PID = RUN / "session.pid"
_SCRIPT = VAGRANT / "session.sh"


class SessionError(Exception):
    """The namespaces could not be made; the message has the reason."""


class Session:
    """Where commands run.

    Attributes:
        pid: The first process inside; None when there are no namespaces.
    """

    def __init__(self, pid: int | None, holder: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self._holder = holder

    def wrap(self, command: Sequence[str]) -> list[str]:
        """The command that runs this one inside."""
        if self.pid is None:
            return list(command)
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--net", "--pid"]
        if os.geteuid() != 0:
            enter += ["--user", "--preserve-credentials"]
        # Entering mounts leads to their root.
        return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(Path.cwd()), *command]

    def popen(self, command: Sequence[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start something that stays as long as the session, or as we do where there is none."""
        return subprocess.Popen(
            self.wrap(command) if self.pid else mortal(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )

    def close(self) -> None:
        """End everything inside. What the session kept in files is removed."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            _wait_until(lambda: not _is_session(self.pid))
        if self._holder is not None:
            self._holder.wait(_PATIENCE_S)
        shutil.rmtree(RUN, ignore_errors=True)


def open_session(*, with_libvirt: bool, stays: bool) -> Session:
    """Make the namespaces.

    Args:
        with_libvirt: A libvirtd runs inside; takes root.
        stays: The session outlives this process.

    Raises:
        SessionError: not possible here.
    """
    RUN.mkdir(parents=True, exist_ok=True)
    options = ["--mount", "--propagation=private", "--net", "--pid", "--fork", "--kill-child"]
    if os.geteuid() != 0:
        options += ["--user", "--map-root-user"]
        if subprocess.run(["unshare", *options, "true"], capture_output=True).returncode != 0:
            return Session(None)
    script = [str(_SCRIPT), str(RUN), *(["libvirt"] if with_libvirt else [])]
    command = ["unshare", *options, "--mount-proc", *script]
    with (RUN / "session.log").open("wb") as log:
        holder = subprocess.Popen(
            command if stays else mortal(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert holder.stdout is not None
    with holder.stdout as stdout:
        is_ready = stdout.readline() == b"ready\n"
    if not is_ready:
        holder.kill()
        holder.wait()
        raise SessionError((RUN / "session.log").read_text().strip() or "no session")
    children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
    _PID.write_text(children[0])
    return Session(int(children[0]), holder)


def find_session() -> Session | None:
    """The session that an earlier process left, if it is alive."""
    try:
        pid = int(_PID.read_text())
    except (OSError, ValueError):
        return None
    return Session(pid) if _is_session(pid) else None


def _is_session(pid: int | None) -> bool:
    """Numbers of processes are used again; the first one of a session waits for nothing."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[1:3] == [os.fsencode(_SCRIPT), os.fsencode(RUN)]


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
