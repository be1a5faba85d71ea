"""A test stand: the machines of the moment, and what is known of them between two commands."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from vagrant import wheels
from vagrant.box import Box, BoxError, find_or_build
from vagrant.choose import Trial, choose_way
from vagrant.driver import QEMU, QEMU_EMULATED, VIRTUALBOX, WAYS, Driver, DriverError, Way, Work
from vagrant.layout import LAN_KEY, RESULTS, RUN, Machine, plan_machines
from vagrant.progress import Progress
from vagrant.qemu import QemuDriver
from vagrant.session import Session, find_session, open_session
from vagrant.with_vagrant import VagrantDriver, validates

_NOTE = RUN / "stand.json"


class Stand(NamedTuple):
    """Machines, and the way they were made."""

    way: Way
    machines: Sequence[Machine]
    driver: Driver
    session: Session

    def close(self, *, is_in_order: bool = True) -> None:
        """End the machines; logs go to the results.

        Args:
            is_in_order: They are told to; else they end with their session if they have one.
        """
        if is_in_order or self.session.pid is None:
            self.driver.destroy()
        kept = RESULTS / "host"
        kept.mkdir(parents=True, exist_ok=True)
        for log in RUN.glob("*.log"):
            shutil.copy(log, kept)
        self.session.close()


def open_stand(
    way_name: str | None, nodes: int, tests: Sequence[str], progress: Progress, *, stays: bool
) -> Stand:
    """Machines that were kept, if these are the ones that are wanted; or new ones, not yet started.

    Raises:
        ChoiceError: no way to have machines works here.
        BoxError, DriverError, SessionError, WheelsError: something failed that should have worked.
    """
    if old := find_stand(progress, tests):
        if way_name in (None, old.way.name) and old.machines == plan_machines(nodes):
            progress.say(f"the machines that were kept: {old.way.title}")
            wheels.collect()
            return old
        old.close()
    shutil.rmtree(RUN, ignore_errors=True)
    RUN.mkdir(parents=True)
    _make_lan_key(progress)
    with ThreadPoolExecutor(1) as aside:
        collecting = aside.submit(wheels.collect)
        box, why_no_box = _box(progress)
        is_private = os.geteuid() == 0
        trial = Trial(box, why_no_box, is_libvirt_private=is_private)
        way, why = choose_way(way_name, trial.reasons())
        progress.say(f"{way.title}" + (f"  ({why})" if why else ""))
        collecting.result()
    if way not in (QEMU, QEMU_EMULATED) and not validates():
        raise DriverError("vagrant validate finds something wrong with vagrant/Vagrantfile")
    is_qemu = way in (QEMU, QEMU_EMULATED)
    session = Session(None)
    if is_qemu or (is_private and way is not VIRTUALBOX):
        session = open_session(with_libvirt=not is_qemu, stays=stays)
    note = {"way": way.name, "nodes": nodes, "box": box and str(box.directory), "pid": session.pid}
    _NOTE.write_text(json.dumps(note))
    return _stand(Work(way, plan_machines(nodes), session, progress, tests), box)


def find_stand(progress: Progress, tests: Sequence[str] = ()) -> Stand | None:
    """The machines that an earlier command left, if they are alive."""
    try:
        note = json.loads(_NOTE.read_text())
    except (OSError, ValueError):
        return None
    session = find_session() if note["pid"] else Session(None)
    if session is None:
        return None
    (way,) = (each for each in WAYS if each.name == note["way"])
    box = Box(RUN / note["box"]) if note["box"] else None
    return _stand(Work(way, plan_machines(note["nodes"]), session, progress, tests), box)


def _stand(work: Work, box: Box | None) -> Stand:
    driver: Driver = VagrantDriver(work, box)
    if work.way in (QEMU, QEMU_EMULATED):
        assert box is not None, "this way was not to be had without"
        driver = QemuDriver(work, box)
    return Stand(work.way, work.machines, driver, work.session)


def _box(progress: Progress) -> tuple[Box | None, str]:
    """A box of our own, or why there is none."""
    if named := os.environ.get("NETPROXY_VM_BOX"):
        return None, f"the box is to be {named}"
    try:
        return find_or_build(progress), ""
    except BoxError as error:
        progress.say(f"no box of our own: {error}")
        return None, str(error)


def _make_lan_key(progress: Progress) -> None:
    """The client's key; Vagrantfile makes it as well, when there is none."""
    if LAN_KEY.exists():
        return
    LAN_KEY.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(LAN_KEY)]
    if progress.follow(command, "ssh-keygen", RUN / "ssh-keygen.log") != 0:
        raise DriverError("ssh-keygen failed")
