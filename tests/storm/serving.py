"""A ``netproxy apiserver`` in a process of its own, which may be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.storm.wire import Access

_PATIENCE_S = 60


class Server:
    """One data directory, and at most one process.

    Args:
        directory: For everything it writes.
        flags: Further words of its command line.
        program: What runs instead of ``netproxy``, as arguments of Python.
    """

    def __init__(
        self, directory: Path, *flags: str, program: tuple[str, ...] = ("-m", "netproxy")
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "log"
        self._command = [sys.executable, *program, "apiserver", "--data-dir", str(self.data)]
        self._command += ["--api-port", "0", *flags]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def access(self) -> Access:
        """For its administrator."""
        return Access.read(self.data / "admin.conf")

    def start(self) -> Access:
        """Until it says that it is ready.

        Raises:
            AssertionError: it does not.
        """
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output)
        deadline = time.monotonic() + _PATIENCE_S
        while b"api server ready" not in (said := self.log.read_bytes()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the server did not start:\n{said.decode()}")
            time.sleep(0.02)
        return self.access

    def kill(self) -> None:
        """As a power cut does it, to a process."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """As systemd does it; gives the status it ends with."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        with self._process as process:
            if process.poll() is None:
                os.kill(process.pid, how)
            status = process.wait(_PATIENCE_S)
        self._process = None
        return status


@contextmanager
def running(directory: Path, *flags: str) -> Iterator[Server]:
    """A server that runs, and is killed in the end if it still does."""
    server = Server(directory, *flags)
    try:
        server.start()
        yield server
    finally:
        server.kill()
