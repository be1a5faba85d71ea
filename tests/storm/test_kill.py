"""Killed again and again under a thousand writes a second: what was acknowledged is there."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.storm.clients import Acknowledged, Follower, Writer
from tests.storm.serving import Server, running
from tests.storm.wire import Access, Closed, Wire, connect

_SERVICES = "/api/v1/namespaces/default/services"
_ADDRESSES = "/apis/networking.k8s.io/v1/ipaddresses"
_ROUNDS = 3
_WRITERS = 12
_MOST_WRITES = 1500


async def _storm(
    server: Server, access: Access, writers: list[Writer], follower: Follower, writes: int
) -> None:
    """Write and watch, until so many writes have been acknowledged; then kill."""
    acknowledged = Acknowledged(writes)
    working = [asyncio.ensure_future(each.write(access, acknowledged)) for each in writers]
    following = asyncio.ensure_future(follower.follow(access))
    await acknowledged.reached.wait()
    server.kill()
    ends = await asyncio.gather(*working, following, return_exceptions=True)
    assert [type(each) for each in ends] == [Closed] * len(ends), ends


async def _listed(wire: Wire, path: str) -> tuple[dict[str, Any], int]:
    found = (await wire.ask("GET", path)).object
    items = {each["metadata"]["name"]: each for each in found["items"]}
    return items, int(found["metadata"]["resourceVersion"])


async def _judge(access: Access, writers: list[Writer], follower: Follower) -> None:
    """What a server that has been started again knows, held against what its clients do."""
    async with connect(access) as wire:
        services, version = await _listed(wire, _SERVICES)
        addresses, _ = await _listed(wire, _ADDRESSES)
        assert version >= max(each.newest for each in writers)
        assert version >= follower.version
        for writer in writers:
            writer.judge(services)
        given = [address for each in services.values() for address in each["spec"]["clusterIPs"]]
        assert max(Counter(given).values()) == 1, "an address is given out twice"
        ports = [
            port.get("nodePort") for each in services.values() for port in each["spec"]["ports"]
        ]
        assert max(Counter(filter(None, ports)).values(), default=1) == 1
        dns_and_others = set(addresses) - set(given)
        assert not dns_and_others, "addresses that belong to nobody"
        assert set(given) <= set(addresses)
        created = await wire.ask("POST", _SERVICES, Writer.service(f"after-{version}"))
        assert created.status == 201
        assert int(created.object["metadata"]["resourceVersion"]) > version
        assert created.object["spec"]["clusterIP"] not in given


async def _catch_up(access: Access, follower: Follower) -> None:
    """Go on where the last life ended; what is heard makes what is there."""
    async with connect(access) as wire:
        services, version = await _listed(wire, _SERVICES)
        await follower.until(access, version)
    assert follower.versions() == {
        name: each["metadata"]["resourceVersion"] for name, each in services.items()
    }


@pytest.mark.slow
def test_what_was_acknowledged_survives_every_kill(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    rounds = [dice.randrange(1, _MOST_WRITES) for _ in range(_ROUNDS)]

    async def work(server: Server) -> None:
        writers = [Writer(f"w{number}", dice) for number in range(_WRITERS)]
        follower = Follower(_SERVICES)
        for writes in rounds:
            access = server.access
            async with connect(access) as wire:
                _, version = await _listed(wire, _SERVICES)
            await follower.until(access, version)
            await _storm(server, access, writers, follower, writes)
            access = server.start()
            await _judge(access, writers, follower)
            await _catch_up(access, follower)

    with running(tmp_path) as server:
        try:
            asyncio.run(work(server))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, killed after {rounds} writes: {error}") from error
