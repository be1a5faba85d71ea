"""The API server of the tests, asked by an ordinary HTTP client."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import aiohttp
import pytest
import trustme

from tests.kube.faults import (
    EXPIRED_EVENT,
    GARBAGE,
    NO_STREAMING_LISTS,
    Ask,
    Cut,
    Preface,
    Silence,
    Slow,
    status,
)
from tests.kube.objects import endpoint_slice, node, service, service_cidr
from tests.kube.server import ApiServer

SERVICES = "/api/v1/services"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
STREAMING = {
    "watch": "true",
    "sendInitialEvents": "true",
    "resourceVersionMatch": "NotOlderThan",
    "allowWatchBookmarks": "true",
}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


class Client:
    """Asks as a test wants it."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self.session = aiohttp.ClientSession(auto_decompress=False)

    async def get(self, path: str, **query: str) -> Any:
        async with self.session.get(self._server.url + path, params=query) as answer:
            return await answer.json()

    async def lines(self, path: str, **query: str) -> AsyncIterator[Any]:
        async with self.session.get(self._server.url + path, params=query) as answer:
            async for line in answer.content:
                yield json.loads(line)


def ask(server: ApiServer, script: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
    """Run a test's script with a client."""

    async def run() -> None:
        client = Client(server)
        async with asyncio.timeout(60), client.session:
            await script(client)

    asyncio.run(run())


def names(answer: Any) -> list[str]:
    return [item["metadata"]["name"] for item in answer["items"]]


def told(event: Any) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"].get("name", "")


def test_lists_in_pages_of_one_moment(server: ApiServer) -> None:
    server.put(*(service(f"web-{n}") for n in range(5)))

    async def script(client: Client) -> None:
        first = await client.get(SERVICES, limit="2")
        assert names(first) == ["web-0", "web-1"]
        assert first["kind"] == "ServiceList"
        assert first["metadata"]["remainingItemCount"] == 3
        server.delete("services", "web-4")
        token = first["metadata"]["continue"]
        second = await client.get(SERVICES, limit="3", **{"continue": token})
        assert names(second) == ["web-2", "web-3", "web-4"]
        assert second["metadata"] == {"resourceVersion": first["metadata"]["resourceVersion"]}
        assert names(await client.get(SERVICES, limit="2", resourceVersion="0")) == [
            f"web-{n}" for n in range(4)
        ]
        server.expire("services")
        gone = await client.get(SERVICES, **{"continue": token})
        assert (gone["code"], gone["reason"]) == (410, "Expired")

    ask(server, script)


def test_watches_what_is_selected(server: ApiServer) -> None:
    server.put(service("web"), service("other", labels={"odd": ""}), service("none", "None"))

    async def script(client: Client) -> None:
        selectors = {"labelSelector": "!odd", "fieldSelector": "spec.clusterIP!=None"}
        lines = client.lines(SERVICES, **STREAMING, **selectors)
        assert told(await anext(lines)) == ("ADDED", "web")
        end = await anext(lines)
        assert end["type"] == "BOOKMARK"
        assert end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        server.put(service("other"))
        assert told(await anext(lines)) == ("ADDED", "other")
        server.put(service("other", port=81))
        assert told(await anext(lines)) == ("MODIFIED", "other")
        left = server.put(service("other", labels={"odd": "yes"}))
        gone = await anext(lines)
        assert told(gone) == ("DELETED", "other")
        assert gone["object"]["metadata"]["resourceVersion"] == str(left)
        server.delete("services", "web")
        assert told(await anext(lines)) == ("DELETED", "web")
        server.bookmark("services")
        assert (await anext(lines))["type"] == "BOOKMARK"

    ask(server, script)


def test_resumes_where_the_client_was_unless_that_is_forgotten(server: ApiServer) -> None:
    version = server.put(service("web"))

    async def script(client: Client) -> None:
        server.put(service("db"))
        query = {"watch": "true", "resourceVersion": str(version)}
        assert told(await anext(client.lines(SERVICES, **query))) == ("ADDED", "db")
        query["timeoutSeconds"] = "0"
        assert [told(e) async for e in client.lines(SERVICES, **query)] == [("ADDED", "db")]
        server.expire("services")
        assert [e async for e in client.lines(SERVICES, **query)] == [json.loads(EXPIRED_EVENT)]
        ahead = await client.get(SERVICES, resourceVersion="1000", watch="true")
        assert ahead["code"] == 504
        assert ahead["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"

    ask(server, script)


def test_refuses_streaming_lists_that_are_asked_for_wrongly_or_when_told(
    server: ApiServer,
) -> None:
    async def script(client: Client) -> None:
        wrong = {**STREAMING, "resourceVersionMatch": ""}
        assert (await client.get(SERVICES, **wrong))["code"] == 422
        server.fail("services", NO_STREAMING_LISTS, asks=[Ask.INITIAL], times=math.inf)
        assert (await client.get(SERVICES, **STREAMING))["code"] == 422
        assert (await client.get(SERVICES, **STREAMING))["code"] == 422
        assert names(await client.get(SERVICES)) == []
        server.recover()
        assert (await anext(client.lines(SERVICES, **STREAMING)))["type"] == "BOOKMARK"

    ask(server, script)


def test_faults_come_as_often_as_the_test_says(server: ApiServer) -> None:
    server.fail("services", status(429, "TooManyRequests", retry_after="7"), times=2)
    server.fail("services", GARBAGE)

    async def script(client: Client) -> None:
        for _ in range(2):
            async with client.session.get(server.url + SERVICES) as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
        async with client.session.get(server.url + SERVICES) as answer:
            assert await answer.read() == GARBAGE.body
        assert names(await client.get(SERVICES)) == []

    ask(server, script)


def test_cuts_hushes_and_says_what_the_test_wants(server: ApiServer) -> None:
    async def script(client: Client) -> None:
        async with client.session.get(server.url + SERVICES, params=STREAMING) as answer:
            await answer.content.readline()
            server.say("services", b"what?\n")
            assert await answer.content.readline() == b"what?\n"
            assert server.watchers("services") == 1
            server.hush("services")
            server.put(service("web"))
            server.cut("services")
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.content.readline()

    ask(server, script)


@pytest.mark.parametrize(
    ("fault", "read"),
    [
        (Cut(100), 100),
        (Silence(100), 100),
        (Slow(7), 10**9),
        (Preface(b"x"), 10**9),
    ],
)
def test_answers_are_cut_slow_or_stuck(
    server: ApiServer, fault: Cut | Silence | Slow | Preface, read: int
) -> None:
    server.put(*(service(f"web-{n}") for n in range(3)))
    server.fail("services", fault, asks=[Ask.INITIAL])

    async def script(client: Client) -> None:
        async with client.session.get(server.url + SERVICES, params=STREAMING) as answer:
            data = b""
            while len(data) < read and data.count(b"\n") < 4:
                data += await answer.content.read(64)
            assert data.startswith(b"x" if isinstance(fault, Preface) else b'{"type":"ADDED"')

    ask(server, script)


def test_is_restored_from_a_backup_with_lower_versions(server: ApiServer) -> None:
    version = server.put(*(service(f"web-{n}") for n in range(2)))
    backup = server.storage.backup()
    server.put(service("web-2"))
    server.restore(backup)

    async def script(client: Client) -> None:
        answer = await client.get(SERVICES)
        assert names(answer) == ["web-0", "web-1"]
        assert answer["metadata"]["resourceVersion"] == str(version)

    ask(server, script)


def test_stops_and_comes_back_on_the_same_port(server: ApiServer) -> None:
    server.put(node("node-a"))

    async def script(client: Client) -> None:
        async with client.session.get(server.url + SERVICES, params=STREAMING) as answer:
            await asyncio.to_thread(server.stop)
            with pytest.raises(aiohttp.ClientError):
                await answer.content.read()
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get(SERVICES)
        await asyncio.to_thread(server.start)
        assert (await client.get("/api/v1/nodes/node-a"))["metadata"]["name"] == "node-a"
        assert (await client.get("/api/v1/nodes/node-b"))["code"] == 404
        assert (await client.get("/api/v1/nosuch"))["code"] == 404

    ask(server, script)


def test_keeps_what_clients_write(server: ApiServer) -> None:
    events = "/apis/events.k8s.io/v1/namespaces/default/events"
    event = {"metadata": {"name": "node-a.1"}, "reason": "Starting", "note": "x"}

    async def script(client: Client) -> None:
        async with client.session.post(server.url + events, json=event) as answer:
            assert answer.status == 201
        async with client.session.post(server.url + events, json=event) as answer:
            assert answer.status == 409
        patch = {"series": {"count": 2}, "note": None}
        async with client.session.patch(f"{server.url}{events}/node-a.1", json=patch) as answer:
            assert answer.status == 200
        async with client.session.patch(f"{server.url}{events}/node-b.1", json=patch) as answer:
            assert answer.status == 404
        assert server.requests[-1].body == json.dumps(patch).encode()

    ask(server, script)
    (kept,) = server.objects("events")
    assert (kept["reason"], kept["series"], "note" in kept) == ("Starting", {"count": 2}, False)


def test_speaks_tls_and_knows_its_clients() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with ApiServer(tls=context, tokens=["secret"]) as server:
        server.put(service_cidr("10.96.0.0/16"))

        async def script(client: Client) -> None:
            url = f"{server.url}/apis/networking.k8s.io/v1/servicecidrs"
            async with client.session.get(url, ssl=trust) as answer:
                assert answer.status == 401
            secret = {"Authorization": "Bearer secret"}
            async with client.session.get(url, ssl=trust, headers=secret) as answer:
                assert names(await answer.json()) == ["kubernetes"]

        ask(server, script)


@pytest.mark.slow
def test_serves_ten_thousand_of_each(server: ApiServer) -> None:
    for n in range(10_000):
        server.put(service(f"web-{n}"))
        server.put(endpoint_slice(f"web-{n}", [f"10.1.{i}.{n % 256}" for i in range(5)]))

    async def script(client: Client) -> None:
        async with client.session.get(
            server.url + SERVICES, headers={"Accept-Encoding": "gzip"}
        ) as answer:
            data = gzip.decompress(await answer.read())
            assert data.count(b'"apiVersion":"v1","kind":"Service"') == 10_000
        count = 0
        async with client.session.get(server.url + SLICES, params=STREAMING) as answer:
            while count < 10_001:
                count += (await answer.content.readany()).count(b"\n")

    ask(server, script)
