"""The nodes, looked after from the client over ssh."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

from netproxy.model.ip import Family
from tests.patience import patience

_SSH = (
    *("ssh", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"),
    *("-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10"),
    *("-o", "ControlMaster=auto", "-o", "ControlPath=/run/np-%h", "-o", "ControlPersist=120"),
)


class MachineError(AssertionError):
    """A command on a machine failed; the message has what it printed."""


class Node(NamedTuple):
    """One of the nodes. The client is no node: the tests run there."""

    number: int

    @property
    def name(self) -> str:
        return f"node{self.number}"

    def address(self, family: Family) -> str:
        host = 10 + self.number
        return f"192.168.56.{host}" if family is Family.IPV4 else f"fd00:56::{host}"

    def run(self, command: str, *, stdin: str = "") -> str:
        """What a shell's command prints there.

        Raises:
            MachineError: it failed.
        """
        done = self._ask(command, stdin)
        if done.returncode != 0:
            raise MachineError(f"{self.name}: {command}: {done.returncode}: {done.stderr}")
        return done.stdout

    def succeeds(self, command: str) -> bool:
        return self._ask(command).returncode == 0

    def write(self, path: str, text: str) -> None:
        """Put a file in place atomically."""
        place = shlex.quote(path)
        self.run(
            f"mkdir -p $(dirname {place}); cat >{place}.new; mv {place}.new {place}", stdin=text
        )

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Ask until it is so."""
        deadline = time.monotonic() + patience(6)
        while not condition():
            assert time.monotonic() < deadline, f"{self.name}: {what}\n{self.log()}"
            time.sleep(0.2)

    def events(self) -> list[dict[str, object]]:
        """What netproxy has logged since the service was started last."""
        return [json.loads(line) for line in self.log().splitlines()]

    def log(self) -> str:
        """The lines of ``events``."""
        number = "$(systemctl show --property=InvocationID --value netproxy)"
        return self.run(f"journalctl _SYSTEMD_INVOCATION_ID={number} --output=cat --quiet")

    def complaints(self) -> list[dict[str, object]]:
        """Warnings and errors among the events.

        But for one: the unit has no right to look into iptables-legacy, and says so where others
        have used it.
        """
        return [
            each
            for each in self.events()
            if each["level"] not in ("debug", "info")
            and each["event"] != "cannot look for former rules"
        ]

    def reboot(self) -> None:
        """Start anew, and return when everything that is to start has done so."""
        former = self._boot_id()
        self._ask("systemctl --no-block reboot")
        subprocess.run([*_SSH, "-O", "exit", self.name], capture_output=True)
        deadline = time.monotonic() + patience(30)
        while self._boot_id() in ("", former):
            assert time.monotonic() < deadline, f"{self.name} does not come back"
            time.sleep(1)
        # "degraded" when a unit failed, which is for tests to judge.
        self._ask("systemctl is-system-running --wait")

    def _boot_id(self) -> str:
        """Another one each time the machine starts; empty while it does not answer."""
        return self._ask("cat /proc/sys/kernel/random/boot_id").stdout.strip()

    def _ask(self, command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*_SSH, self.name, command],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=patience(60),
        )


NODES = (Node(1), Node(2))
CLIENT = {Family.IPV4: "192.168.56.10", Family.IPV6: "fd00:56::10"}
