"""``netproxy run`` as a process in a namespace."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.netns.namespace import NetworkNamespace
from tests.patience import patience

PATIENCE_S = patience(20)
"""For things that take milliseconds, on machines that are busy."""


class Daemon:
    """``netproxy run`` in a namespace, watching a directory."""

    node_ip: tuple[str, ...] = ("--node-ip", "192.168.0.2")
    flags: tuple[str, ...] = ()
    """In addition to those that every test wants."""

    def __init__(self, space: NetworkNamespace, directory: Path, log: Path) -> None:
        self.space = space
        self.directory = directory
        self._log = log
        self.start()

    def command(self) -> list[str]:
        """What is started."""
        command = [sys.executable, "-m", "netproxy", "run", "-f", str(self.directory)]
        return [*command, *self.node_ip, "--log-format", "json", "-v", "4", *self.flags]

    def start(self) -> None:
        command = self.command()
        log = self._log.open("w")
        self.process = self.space.call(lambda: subprocess.Popen(command, stderr=log))
        log.close()

    def write(self, name: str, text: str) -> None:
        """Put a file in place atomically."""
        new = self.directory.parent / f"{name}.new"
        new.write_text(text)
        new.rename(self.directory / name)

    def events(self) -> list[dict[str, object]]:
        """Whole lines of the log so far."""
        lines = self._log.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def rules(self) -> str:
        return self.space.run("nft", "list", "ruleset")

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, f"{what}\n{self._log.read_text()}"
            time.sleep(0.01)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)
