"""Writes are accepted in order, durable together, and lost together."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from netproxy.api.objects import Key, Object
from netproxy.api.resources import CORE_EVENTS, EVENTS, PODS, SERVICES, Resource
from netproxy.api.status import StatusError
from netproxy.apiserver.contract import Write
from netproxy.apiserver.storage.database import Database
from netproxy.apiserver.storage.store import Store
from netproxy.errors import ConfigError


def _object(name: str, **spec: object) -> Object:
    return {"kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def _put(name: str, resource: Resource = SERVICES, **spec: object) -> Write:
    return Write(resource, Key("default", name), _object(name, **spec))


def _remove(name: str) -> Write:
    return Write(SERVICES, Key("default", name), None)


def _with_store(
    path: Path, work: Callable[[Store], Awaitable[None]], history_rows: int = 20_000
) -> None:
    async def run() -> None:
        store = Store(Database(path, history_rows))
        store.load()
        store.start()
        try:
            await work(store)
        finally:
            store.close()

    asyncio.run(run())


def _seen(store: Store, resource: Resource = SERVICES) -> dict[str, object]:
    return {each.key.name: each.object["spec"] for each in store.timeline(resource).select()}


def test_what_is_durable_is_there_after_a_restart(tmp_path: Path) -> None:
    async def first(store: Store) -> None:
        await store.accept([_put("a", n=1), _put("b", n=1)]).durable
        await store.accept([_put("a", n=2)]).durable
        await store.accept([_remove("b")]).durable
        assert _seen(store) == {"a": {"n": 2}}

    async def second(store: Store) -> None:
        assert _seen(store) == {"a": {"n": 2}}
        assert store.version == 4
        timeline = store.timeline(SERVICES)
        assert [each.version for each in timeline.since(0)] == [1, 2, 3, 4]
        assert [each.key.name for each in timeline.as_of(3)] == ["a", "b"]
        assert [each.version for each in timeline.as_of(3)] == [3, 2]
        ended = timeline.since(3)[0]
        assert ended.after is None
        assert ended.last.object["metadata"]["resourceVersion"] == "4"
        accepted = store.accept([_put("c")])
        await accepted.durable
        assert store.version == 5

    _with_store(tmp_path / "data.db", first)
    _with_store(tmp_path / "data.db", second)


def test_the_next_write_sees_what_readers_do_not_see_yet(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        key = Key("default", "a")
        accepted = store.accept([_put("a", n=1)])
        found = store.get(SERVICES, key)
        assert found is not None
        assert found["metadata"]["resourceVersion"] == "1"
        assert [each["metadata"]["name"] for each in store.list(SERVICES)] == ["a"]
        assert _seen(store) == {}
        again = store.accept([_remove("a")])
        back = store.accept([_put("a", n=3)])
        gone = store.accept([_remove("a")])
        await accepted.durable
        assert store.get(SERVICES, key) is None
        for each in (again, back, gone):
            await each.durable
        assert store.get(SERVICES, key) is None
        assert [each.version for each in store.timeline(SERVICES).since(0)] == [1, 2, 3, 4]

    _with_store(tmp_path / "data.db", work)


def test_both_kinds_of_events_are_the_same_objects(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.accept([_put("e", CORE_EVENTS)]).durable
        assert store.get(EVENTS, Key("default", "e")) is not None
        assert store.get(PODS, Key("default", "e")) is None

    _with_store(tmp_path / "data.db", work)


def test_what_the_disk_refuses_is_lost_together_and_then_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "data.db"

    async def work(store: Store) -> None:
        lost: list[bool] = []
        store.on_loss(lambda: lost.append(True))
        await store.accept([_put("a", n=1)]).durable
        store._database._connection.execute("PRAGMA max_page_count = 1")
        doomed = [store.accept([_put(f"x{n}", text="y" * 20_000)]) for n in range(5)]
        answers = await asyncio.gather(*(each.durable for each in doomed), return_exceptions=True)
        assert [getattr(each, "code", None) for each in answers] == [500] * 5
        assert isinstance(answers[0], StatusError)
        assert "full" in answers[0].message
        assert lost == [True]
        assert _seen(store) == {"a": {"n": 1}}
        assert [each["metadata"]["name"] for each in store.list(SERVICES)] == ["a"]
        store._database._connection.execute("PRAGMA max_page_count = 100000")
        await store.accept([_put("b", n=2)]).durable
        assert _seen(store) == {"a": {"n": 1}, "b": {"n": 2}}

    async def after(store: Store) -> None:
        assert _seen(store) == {"a": {"n": 1}, "b": {"n": 2}}

    _with_store(path, work)
    _with_store(path, after)


def test_history_is_trimmed_and_nothing_else(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        for n in range(60):
            await store.accept([_put(f"s{n % 7}", n=n)]).durable

    async def after(store: Store) -> None:
        timeline = store.timeline(SERVICES)
        assert 40 <= timeline.floor < 60
        assert len(timeline) == 7
        assert store.version == 60
        assert [each.version for each in timeline.since(timeline.floor)][-1] == 60

    _with_store(tmp_path / "data.db", work, history_rows=10)
    _with_store(tmp_path / "data.db", after)


def test_two_processes_do_not_share_a_file(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await store.accept([_put("a")]).durable
        with pytest.raises(ConfigError, match="locked") as caught:
            Database(tmp_path / "data.db")
        assert "another" in str(caught.value.hint)

    _with_store(tmp_path / "data.db", work)


def test_a_file_that_is_none_of_ours_says_so(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(ConfigError, match="not a database"):
        Database(path)


def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    Database(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE facts SET value = '99' WHERE name = 'schema'")
    connection.close()
    with pytest.raises(ConfigError, match="later version"):
        Database(path)


def test_nobody_else_may_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "data.db"
    Database(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
