"""The disk refuses: whoever was told that it worked is right, and everybody else hears that not."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from netproxy.apiserver.instance import Instance
from netproxy.apiserver.storage.database import Database, Row
from tests.storm.clients import Follower, Writer
from tests.storm.inside import with_server
from tests.storm.wire import Access, connect

_SERVICES = "/api/v1/namespaces/default/services"
_ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"
_WRITERS = 8
_WRITES = 40


def _pages(instance: Instance, how_many: int) -> None:
    """Let the file have so many pages at most: SQLite's own way to have a full disk."""
    connection = instance.operations.store._database._connection
    connection.execute(f"PRAGMA max_page_count = {how_many}")


async def _create(access: Access, names: Sequence[str]) -> dict[str, Any]:
    """One after the other; by name what was answered."""
    answers = {}
    async with connect(access) as wire:
        for name in names:
            reply = await wire.ask("POST", _SERVICES, Writer.service(name))
            assert reply.object["kind"] == ("Service" if reply.status == 201 else "Status")
            answers[name] = (reply.status, reply.object)
    return answers


async def _create_many(access: Access, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in await asyncio.gather(
        *(
            _create(access, [f"{prefix}{writer}-{n}" for n in range(_WRITES)])
            for writer in range(_WRITERS)
        )
    ):
        found |= each
    return found


async def _services(access: Access) -> dict[str, Any]:
    async with connect(access) as wire:
        found = (await wire.ask("GET", _SERVICES)).object
        addresses = (await wire.ask("GET", _ADDRESSES)).object
    services = {each["metadata"]["name"]: each for each in found["items"]}
    given = [address for each in services.values() for address in each["spec"]["clusterIPs"]]
    assert sorted(given) == sorted(each["metadata"]["name"] for each in addresses["items"])
    return services


def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    told: dict[str, Any] = {}
    follower = Follower(_SERVICES)

    async def fill(instance: Instance, access: Access) -> None:
        told.update(await _create_many(access, "before"))
        assert {status for status, _ in told.values()} == {201}
        following = asyncio.ensure_future(follower.follow(access))
        _pages(instance, 1)
        full = await _create_many(access, "full")
        refusals = [obj for status, obj in full.values() if status != 201]
        # Some have room in pages that exist already; the rest have not.
        assert len(refusals) > _WRITES
        assert {(each["code"], each["reason"]) for each in refusals} == {(500, "InternalError")}
        assert "database or disk is full" in refusals[0]["message"]
        told.update(full)
        _pages(instance, 1_000_000)
        again = await _create_many(access, "after")
        assert {status for status, _ in again.values()} == {201}
        told.update(again)
        following.cancel()
        await asyncio.wait([following])
        await _hold(access)

    async def _hold(access: Access) -> None:
        services = await _services(access)
        for name, (status, obj) in told.items():
            assert (name in services) is (status == 201)
            assert status != 201 or services[name] == obj
        version = max(int(each["metadata"]["resourceVersion"]) for each in services.values())
        await follower.until(access, version)
        assert set(follower.versions()) == set(services)

    async def after(instance: Instance, access: Access) -> None:
        del instance
        await _hold(access)

    with_server(tmp_path, fill)
    with_server(tmp_path, after)


@pytest.mark.parametrize("is_written", [False, True], ids=["before", "after"])
def test_a_commit_that_fails_is_told_as_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    """An error may come before the rows are on the disk, or after."""
    execute = Database._execute
    failing: set[str] = set()

    def fail(database: Database, rows: Sequence[Row]) -> None:
        is_failing = any(each.name in failing for each in rows)
        if is_written or not is_failing:
            execute(database, rows)
        if is_failing:
            raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Database, "_execute", fail)

    async def work(instance: Instance, access: Access) -> None:
        del instance
        failing.add("bad")
        ((status, obj),) = (await _create(access, ["bad"])).values()
        assert status == (201 if is_written else 500)
        assert is_written or "disk I/O error" in obj["message"]
        assert ("bad" in await _services(access)) is is_written
        failing.clear()
        ((status, obj),) = (await _create(access, ["good"])).values()
        assert status == 201
        assert {"good"} <= set(await _services(access))

    with_server(tmp_path, work)


def test_an_error_that_nobody_foresaw_is_answered_and_does_not_end_the_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = Database._execute

    def fail(database: Database, rows: Sequence[Row]) -> None:
        if any(each.name == "bad" for each in rows):
            raise MemoryError
        execute(database, rows)

    monkeypatch.setattr(Database, "_execute", fail)

    async def work(instance: Instance, access: Access) -> None:
        del instance
        answers = await _create(access, ["bad", "good"])
        assert [status for status, _ in answers.values()] == [500, 201]

    with_server(tmp_path, work)
