"""A hundred thousand objects: read from the disk, listed whole and in pages, watched, added to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from netproxy.api.objects import Key
from netproxy.api.resources import CONFIG_MAPS
from netproxy.apiserver.contract import Write
from netproxy.apiserver.storage.database import Database
from netproxy.apiserver.storage.store import Store
from tests.storm.serving import Server, running
from tests.storm.wire import Wire, connect

_MAPS = "/api/v1/configmaps"
_NAMESPACES, _EACH = 100, 1000
_COUNT = _NAMESPACES * _EACH
_PAGE = 10_000
_decode = msgspec.json.Decoder().decode


def _map(namespace: str, name: str) -> Write:
    metadata = {"name": name, "namespace": namespace, "labels": {"app": name[-1]}}
    obj = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"a": name}}
    return Write(CONFIG_MAPS, Key(namespace, name), obj)


async def _fill(path: Path) -> None:
    store = Store(Database(path))
    store.load()
    store.start()
    try:
        for number in range(_NAMESPACES):
            namespace = f"ns{number:02}"
            writes = (_map(namespace, f"m{each:04}") for each in range(_EACH))
            await store.accept(writes).durable
    finally:
        store.close()


async def _pages(wire: Wire) -> AsyncIterator[Any]:
    path = f"{_MAPS}?limit={_PAGE}"
    token = ""
    while True:
        reply = await wire.ask("GET", f"{path}&continue={token}" if token else path)
        assert reply.status == 200, reply.body
        page = _decode(reply.body)
        yield page
        token = page["metadata"].get("continue", "")
        if not token:
            return


def _names(items: list[Any]) -> list[tuple[str, str]]:
    return [(each["metadata"]["namespace"], each["metadata"]["name"]) for each in items]


async def _read_in_pages(wire: Wire) -> None:
    """While somebody writes: all pages are of one moment."""
    names: list[tuple[str, str]] = []
    versions = set()
    async for page in _pages(wire):
        names += _names(page["items"])
        metadata = page["metadata"]
        versions.add(metadata["resourceVersion"])
        assert metadata.get("remainingItemCount", 0) == _COUNT - len(names)
        number = len(names) // _PAGE
        gone = f"/api/v1/namespaces/ns99/configmaps/m{number:04}"
        assert (await wire.ask("DELETE", gone)).status == 200
        await _add(wire, f"new{number}")
    assert len(versions) == 1
    assert len(names) == len(set(names)) == _COUNT
    assert names == sorted(names)


async def _add(wire: Wire, name: str) -> None:
    namespace = "default"
    made = _map(namespace, name).object
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    assert (await wire.ask("POST", path, made)).status == 201


async def _stream(wire: Wire) -> int:
    """A list as a watch, up to the bookmark that says that it is one."""
    path = f"{_MAPS}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true"
    wire.say("GET", f"{path}&resourceVersionMatch=NotOlderThan")
    assert (await wire.head())[0] == 200
    count, last = 0, b""
    async for piece in wire.pieces():
        lines = (last + piece).split(b"\n")
        last = lines.pop()
        count += len(lines)
        if b"initial-events-end" in lines[-1]:
            return count - 1
    raise AssertionError("the list has no end")


async def _judge(server: Server) -> None:
    async with connect(server.access) as wire, connect(server.access) as watching:
        await _read_in_pages(wire)
        names = _names(_decode((await wire.ask("GET", _MAPS)).body)["items"])
        assert len(set(names)) == _COUNT  # as many came as went
        assert sum(namespace == "default" for namespace, _ in names) == _COUNT // _PAGE
        assert await _stream(watching) == _COUNT
        selected = _decode((await wire.ask("GET", f"{_MAPS}?labelSelector=app%3D7")).body)["items"]
        assert {each["metadata"]["labels"]["app"] for each in selected} == {"7"}
        in_one = _decode((await wire.ask("GET", "/api/v1/namespaces/ns42/configmaps")).body)
        assert len(in_one["items"]) == _EACH


@pytest.mark.slow
def test_a_hundred_thousand_objects(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    asyncio.run(_fill(data / "objects.db"))
    with running(tmp_path) as server:
        asyncio.run(_judge(server))
