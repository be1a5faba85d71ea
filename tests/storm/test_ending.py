"""SIGTERM: watches end as watches do, and writers know what was done."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

from tests.storm.clients import Acknowledged, Writer
from tests.storm.inside import serving
from tests.storm.serving import Server, running
from tests.storm.wire import Closed, connect

_SERVICES = "/api/v1/namespaces/default/services"


def test_a_process_that_is_told_to_stop_ends_its_watches(tmp_path: Path) -> None:
    async def work(server: Server) -> None:
        access = server.access
        async with connect(access) as watching, connect(access) as idle, connect(access) as writing:
            assert (await idle.ask("GET", "/version")).status == 200
            watching.say("GET", f"{_SERVICES}?watch=true")
            assert (await watching.head())[0] == 200
            events = watching.events()
            assert (await anext(events))["object"]["metadata"]["name"] == "kubernetes"
            await writing.ask("POST", _SERVICES, Writer.service("last"))
            assert (await anext(events))["object"]["metadata"]["name"] == "last"
            stopping = asyncio.to_thread(server.stop)
            rest, status = await asyncio.gather(_all(events), stopping)
            assert rest == []  # and it has ended with an empty chunk, or that would have raised
            assert status == 0
            assert not await idle.reader.read()
        server.start()
        async with connect(server.access) as wire:
            assert (await wire.ask("GET", f"{_SERVICES}/last")).status == 200

    async def _all(events: AsyncIterator[object]) -> list[object]:
        return [each async for each in events]

    with running(tmp_path) as server:
        asyncio.run(work(server))
    assert "Traceback" not in server.log.read_text()


def test_writers_who_are_interrupted_know_what_was_done(tmp_path: Path) -> None:
    async def work() -> None:
        dice = random.Random(5)
        writers = [Writer(f"w{number}", dice) for number in range(6)]
        acknowledged = Acknowledged(100)
        async with serving(tmp_path) as (_, access):
            tasks = [asyncio.ensure_future(each.write(access, acknowledged)) for each in writers]
            await acknowledged.reached.wait()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in ends} == {Closed}
        async with serving(tmp_path) as (_, access), connect(access) as wire:
            items = (await wire.ask("GET", _SERVICES)).object["items"]
            listed = {each["metadata"]["name"]: each for each in items}
            for each in writers:
                each.judge(listed)

    asyncio.run(work())
