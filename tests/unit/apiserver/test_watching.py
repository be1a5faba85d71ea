"""What watchers hear, in which order, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from netproxy.api.objects import Key, Object
from netproxy.api.resources import SERVICES
from netproxy.apiserver import watching
from netproxy.apiserver.pages import Matches
from netproxy.apiserver.request import ListOptions
from netproxy.apiserver.storage.stored import Event, Stored, encode_state
from netproxy.apiserver.storage.timeline import Timeline
from netproxy.apiserver.watching import Watch, plain_line, stream


class _World:
    def __init__(self) -> None:
        self.timeline = Timeline(remembered=50)
        self.version = 0

    def put(self, name: str, namespace: str = "default", **labels: str) -> None:
        self.version += 1
        key = Key(namespace, name)
        metadata: Object = {"name": name, "namespace": namespace, "labels": labels}
        state, _ = encode_state(key, self.version, {"metadata": metadata})
        event = Event("services", self.version, self.timeline.get(key), state, state)
        self.timeline.add(event)
        self.timeline.wake()

    def remove(self, name: str) -> None:
        self.version += 1
        before = self.timeline.get(Key("default", name))
        assert before is not None
        last, _ = encode_state(before.key, self.version, before.object)
        self.timeline.add(Event("services", self.version, before, None, last))
        self.timeline.wake()

    def watch(
        self, options: ListOptions, matches: Matches | None = None, namespace: str = ""
    ) -> AsyncIterator[bytes]:
        watch = Watch(SERVICES, self.timeline, namespace, options, matches, plain_line)
        return stream(watch, lambda: self.version)


async def _hear(chunks: AsyncIterator[bytes], count: int) -> list[tuple[str, Any]]:
    lines: list[bytes] = []
    async for chunk in chunks:
        lines += chunk.splitlines()
        if len(lines) >= count:
            break
    events = [json.loads(each) for each in lines]
    return [(each["type"], each["object"]) for each in events]


def _told(events: list[tuple[str, Any]]) -> list[str]:
    return [f"{kind} {obj['metadata'].get('name', '')}".strip() for kind, obj in events]


def _run(work: Callable[[_World], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(20):
            await work(_World())

    asyncio.run(run())


def _is_red(state: Stored) -> bool:
    return state.labels.get("colour") == "red"


def test_after_a_version_comes_what_happened_since_and_then_what_happens() -> None:
    async def work(world: _World) -> None:
        world.put("a")
        world.put("b")
        chunks = world.watch(ListOptions(watch=True, version="1"))
        assert _told(await _hear(chunks, 1)) == ["ADDED b"]
        waiting = asyncio.ensure_future(_hear(chunks, 2))
        await asyncio.sleep(0)
        world.put("a")
        world.remove("b")
        assert _told(await waiting) == ["MODIFIED a", "DELETED b"]

    _run(work)


def test_without_a_version_the_objects_come_first() -> None:
    async def work(world: _World) -> None:
        world.put("b")
        world.put("a")
        chunks = world.watch(ListOptions(watch=True))
        assert _told(await _hear(chunks, 2)) == ["ADDED a", "ADDED b"]

    _run(work)


def test_a_streaming_list_ends_with_a_bookmark_that_says_so() -> None:
    async def work(world: _World) -> None:
        world.put("a")
        options = ListOptions(watch=True, bookmarks=True, initial_events=True, match="NotOlderThan")
        events = await _hear(world.watch(options), 2)
        assert _told(events) == ["ADDED a", "BOOKMARK"]
        assert events[1][1] == {
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": {
                "resourceVersion": "1",
                "annotations": {"k8s.io/initial-events-end": "true"},
            },
        }

    _run(work)


def test_what_enters_a_selection_is_added_and_what_leaves_it_is_deleted() -> None:
    async def work(world: _World) -> None:
        world.put("a", colour="blue")
        world.put("a", colour="red")
        world.put("a", colour="red", size="big")
        world.put("a", colour="blue")
        world.put("a", colour="green")
        world.put("b", "other", colour="red")
        options = ListOptions(watch=True, version="1")
        chunks = world.watch(options, _is_red, "default")
        assert _told(await _hear(chunks, 3)) == ["ADDED a", "MODIFIED a", "DELETED a"]
        world.put("c", colour="red")
        assert _told(await _hear(chunks, 1)) == ["ADDED c"]

    _run(work)


def test_a_version_that_is_forgotten_is_gone() -> None:
    async def work(world: _World) -> None:
        for n in range(60):
            world.put(f"s{n}")
        (event,) = await _hear(world.watch(ListOptions(watch=True, version="5")), 1)
        assert event[0] == "ERROR"
        assert (event[1]["code"], event[1]["reason"]) == (410, "Expired")
        assert event[1]["message"] == "too old resource version: 5 (10)"

    _run(work)


def test_a_watcher_that_falls_behind_is_told_so() -> None:
    async def work(world: _World) -> None:
        world.put("a")
        chunks = world.watch(ListOptions(watch=True, version="0"))
        assert _told(await _hear(chunks, 1)) == ["ADDED a"]
        for n in range(80):
            world.put(f"s{n}")
        (event,) = await _hear(chunks, 1)
        assert event[1]["code"] == 410

    _run(work)


def test_a_watch_ends_when_its_time_is_over_with_a_last_bookmark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "LONGEST_S", 0)

    async def work(world: _World) -> None:
        world.put("a")
        options = ListOptions(watch=True, version="1", bookmarks=True)
        assert _told(await _hear(world.watch(options), 9)) == ["BOOKMARK"]
        assert await _hear(world.watch(ListOptions(watch=True, version="1")), 9) == []

    _run(work)


def test_bookmarks_tell_how_far_other_resources_have_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "BOOKMARK_S", 0.01)

    async def work(world: _World) -> None:
        world.put("a")
        chunks = world.watch(ListOptions(watch=True, version="1", bookmarks=True))
        world.version = 7
        ((kind, obj),) = await _hear(chunks, 1)
        assert (kind, obj["metadata"]["resourceVersion"]) == ("BOOKMARK", "7")

    _run(work)
