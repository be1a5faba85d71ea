"""Measurements of the daemon as a process of its own that asks an API server over HTTP."""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from netproxy.kernel.nfnetlink import NETLINK_NETFILTER
from tests.bench import world
from tests.kube.objects import node
from tests.kube.server import ApiServer

_PATIENCE_S = 60.0
_QUIET_S = 0.15
"""Longer than the least time between two syncs, so that each change finds the daemon idle."""
_NFTABLES_GROUP = 1 << 6
"""Source: NFNLGRP_NFTABLES, linux/netfilter/nfnetlink.h."""


class _Scene(NamedTuple):
    """A server with objects, and a daemon that has programmed them."""

    api: ApiServer
    process: subprocess.Popen[bytes]
    started_s: float
    """From its start to all rules in the kernel."""


@contextmanager
def _scene(services: int) -> Iterator[_Scene]:
    _bring_loopback_up()
    with ApiServer() as api, tempfile.NamedTemporaryFile() as log:
        api.put(node(world.NODE))
        api.put(*map(dict, world.manifests(services)))
        command = [sys.executable, "-m", "netproxy", "run", "--master", api.url]
        command += ["--hostname-override", world.NODE, "--cluster-cidr", "10.128.0.0/9"]
        started = time.perf_counter()
        with subprocess.Popen(command, stderr=log) as process:
            try:
                while b'event="sync done"' not in Path(log.name).read_bytes():
                    if process.poll() is not None or time.perf_counter() - started > _PATIENCE_S:
                        raise RuntimeError(Path(log.name).read_text()[-300:])
                    time.sleep(0.005)
                yield _Scene(api, process, time.perf_counter() - started)
            finally:
                process.kill()


def cluster_start(services: int) -> dict[str, float]:
    """From the start of the process to all rules of a cluster in the kernel, and its memory."""
    with _scene(services) as scene:
        time.sleep(2.0)  # it tidies up
        status = Path(f"/proc/{scene.process.pid}/status").read_text()
        sizes = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", status))
        return {
            "seconds": scene.started_s,
            "megabytes": int(sizes["VmRSS"]) / 1024,
            "peak_megabytes": int(sizes["VmHWM"]) / 1024,
        }


def cluster_changes(services: int, count: int) -> dict[str, float]:
    """One endpoint less and one more; from the server's knowing it to the kernel's having it."""
    slices: dict[int, dict[str, Any]] = {}
    dice = random.Random(1)
    chosen = dice.sample(range(services), count)
    for number, document in enumerate(world.manifests(services)):
        if number % 2 == 1 and number // 2 in chosen:
            slices[number // 2] = dict(document)
    times = []
    with _scene(services) as scene, _ear() as ear:
        time.sleep(2.0)
        for number in chosen:
            whole = slices[number]
            for version in ({**whole, "endpoints": whole["endpoints"][:-1]}, whole):
                time.sleep(_QUIET_S)
                _drain(ear)
                started = time.perf_counter()
                scene.api.put(version)
                ear.recv(1 << 16)
                times.append((time.perf_counter() - started) * 1000)
    return {
        "p50_ms": statistics.median(times),
        "p99_ms": sorted(times)[int(len(times) * 0.99)],
        "max_ms": max(times),
        "changes": float(len(times)),
    }


def cluster_decode(services: int) -> dict[str, float]:
    """All objects of a cluster, from the server to the model: what one process spends on it."""
    from netproxy.kubernetes.connect import open_client
    from netproxy.kubernetes.contract import ClientSettings
    from netproxy.model.events import Listed
    from netproxy.sources.kubernetes.readiness import NodeWait
    from netproxy.sources.kubernetes.source import watch_kubernetes

    async def read(url: str) -> int:
        client = open_client(ClientSettings(master=url))
        count = 0
        async for batch in watch_kubernetes(client, world.NODE, wait=NodeWait()):
            count += len(batch.events)
            if any(isinstance(event, Listed) for event in batch.events):
                break
        await client.close()
        return count

    _bring_loopback_up()
    with ApiServer() as api:
        api.put(node(world.NODE))
        api.put(*map(dict, world.manifests(services)))
        child = os.fork()
        if child == 0:
            count = asyncio.run(read(api.url))
            os._exit(0 if count > 2 * services else 1)
        _, status, usage = os.wait4(child, 0)
        if status != 0:
            raise RuntimeError("not all objects were read")
        return {"seconds": usage.ru_utime + usage.ru_stime}


def _bring_loopback_up() -> None:
    """In the measurement's own namespace, where it begins down."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@contextmanager
def _ear() -> Iterator[socket.socket]:
    """Hears each commit to nf_tables in this namespace."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as ear:
        ear.bind((0, _NFTABLES_GROUP))
        ear.settimeout(_PATIENCE_S)
        yield ear


def _drain(ear: socket.socket) -> None:
    ear.setblocking(False)
    try:
        while ear.recv(1 << 16):
            pass
    except BlockingIOError:
        ear.settimeout(_PATIENCE_S)
