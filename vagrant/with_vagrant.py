"""Machines with Vagrant, whose Vagrantfile says all that matters."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Sequence

from vagrant.box import Box
from vagrant.driver import VIRTUALBOX, DriverError, Work
from vagrant.layout import RUN, VAGRANT, Machine

_BOX_NAME = "netproxy/debian"
_LINE = re.compile(r"(?:==>|   ) (?P<who>[\w-]+): (?P<text>.*\S)")
"""Vagrant's steps and what guests say."""
_OLD_HAT = (" -- ", "  - ", "SSH ", "Running: inline", "No version", "generating a", "See https")
"""Vagrant's settings, and what it says of every box that was not downloaded."""


class VagrantDriver:
    """See ``Driver``.

    Attributes:
        box: One that was built here, or None for one of the catalogue.
    """

    def __init__(self, work: Work, box: Box | None) -> None:
        self._work = work
        self._box = box

    def up(self) -> None:
        if self._box is not None:
            self._vagrant("box", "add", "--force", "--name", _BOX_NAME, str(self._box.file))
        if (RUN / "up").exists():
            self._vagrant("rsync")
            self._vagrant("provision")
            return
        self._vagrant("up", f"--provider={self._provider}")
        (RUN / "up").touch()

    def test(self, machine: Machine) -> None:
        self._vagrant("provision", machine.name, "--provision-with", "test", may_fail=True)

    def shell(self, machine: Machine) -> Sequence[str]:
        return self._work.session.wrap(
            ["env", *self._settings(), "vagrant", "ssh", machine.name, "--"]
        )

    def destroy(self) -> None:
        self._vagrant("destroy", "--force")

    @property
    def _provider(self) -> str:
        return "virtualbox" if self._work.way is VIRTUALBOX else "libvirt"

    def _settings(self) -> list[str]:
        """Environment variables for Vagrant and the Vagrantfile."""
        settings = {
            "VAGRANT_CWD": str(VAGRANT),
            "VAGRANT_DOTFILE_PATH": str(RUN / "dotfile"),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_NO_COLOR": "1",
            "VAGRANT_DEFAULT_PROVIDER": self._provider,
            "NETPROXY_VM_NODES": str(self._work.nodes),
            "NETPROXY_VM_TESTS": shlex.join(self._work.tests),
            "NETPROXY_VM_DRIVER": "qemu" if self._work.way.is_emulated else "kvm",
            "NETPROXY_TIME_SCALE": str(self._work.way.time_scale),
        }
        if self._box is not None:
            settings["NETPROXY_VM_BOX"] = _BOX_NAME
            settings["NETPROXY_VM_BOOT"] = str(self._box.directory)
            settings["VAGRANT_HOME"] = str(RUN / "home")
        settings |= {
            name: value
            for name, value in os.environ.items()
            if name
            in ("NETPROXY_TIME_SCALE", "NETPROXY_VM_BOX", "NETPROXY_VM_CPUS", "NETPROXY_VM_MEMORY")
        }
        return [f"{name}={value}" for name, value in settings.items()]

    def _vagrant(self, *arguments: str, may_fail: bool = False) -> None:
        command = self._work.session.wrap(["env", *self._settings(), "vagrant", *arguments])
        log = RUN / "vagrant.log"
        code = self._work.progress.follow(command, "vagrant", log, translate=_translate)
        if code != 0 and not may_fail:
            raise DriverError(f"vagrant {arguments[0]} ended with {code}; see {log}")


def _translate(line: str) -> tuple[str, str] | None:
    found = _LINE.match(line)
    if found is None or found["text"].startswith(_OLD_HAT):
        return None
    return found["who"], found["text"]


def validates() -> bool:
    """Whether Vagrant is here and takes our Vagrantfile."""
    environment = {**os.environ, "VAGRANT_CWD": str(VAGRANT), "VAGRANT_CHECKPOINT_DISABLE": "1"}
    try:
        done = subprocess.run(["vagrant", "validate"], env=environment, capture_output=True)
    except OSError:
        return False
    return done.returncode == 0
