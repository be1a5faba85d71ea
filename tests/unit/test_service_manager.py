"""What systemd hears, on a real socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from netproxy.contracts import FamilyReport
from netproxy.model.ip import Family
from netproxy.proxier import SyncReport
from netproxy.service_manager import STUCK_S, ServiceManager

DONE = SyncReport(True, (FamilyReport(Family.IPV4, 3, 2, 1),), 7, 35, 0.5, 1.5)
IDLE = DONE._replace(families=())


class Ears:
    """systemd's end."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(address)

    def heard(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def ears(tmp_path: Path) -> Iterator[Ears]:
    one = Ears(str(tmp_path / "notify"))
    yield one
    one.close()


def test_ready_is_said_when_the_rules_are_in_place(ears: Ears, tmp_path: Path) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify")}, lambda: 12.5)
    manager.sync_started()
    manager.sync_failed()
    assert ears.heard() == ["STATUS=the last sync failed; the log says why"]
    manager.synced(DONE, is_repair=False)
    assert ears.heard() == ["READY=1\nSTATUS=7 services, 35 endpoints"]
    manager.synced(IDLE, is_repair=False)
    assert ears.heard() == []
    manager.synced(DONE, is_repair=False)
    assert ears.heard() == ["STATUS=7 services, 35 endpoints"]
    manager.reloading()
    assert ears.heard() == ["RELOADING=1\nMONOTONIC_USEC=12500000"]
    manager.synced(IDLE, is_repair=False)
    assert ears.heard() == ["READY=1\nSTATUS=7 services, 35 endpoints"]
    manager.stop()
    assert ears.heard() == ["STOPPING=1"]


def test_abstract_sockets() -> None:
    name = f"netproxy-test-{os.getpid()}"
    ears = Ears("\0" + name)
    ServiceManager({"NOTIFY_SOCKET": "@" + name}).stop()
    assert ears.heard() == ["STOPPING=1"]
    ears.close()


@pytest.mark.parametrize("address", ["", "vsock:2:1", "/nobody/listens/here"])
def test_nobody_listens(address: str) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": address})
    manager.synced(DONE, is_repair=False)
    manager.stop()


def test_the_watchdog_hears_nothing_of_a_sync_that_never_ends(ears: Ears, tmp_path: Path) -> None:
    now = 0.0
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000"}
    manager = ServiceManager(environ, lambda: now)

    async def watch() -> None:
        nonlocal now
        manager.start_watchdog()
        manager.sync_started()
        await asyncio.sleep(0.02)
        assert ears.heard().count("WATCHDOG=1") > 1
        now = STUCK_S
        await asyncio.sleep(0.01)
        ears.heard()
        await asyncio.sleep(0.01)
        assert ears.heard() == []
        manager.synced(IDLE, is_repair=False)
        await asyncio.sleep(0.02)
        assert "WATCHDOG=1" in ears.heard()
        manager.stop()

    asyncio.run(watch())


@pytest.mark.parametrize(
    "environ", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}]
)
def test_the_watchdog_is_for_others_or_for_nobody(
    ears: Ears, tmp_path: Path, environ: dict[str, str]
) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), **environ})

    async def watch() -> None:
        manager.start_watchdog()
        await asyncio.sleep(0.01)

    asyncio.run(watch())
    assert ears.heard() == []
