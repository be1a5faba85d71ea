"""``python -m tests.netns.dying STEP netproxy-arguments…``: dies just before or after one step.

A step is anything that changes the kernel: a message on a netlink socket, a process that is
started and waited for, a write to /proc/sys. Each has a moment before and a moment after it. The
process kills itself at moment number STEP, counted from 0, as kill -9 or a power cut would; it says
nothing and cleans nothing up.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
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


def main() -> None:
    """Arm the doors to the kernel, then be netproxy."""
    fatal = int(sys.argv[1])

    class Socket(socket.socket):
        def send(self, *arguments: Any) -> int:
            if self.family != socket.AF_NETLINK:
                return super().send(*arguments)
            _pass_moment(fatal)
            sent = super().send(*arguments)
            _pass_moment(fatal)
            return sent

    run, write_text = subprocess.run, Path.write_text

    def run_and_die(*arguments: Any, **more: Any) -> Any:
        _pass_moment(fatal)
        done = run(*arguments, **more)
        _pass_moment(fatal)
        return done

    def write_and_die(self: Path, *arguments: Any, **more: Any) -> int:
        if not str(self).startswith("/proc/sys"):
            return write_text(self, *arguments, **more)
        _pass_moment(fatal)
        written = write_text(self, *arguments, **more)
        _pass_moment(fatal)
        return written

    socket.socket = Socket  # type: ignore[misc]
    subprocess.run = run_and_die
    Path.write_text = write_and_die  # type: ignore[method-assign]

    from netproxy.cli import run_command_line

    sys.exit(run_command_line(sys.argv[2:]))


if __name__ == "__main__":
    main()
