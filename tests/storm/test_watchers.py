"""Hundreds who watch, and some who do not listen."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from netproxy.apiserver.instance import Instance
from netproxy.web import api_server
from tests.storm.inside import with_server
from tests.storm.serving import Server, running
from tests.storm.wire import Access, Closed, Wire, connect

_MAPS = "/api/v1/namespaces/default/configmaps"
_WATCHERS = 500
_WRITERS = 8
_WRITES = 15
"""Of each writer: one object that comes, changes so often, and goes."""
_DEAF = 40


def _map(name: str, value: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"a": value},
    }


async def _version(wire: Wire) -> int:
    return int((await wire.ask("GET", _MAPS)).object["metadata"]["resourceVersion"])


async def _write(access: Access, name: str) -> list[tuple[str, str]]:
    """What happens to one object, as its writer knows it."""
    told = []
    async with connect(access) as wire:
        made = await wire.ask("POST", _MAPS, _map(name, ""))
        told.append(("ADDED", made.object["metadata"]["resourceVersion"]))
        for number in range(_WRITES):
            changed = await wire.ask("PUT", f"{_MAPS}/{name}", _map(name, str(number)))
            told.append(("MODIFIED", changed.object["metadata"]["resourceVersion"]))
        await wire.ask("DELETE", f"{_MAPS}/{name}")
    return told


async def _lines(access: Access, version: int, count: int, is_there: asyncio.Semaphore) -> bytes:
    """So many lines of a watch."""
    async with connect(access) as wire:
        wire.say("GET", f"{_MAPS}?watch=true&resourceVersion={version}")
        status, _ = await wire.head()
        assert status == 200
        is_there.release()
        pieces: list[bytes] = []
        async for piece in wire.pieces():
            pieces.append(piece)
            count -= piece.count(b"\n")
            if count <= 0:
                break
    return b"".join(pieces)


@pytest.mark.slow
def test_five_hundred_watchers_hear_the_same_in_the_same_order(tmp_path: Path) -> None:
    count = _WRITERS * (_WRITES + 2)

    async def work(server: Server) -> None:
        access = server.access
        async with connect(access) as wire:
            version = await _version(wire)
        is_there = asyncio.Semaphore(0)
        watching = [
            asyncio.ensure_future(_lines(access, version, count, is_there))
            for _ in range(_WATCHERS)
        ]
        for _ in range(_WATCHERS):
            await is_there.acquire()
        told = await asyncio.gather(*(_write(access, f"m{number}") for number in range(_WRITERS)))
        heard = await asyncio.gather(*watching)
        assert len(set(heard)) == 1
        events = [json.loads(line) for line in heard[0].splitlines()]
        assert len(events) == count
        versions = [int(each["object"]["metadata"]["resourceVersion"]) for each in events]
        assert versions == sorted(set(versions))
        for number, expected in enumerate(told):
            mine = [e for e in events if e["object"]["metadata"]["name"] == f"m{number}"]
            found = [(e["type"], e["object"]["metadata"]["resourceVersion"]) for e in mine]
            assert found[:-1] == expected
            assert found[-1][0] == "DELETED"

    with running(tmp_path) as server:
        asyncio.run(work(server))


async def _deaf(access: Access, version: int) -> Wire:
    """Asks for a watch and never reads more than its head."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (access.host, access.port))
    reader, writer = await asyncio.open_connection(
        sock=sock, ssl=access.context, server_hostname=access.host, limit=1024
    )
    wire = Wire(reader, writer, access.token)
    wire.say("GET", f"{_MAPS}?watch=true&resourceVersion={version}")
    assert (await wire.head())[0] == 200
    return wire


async def _shout(wire: Wire, times: int, size: int) -> None:
    await wire.ask("POST", _MAPS, _map("loud", ""))
    for number in range(times):
        reply = await wire.ask("PUT", f"{_MAPS}/loud", _map("loud", f"{number:{size}}"))
        assert reply.status == 200


def _resident_kib(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


@pytest.mark.slow
def test_who_does_not_listen_costs_next_to_nothing(tmp_path: Path) -> None:
    """A queue for each would be 40 x 40 MB; what is remembered for all is 64 MB at most."""

    async def work(server: Server) -> None:
        access = server.access
        async with connect(access) as wire:
            version = await _version(wire)
            deaf = [await _deaf(access, version) for _ in range(_DEAF)]
            before = _resident_kib(server.pid)
            await _shout(wire, 400, 100_000)
            assert _resident_kib(server.pid) - before < 200 * 1024
        for each in deaf:
            each.writer.transport.abort()

    with running(tmp_path) as server:
        asyncio.run(work(server))


def test_who_does_not_listen_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_server, "SEND_S", 1.0)

    async def work(instance: Instance, access: Access) -> None:
        del instance
        async with connect(access) as wire:
            deaf = await _deaf(access, await _version(wire))
            listening = asyncio.ensure_future(
                _lines(access, await _version(wire), 101, asyncio.Semaphore(0))
            )
            await _shout(wire, 100, 100_000)
            assert (await listening).count(b"\n") == 101
            await asyncio.sleep(2.0)
            with pytest.raises(Closed):
                async for _ in deaf.pieces():
                    pass
            deaf.writer.transport.abort()
            assert (await wire.ask("GET", "/version")).status == 200

    with_server(tmp_path, work)
