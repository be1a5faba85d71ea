"""``python -m tests.netns.dying STEP netproxy-arguments…``: dies just before or after one step.

A step is anything that changes the kernel: a batch for nf_tables, a deletion of connections, a run
of iptables-restore, a write to /proc/sys. Each has a moment before and a moment after it. The
process kills itself at moment number STEP, counted from 0, as kill -9 or a power cut would; it says
nothing and cleans nothing up.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

_moments = itertools.count()
_lock = threading.Lock()


def _pass_moment(fatal: int) -> None:
    with _lock:
        if next(_moments) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)


def _changes_something(message: bytes) -> bool:
    """Whether a netlink message begins a batch, or deletes connections."""
    (kind,) = struct.unpack_from("=H", message, 4)
    return kind in (_BATCH_BEGIN, _DELETE_CONNECTIONS)


_BATCH_BEGIN = 0x10
_DELETE_CONNECTIONS = 1 << 8 | 2
"""Source: linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h."""


def main() -> None:
    """Arm the doors to the kernel, then be netproxy."""
    fatal = int(sys.argv[1])

    class Socket(socket.socket):
        def send(self, data: Any, *more: Any) -> int:
            if self.family != socket.AF_NETLINK or not _changes_something(bytes(data[:16])):
                return super().send(data, *more)
            _pass_moment(fatal)
            sent = super().send(data, *more)
            _pass_moment(fatal)
            return sent

    class Process(subprocess.Popen[Any]):
        def __init__(self, command: Any, *more: Any, **options: Any) -> None:
            self._changes = any("restore" in str(word) for word in command)
            self._pass_moment()
            super().__init__(command, *more, **options)
            self._pass_moment()  # it is at work, and will go on without us

        def wait(self, *arguments: Any, **options: Any) -> int:
            code = super().wait(*arguments, **options)
            self._pass_moment()
            return code

        def _pass_moment(self) -> None:
            if self._changes:
                _pass_moment(fatal)

    write_text = Path.write_text

    def write_and_die(self: Path, *arguments: Any, **more: Any) -> int:
        if not str(self).startswith("/proc/sys"):
            return write_text(self, *arguments, **more)
        _pass_moment(fatal)
        written = write_text(self, *arguments, **more)
        _pass_moment(fatal)
        return written

    socket.socket = Socket  # type: ignore[misc]
    subprocess.Popen = Process  # type: ignore[assignment,misc]
    Path.write_text = write_and_die  # type: ignore[method-assign]

    from netproxy.cli import run_command_line

    sys.exit(run_command_line(sys.argv[2:]))


if __name__ == "__main__":
    main()
