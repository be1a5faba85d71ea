"""The whole source, over real HTTP, against a server that does all that servers do."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from netproxy.errors import ConfigError, UnsupportedError
from netproxy.kubernetes.connect import open_client
from netproxy.kubernetes.contract import ApiClient, ClientSettings
from netproxy.model.diagnostic import Diagnostic
from netproxy.model.events import Delete, Event, Listed, ModelObject, ObjectKey, Upsert, key_of
from netproxy.sources.kubernetes import NodeWait, watch_kubernetes
from netproxy.sources.kubernetes.decode import Decoder, Put
from netproxy.sources.kubernetes.reflector import Pace
from netproxy.sources.kubernetes.resources import (
    ENDPOINT_SLICES,
    SERVICE_CIDRS,
    SERVICES,
    our_node,
)
from tests.kube.faults import (
    EXPIRED,
    EXPIRED_EVENT,
    GARBAGE,
    NO_STREAMING_LISTS,
    Ask,
    Cut,
    Fault,
    Preface,
    Reply,
    Silence,
    Slow,
    status,
)
from tests.kube.objects import Object, endpoint_slice, node, service, service_cidr
from tests.kube.server import ApiServer
from tests.kube.storage import line
from tests.unit.sources.kubernetes.wire import selection_of

QUICK = Pace(
    initial_silence_s=0.2,
    first_wait_s=0.002,
    longest_wait_s=0.02,
    optional_wait_s=0.02,
    longest_asked_s=0.02,
)
IMPATIENT = NodeWait(addresses_s=0.0)
FOLLOWED = {
    each.plural: (each.kind, selection_of(each))
    for each in (SERVICES, ENDPOINT_SLICES, SERVICE_CIDRS, our_node("node-a"))
}
PATIENCE_S = 30.0


class Follower:
    """Takes what a source tells, and knows what the server has."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.events: list[Event] = []
        self.state: dict[ObjectKey, ModelObject] = {}
        self.diagnostics: list[Diagnostic] = []
        self._moved = asyncio.Event()

    async def follow(self, client: ApiClient, wait: NodeWait, pace: Pace) -> None:
        async for batch in watch_kubernetes(client, "node-a", wait=wait, pace=pace):
            assert batch.events or batch.diagnostics
            self.events += batch.events
            self.diagnostics += batch.diagnostics
            for event in batch.events:
                match event:
                    case Upsert(object=obj):
                        self.state[key_of(obj)] = obj
                    case Delete(key=key):
                        self.state.pop(key, None)
            self._moved.set()

    @property
    def is_listed(self) -> bool:
        return Listed() in self.events

    @property
    def is_in_step(self) -> bool:
        return self.is_listed and self.state == self.wanted()

    def wanted(self) -> dict[ObjectKey, ModelObject]:
        """What the server has."""
        wanted = {}
        for plural, (kind, is_selected) in FOLLOWED.items():
            decoder = Decoder(kind)
            for stored in self.server.storage.snapshot(plural, is_selected)[1]:
                put = decoder.item(stored.raw)
                assert isinstance(put, Put)
                if put.object is not None:
                    wanted[put.key] = put.object
        return wanted

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is true of the server or of what was heard."""
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                await asyncio.sleep(0.001)

    async def in_step(self) -> None:
        await self.until(lambda: self.is_in_step)

    async def watching(self) -> None:
        """All kinds are watched."""
        await self.until(lambda: all(self.server.watchers(plural) == 1 for plural in FOLLOWED))


@asynccontextmanager
async def following(
    server: ApiServer, *, wait: NodeWait = IMPATIENT, pace: Pace = QUICK
) -> AsyncIterator[Follower]:
    """A source at work; what it raises is raised at the end."""
    client = open_client(ClientSettings(master=server.url, qps=-1))
    follower = Follower(server)
    task = asyncio.create_task(follower.follow(client, wait, pace))
    try:
        yield follower
        assert not task.done() or task.exception() is None
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.put(*cluster())
        yield server


def cluster() -> list[Object]:
    return [
        node("node-a"),
        node("node-b"),
        service_cidr("10.96.0.0/16"),
        service("web"),
        service("none", "None"),
        endpoint_slice("web", ["10.1.0.1", "10.1.0.2"]),
    ]


def change_everything(server: ApiServer) -> None:
    server.put(service("web", port=81), endpoint_slice("web", ["10.1.0.3"]), service("db"))
    server.put(node("node-a", ["192.168.0.3"], zone="z2"), service_cidr("10.96.0.0/12"))


def words(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, str]]:
    return [r.fields for r in caplog.records if r.message == event]  # type: ignore[attr-defined]


def test_lists_then_follows(server: ApiServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "netproxy")

    async def script() -> None:
        async with following(server, wait=NodeWait()) as follower:
            await follower.in_step()
            change_everything(server)
            server.delete("endpointslices", "web-x7k2p")
            await follower.in_step()
            assert [e for e in follower.events if isinstance(e, Listed)] == [Listed()]

    asyncio.run(script())
    (listed,) = words(caplog, "listed")
    assert {**listed, "elapsed_ms": 0} == {
        "services": 1,
        "endpointslices": 1,
        "servicecidrs": 1,
        "complete": True,
        "elapsed_ms": 0,
    }


ALWAYS = math.inf
FAULTS: dict[str, tuple[Fault, tuple[Ask, ...], float]] = {
    "no streaming lists": (NO_STREAMING_LISTS, (Ask.INITIAL,), ALWAYS),
    "no streaming lists, 400": (status(400, "BadRequest"), (Ask.INITIAL,), ALWAYS),
    "a streaming list without an end": (Silence(300), (Ask.INITIAL,), ALWAYS),
    "a streaming list that is cut in a line": (Cut(300), (Ask.INITIAL,), 3),
    "a list that is cut": (Cut(300), (Ask.INITIAL, Ask.LIST), 4),
    "everything slow": (Slow(50), tuple(Ask), ALWAYS),
    "401": (status(401, "Unauthorized"), tuple(Ask), 3),
    "403": (status(403, "Forbidden"), tuple(Ask), 3),
    "404": (status(404, "NotFound"), tuple(Ask), 3),
    "429": (status(429, "TooManyRequests", retry_after="1"), tuple(Ask), 3),
    "429 with a date": (Reply(429, b"", "Wed, 21 Oct 2026 07:28:00 GMT"), tuple(Ask), 3),
    "500": (status(500, "InternalError"), tuple(Ask), 3),
    "503 of a proxy": (Reply(503, b"<html>", content_type="text/html"), tuple(Ask), 3),
    "410 at once": (EXPIRED, tuple(Ask), 3),
    "garbage": (GARBAGE, tuple(Ask), 3),
    "garbage before": (Preface(b"\x00garbage\n"), tuple(Ask), 3),
    "an empty answer": (Reply(200, b""), tuple(Ask), 3),
    "a redirect": (Reply(302, b""), tuple(Ask), 3),
}


@pytest.mark.parametrize("plural", ["services", "nodes", "servicecidrs"])
@pytest.mark.parametrize("fault", FAULTS)
def test_gets_over_faults_at_the_start(server: ApiServer, fault: str, plural: str) -> None:
    what, asks, times = FAULTS[fault]
    server.fail(plural, what, asks=asks, times=times)

    async def script() -> None:
        async with following(server) as follower:
            await follower.until(lambda: follower.is_listed)
            await follower.in_step()
            change_everything(server)
            await follower.in_step()

    asyncio.run(script())


@pytest.mark.parametrize("fault", FAULTS)
def test_gets_over_faults_when_it_comes_back(server: ApiServer, fault: str) -> None:
    what, asks, times = FAULTS[fault]

    async def script() -> None:
        async with following(server) as follower:
            await follower.in_step()
            server.fail("services", what, asks=asks, times=times)
            server.expire("services")
            server.cut("services")
            change_everything(server)
            await follower.in_step()
            server.delete("services", "web")
            await follower.in_step()

    asyncio.run(script())


def event(type_: str, obj: Object, version: int) -> bytes:
    versioned = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version)}}
    return line(type_, json.dumps(versioned).encode())


SAID = {
    "duplicates": [event("MODIFIED", service("web", port=1), 2)] * 3,
    "an unknown type": [event("SYNCED", service("web", port=1), 99)],
    "a wrong type": [line("MODIFIED", b'{"metadata":{"name":"web","namespace":7}}')],
    "an impossible object": [event("MODIFIED", service("web", "nowhere"), 99)],
    "no object": [b'{"type":"ADDED"}\n'],
    "half a line": [b'{"type":"ADDED","obj'],
    "no JSON": [b"\xff\xfe\n"],
    "empty lines": [b"\n\n"],
    "410": [EXPIRED_EVENT],
    "an error": [line("ERROR", b'{"kind":"Status","message":"etcd","code":500}')],
    "an error without words": [line("ERROR", b"{}")],
    "a long line": [b'{"type":"ADDED","object":{"x":"' + b"x" * 17_000_000 + b'"}}\n'],
}


@pytest.mark.parametrize("said", SAID)
def test_survives_what_servers_never_say(server: ApiServer, said: str) -> None:
    async def script() -> None:
        async with following(server) as follower:
            await follower.in_step()
            await follower.watching()
            for data in SAID[said]:
                server.say("services", data)
            if said == "half a line":
                server.cut("services")
            server.put(service("db"))
            await follower.until(lambda: ("Service", "default", "db") in follower.state)
            assert ("Service", "default", "web") in follower.state
            change_everything(server)
            server.expire("services")
            server.cut("services")
            await follower.in_step()

    asyncio.run(script())


def test_a_huge_object_is_one_of_many(server: ApiServer) -> None:
    async def script() -> None:
        async with following(server) as follower:
            await follower.in_step()
            huge = service("huge")
            huge["metadata"]["annotations"] = {"note": "x" * 1_500_000}
            server.put(huge, service("db"))
            await follower.in_step()

    asyncio.run(script())


def test_a_half_open_connection_is_given_up(server: ApiServer) -> None:
    pace = QUICK._replace(watch_s=1.0, grace_s=0.05, shortest_watch_s=0.1)

    async def script() -> None:
        async with following(server, pace=pace) as follower:
            await follower.in_step()
            await follower.watching()
            server.hush("services")
            server.put(service("db"))
            await follower.in_step()

    asyncio.run(script())


def test_the_server_is_gone_and_comes_back(
    server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "netproxy")

    async def script() -> None:
        async with following(server) as follower:
            await follower.in_step()
            before = dict(follower.state)
            asked = len(server.requests)
            await asyncio.to_thread(server.stop)
            await follower.until(lambda: len(words(caplog, "API server trouble")) >= 4)
            assert follower.state == before
            change_everything(server)
            await asyncio.to_thread(server.start)
            await follower.in_step()
            assert {r.ask for r in server.requests[asked:]} == {Ask.WATCH}

    asyncio.run(script())
    troubles = words(caplog, "API server trouble")
    assert len({t["object"] for t in troubles}) == len(FOLLOWED)
    assert words(caplog, "API server answers again") != []


def test_the_server_is_restored_from_a_backup(server: ApiServer) -> None:
    async def script() -> None:
        backup = server.storage.backup()
        async with following(server) as follower:
            change_everything(server)
            await follower.in_step()
            await asyncio.to_thread(server.restore, backup)
            await follower.in_step()
            change_everything(server)
            await follower.in_step()

    asyncio.run(script())


def test_the_server_is_there_later_than_we(server: ApiServer) -> None:
    async def script() -> None:
        await asyncio.to_thread(server.stop)
        async with following(server) as follower:
            await asyncio.sleep(0)
            await asyncio.to_thread(server.start)
            await follower.in_step()

    asyncio.run(script())


@pytest.mark.parametrize("code", [403, 404])
def test_begins_without_service_cidrs_where_there_are_none(
    server: ApiServer, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "netproxy")
    server.fail("servicecidrs", status(code, "No"), times=ALWAYS)

    async def script() -> None:
        async with following(server) as follower:
            await follower.until(lambda: follower.is_listed)
            assert "ServiceCIDR" not in {kind for kind, _, _ in follower.state}
            server.recover()
            await follower.in_step()

    asyncio.run(script())
    assert len(words(caplog, "API server trouble")) == 1


@pytest.mark.parametrize("plural", ["services", "endpointslices"])
def test_does_not_begin_before_all_was_said(server: ApiServer, plural: str) -> None:
    server.fail(plural, status(403, "Forbidden"), times=ALWAYS)

    async def script() -> None:
        async with following(server) as follower:
            await follower.until(lambda: sum(plural in r.path for r in server.requests) >= 5)
            assert not follower.is_listed
            server.recover()
            await follower.in_step()

    asyncio.run(script())


def test_waits_for_the_nodes_addresses(server: ApiServer, caplog: pytest.LogCaptureFixture) -> None:
    server.put(node("node-a", []))

    async def script() -> None:
        async with following(server, wait=NodeWait(addresses_s=PATIENCE_S)) as follower:
            await follower.until(lambda: len(follower.state) == 4)
            await follower.watching()
            assert not follower.is_listed
            server.put(node("node-a"))
            await follower.in_step()

    asyncio.run(script())
    assert words(caplog, "beginning without our Node") == []


def test_begins_without_a_node_in_the_end(
    server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.delete("nodes", "node-a")

    async def script() -> None:
        async with following(server, wait=NodeWait(addresses_s=0.05)) as follower:
            await follower.in_step()

    asyncio.run(script())
    (trouble,) = words(caplog, "beginning without our Node")
    assert trouble["object"] == "Node node-a"


def test_ends_without_pod_networks_that_it_needs(server: ApiServer) -> None:
    async def script() -> None:
        client = open_client(ClientSettings(master=server.url, qps=-1))
        wait = NodeWait(needs_pod_cidrs=True, pod_cidrs_s=0.05)
        try:
            async for _ in watch_kubernetes(client, "node-a", wait=wait, pace=QUICK):
                pass
        finally:
            await client.close()

    with pytest.raises(UnsupportedError, match="podCIDRs"):
        asyncio.run(script())


def test_ends_when_credentials_can_never_work(server: ApiServer) -> None:
    class Hopeless:
        def request(self, *_: object, **__: object) -> object:
            raise ConfigError(setting="users[a].exec", problem="is not there")

    async def script() -> None:
        source = watch_kubernetes(Hopeless(), "node-a", wait=IMPATIENT)  # type: ignore[arg-type]
        await anext(source)

    with pytest.raises(ConfigError, match=r"users\[a\]\.exec"):
        asyncio.run(script())


def test_an_object_that_cannot_be_read_keeps_others_from_being_pruned(server: ApiServer) -> None:
    server.put(service("broken", "nowhere"))

    async def script() -> None:
        async with following(server) as follower:
            await follower.until(lambda: Listed(complete=False) in follower.events)
            assert [d.subject for d in follower.diagnostics] == ["Service default/broken"]
            assert not follower.is_listed
            server.put(service("broken"))
            await follower.in_step()
            listed = [e for e in follower.events if isinstance(e, Listed)]
            assert listed == [Listed(complete=False), Listed()]

    asyncio.run(script())


def test_whoever_takes_slowly_hears_the_last_word_only(server: ApiServer) -> None:
    async def script() -> None:
        client = open_client(ClientSettings(master=server.url, qps=-1))
        source = watch_kubernetes(client, "node-a", wait=IMPATIENT, pace=QUICK)
        events: list[Event] = []
        while Listed() not in events:
            events += (await anext(source)).events
        for n in range(1, 100):
            server.put(
                endpoint_slice(
                    "web", ["10.1.0.9"], port=n, triggered=f"2026-01-01T00:00:{n % 60:02}Z"
                )
            )
        last = server.put(service("last"))
        server.bookmark("services")
        async with asyncio.timeout(PATIENCE_S):
            while not any(isinstance(e, Upsert) and key_of(e.object)[2] == "last" for e in events):
                await asyncio.sleep(0.05)
                batch = await anext(source)
                events += batch.events
                assert len(batch.events) <= 2
        assert last > 0
        await source.aclose()
        await client.close()

    asyncio.run(script())
