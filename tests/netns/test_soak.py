"""A busy cluster for a while: a thousand changes a second, and nobody notices.

One minute here; ``NETPROXY_SOAK_S=600`` makes it ten.
"""

from __future__ import annotations

import json
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kube.objects import endpoint_slice, node, service
from tests.kube.server import ApiServer
from tests.netns.test_cluster_run import ClusterDaemon
from tests.netns.traffic import NODE_IP, PODS, PORT, Traffic, World
from tests.patience import patience

SECONDS = float(os.environ.get("NETPROXY_SOAK_S", "60"))
CHANGES_PER_S = 1000
SERVICES = 500
STEADY = "172.30.0.41"


class Changer:
    """Changes objects at a steady pace; falls behind where the machine is slow, and catches up.

    Args:
        api: Where the objects are.
        count: How many changes to make.
    """

    def __init__(self, api: ApiServer, count: int) -> None:
        self._api = api
        self._count = count
        self._dice = random.Random(20)
        self._exists = dict.fromkeys(range(SERVICES), True)
        self.made = 0
        self.took_s = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_busy(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        began = time.monotonic()
        while self.made < self._count:
            due = min(self._count, int((time.monotonic() - began) * CHANGES_PER_S) + 1)
            while self.made < due:
                self._change()
                self.made += 1
            time.sleep(0.002)
        self.took_s = time.monotonic() - began

    def _change(self) -> None:
        number = self._dice.randrange(SERVICES)
        name, address = f"svc-{number}", f"172.30.{1 + number // 250}.{1 + number % 250}"
        if self._dice.random() < 0.9:
            pods = self._dice.sample(range(1, 250), self._dice.randint(0, 8))
            self._api.put(endpoint_slice(name, [f"10.180.9.{pod}" for pod in sorted(pods)]))
        elif self._exists[number]:
            self._exists[number] = False
            self._api.delete("services", name)
        else:
            self._exists[number] = True
            affinity = "ClientIP" if self._dice.random() < 0.3 else "None"
            self._api.put(service(name, address, sessionAffinity=affinity))


@pytest.fixture
def world() -> Iterator[World]:
    with World() as one:
        yield one


@pytest.fixture
def api(world: World) -> Iterator[ApiServer]:
    def listen(port: int) -> socket.socket:
        return world.node.call(lambda: socket.create_server(("127.0.0.1", port), backlog=128))

    with ApiServer(listen=listen) as server:
        server.put(node("node-1", addresses=(NODE_IP,)))
        server.put(service("steady", STEADY), endpoint_slice("steady", PODS, port=PORT))
        for number in range(SERVICES):
            address = f"172.30.{1 + number // 250}.{1 + number % 250}"
            server.put(service(f"svc-{number}", address))
            server.put(endpoint_slice(f"svc-{number}", ["10.180.9.1"]))
        yield server


def resident_mb(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def differences(world: World, api: ApiServer, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """What somebody else, who reads the same objects from a file, would change in the kernel."""
    plurals = ("nodes", "services", "endpointslices")
    items = [each for plural in plurals for each in api.objects(plural)]
    (tmp_path / "all.json").write_text(
        json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    )
    command = [sys.executable, "-m", "netproxy", "diff", "-f", str(tmp_path / "all.json")]
    command += ["--hostname-override", "node-1"]
    return world.node.call(
        lambda: subprocess.run(command, capture_output=True, text=True, timeout=patience(60))
    )


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


@pytest.mark.slow
def test_a_busy_cluster(
    world: World, api: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ClusterDaemon(world.node, tmp_path, "--master", api.url, "-v", "2")
    try:
        one.wait_for_rule(f"{STEADY} . tcp . 80 : goto cluster-2")
        changer = Changer(api, int(SECONDS * CHANGES_PER_S))
        memory: list[float] = []
        with Traffic(world.client, (STEADY, 80)) as traffic:
            changer.start()
            while changer.is_busy():
                memory.append(resident_mb(one.process.pid))
                time.sleep(SECONDS / 100)
            assert wait_for(lambda: differences(world, api, tmp_path).returncode == 0, 30), (
                differences(world, api, tmp_path).stdout
            )
            traffic.wait_for(10)
        assert traffic.failures == []
        assert one.stop() == 0
        syncs = [each for each in one.events() if each["event"] == "sync done"]
        assert not any(sync["full"] for sync in syncs[1:]), "each sync did what had changed"
        quarter = len(memory) // 4
        before, after = (
            statistics.median(memory[quarter : 2 * quarter]),
            statistics.median(memory[-quarter:]),
        )
        with capsys.disabled():
            sys.stdout.write(
                f"\nsoak: {changer.made} changes in {changer.took_s:.1f} s, {len(syncs)} syncs, "
                f"{traffic.reached.total()} connections, {before:.1f} MB, then {after:.1f} MB\n"
            )
        assert after <= before * 1.05 + 1, memory
    finally:
        one.end()
