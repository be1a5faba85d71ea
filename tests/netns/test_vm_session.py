"""The namespaces around virtual machines: they end with whoever made them, however that happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.patience import patience
from vagrant import session

_HOLD = """
import sys, time
from pathlib import Path
from vagrant import session

session.RUN = Path(sys.argv[1])
session._PID = session.RUN / "session.pid"
opened = session.open_session(with_libvirt=False, stays=False)
print(opened.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(session, "RUN", tmp_path / "run")
    monkeypatch.setattr(session, "_PID", tmp_path / "run" / "session.pid")
    return tmp_path / "run"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + patience(20)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children_of(pid: int | None) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_who_is_left_by_its_parent_is_taken_leave_of(run_directory: Path) -> None:
    opened = session.open_session(with_libvirt=False, stays=False)
    try:
        before = set(children_of(opened.pid))
        # A daemon: its parent is gone when we know its number, which is that of the inside.
        subprocess.run(
            opened.wrap(["sh", "-c", "sleep 600 </dev/null >/dev/null 2>&1 &"]), check=True
        )
        wait_until(lambda: set(children_of(opened.pid)) != before)
        (orphan,) = set(children_of(opened.pid)) - before
        assert state_of(orphan) != "Z"
        os.kill(orphan, signal.SIGKILL)
        wait_until(lambda: set(children_of(opened.pid)) == before)
    finally:
        opened.close()


def test_a_session_is_found_again_and_ends(run_directory: Path) -> None:
    opened = session.open_session(with_libvirt=False, stays=True)
    found = session.find_session()
    assert found is not None
    assert found.pid == opened.pid
    found.close()
    assert session.find_session() is None
    opened.close()  # nothing is left to be done but to take leave
    assert not run_directory.exists()


def test_a_killed_run_leaves_nothing(tmp_path: Path) -> None:
    run_directory = tmp_path / "run"
    command = [sys.executable, "-c", _HOLD, str(run_directory)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder.stdout as stdout:
        pid = int(stdout.readline())
    opened = session.Session(pid)
    bridge = ["ip", "link", "add", "vm-bridge", "type", "bridge"]
    subprocess.run(opened.wrap(bridge), check=True)
    subprocess.run(opened.wrap(["sh", "-c", "sleep 600 >/dev/null 2>&1 &"]), check=True)
    inside = os.stat(f"/proc/{pid}/ns/net").st_ino
    assert inside in inhabited()
    holder.kill()
    holder.wait()
    wait_until(lambda: inside not in inhabited())


def inhabited() -> set[int]:
    """The network namespaces of all processes."""
    found = set()
    for each in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(each.stat().st_ino)
        except OSError:
            continue
    return found
