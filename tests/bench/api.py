"""Measurements of the API server: a process of its own, asked over TLS by this one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.storm.serving import Server, running
from tests.storm.wire import Access, connect

Figures = dict[str, float]
_SERVICES = "/api/v1/namespaces/default/services"
_MAPS = "/api/v1/namespaces/default/configmaps"
_PATIENCE_S = 120


def api_writes(clients: int, each: int) -> Figures:
    """Services are created by clients who wait for each answer; every one has an address."""
    return asyncio.run(_writes(clients, each))


def api_events(watchers: int, writers: int, each: int) -> Figures:
    """ConfigMaps are created, and every watcher hears of every one."""
    return asyncio.run(_events(watchers, writers, each))


async def _writes(clients: int, each: int) -> Figures:
    async with _server() as (server, access):
        before = _cpu_seconds(server.pid)
        started = time.perf_counter()
        await asyncio.gather(
            *(_create(access, _SERVICES, _service, f"s{number}", each) for number in range(clients))
        )
        seconds = time.perf_counter() - started
        spent = _cpu_seconds(server.pid) - before
    count = clients * each
    return {"rate": count / seconds, "cpu_us": spent / count * 1e6, "writes": float(count)}


async def _events(watchers: int, writers: int, each: int) -> Figures:
    count = watchers * writers * each
    async with _server() as (server, access):
        async with connect(access) as wire:
            listed = (await wire.ask("GET", _MAPS)).object
        heard = _Heard(count)
        for _ in range(watchers):
            await heard.watch(access, listed["metadata"]["resourceVersion"])
        await heard.are_there(watchers)
        before = _cpu_seconds(server.pid)
        started = time.perf_counter()
        await asyncio.gather(
            *(_create(access, _MAPS, _map, f"m{number}", each) for number in range(writers))
        )
        async with asyncio.timeout(_PATIENCE_S):
            await heard.everything.wait()
        seconds = time.perf_counter() - started
        spent = _cpu_seconds(server.pid) - before
        heard.close()
    return {"rate": count / seconds, "cpu_us": spent / count * 1e6, "events": float(count)}


@asynccontextmanager
async def _server() -> AsyncIterator[tuple[Server, Access]]:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # On a disk, since durable means that: /tmp may be memory.
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as directory,
        running(Path(directory)) as server,
    ):
        yield server, server.access


async def _create(access: Access, path: str, make: Any, prefix: str, count: int) -> None:
    async with connect(access) as wire:
        for number in range(count):
            reply = await wire.ask("POST", path, make(f"{prefix}-{number}"))
            if reply.status != 201:
                raise RuntimeError(f"{path}: {reply.body[:200]!r}")


def _service(name: str) -> dict[str, Any]:
    spec = {"selector": {"app": name}, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def _map(name: str) -> dict[str, Any]:
    data = {"text": "x" * 400}  # together with what the server adds, about a Service's length
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


class _Heard:
    """Counts what all watchers together are told."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._answered = asyncio.Semaphore(0)
        self._transports: list[asyncio.Transport] = []
        self.everything = asyncio.Event()

    async def watch(self, access: Access, version: str) -> None:
        """One more who watches."""
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: _Watcher(self), access.host, access.port, ssl=access.context
        )
        head = f"GET {_MAPS}?watch=true&resourceVersion={version} HTTP/1.1\r\nHost: bench\r\n"
        transport.write(f"{head}Authorization: Bearer {access.token}\r\n\r\n".encode())
        self._transports.append(transport)

    async def are_there(self, watchers: int) -> None:
        """Until so many have been answered."""
        for _ in range(watchers):
            await self._answered.acquire()

    def take(self, data: bytes) -> None:
        """What one of them is sent."""
        if data.startswith(b"HTTP/1.1 200"):
            self._answered.release()
        self._missing -= data.count(b'{"type":"')
        if self._missing <= 0:
            self.everything.set()

    def close(self) -> None:
        """They go."""
        for each in self._transports:
            each.abort()


class _Watcher(asyncio.Protocol):
    """Reads and does not look."""

    def __init__(self, heard: _Heard) -> None:
        self._heard = heard

    def data_received(self, data: bytes) -> None:
        self._heard.take(data)


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
