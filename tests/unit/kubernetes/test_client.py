"""The client against a real HTTPS server: what it sends, what it reads, when it gives up."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from netproxy import __version__
from netproxy.errors import SourceError
from netproxy.kubernetes.client import BODY_SILENCE_S
from netproxy.kubernetes.connect import open_client
from netproxy.kubernetes.contract import ApiClient, ClientSettings
from netproxy.kubernetes.throttle import TokenBucket
from tests.unit.kubernetes.api import Authority, Handler, run, serve, settings_for, skip

AUTHORITY = Authority()
BIG = b'{"items": "' + b"x" * 300_000 + b'"}'


@asynccontextmanager
async def client_of(
    handler: Handler, tmp_path: Path, **cluster: object
) -> AsyncIterator[ApiClient]:
    """A client with a token, whose server answers as the handler does."""
    async with serve(handler, AUTHORITY.server_context()) as port:
        user = {"token": "t0ps3cret"}
        client = open_client(settings_for(tmp_path, AUTHORITY, port, user, **cluster), environ={})
        try:
            yield client
        finally:
            await client.close()


async def start_stream(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    return response


def test_what_is_asked_arrives(tmp_path: Path) -> None:
    seen: list[web.BaseRequest] = []
    bodies: list[bytes] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(request)
        bodies.append(await request.read())
        return web.Response(status=201, body=b"{}", headers={"X-Mark": "yes"})

    async def ask() -> None:
        async with (
            client_of(handler, tmp_path) as client,
            client.request(
                "PATCH",
                "/api/v1/services",
                query={"fieldSelector": "metadata.name=a b", "labelSelector": "!x,y in (1,+2)"},
                body=b"[1]",
                content_type="application/merge-patch+json",
            ) as answer,
        ):
            assert answer.status == 201
            assert answer.headers["x-mark"] == "yes"
            assert await answer.body(100) == b"{}"

    run(ask())
    [request] = seen
    assert request.method == "PATCH"
    assert request.path == "/api/v1/services"
    assert dict(request.query) == {
        "fieldSelector": "metadata.name=a b",
        "labelSelector": "!x,y in (1,+2)",
    }
    assert bodies == [b"[1]"]
    assert request.headers["Authorization"] == "Bearer t0ps3cret"
    assert request.headers["Content-Type"] == "application/merge-patch+json"
    assert request.headers["Accept"] == "application/json"
    assert request.headers["Accept-Encoding"] == "gzip"
    assert request.headers["User-Agent"].startswith(f"netproxy/{__version__} (linux/")
    assert request.headers["User-Agent"].endswith(") kubernetes")


@pytest.mark.parametrize("disable", [False, True])
def test_gzip_is_asked_for_and_understood(disable: bool, tmp_path: Path) -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        if request.headers["Accept-Encoding"] == "gzip":
            return web.Response(body=gzip.compress(BIG), headers={"Content-Encoding": "gzip"})
        return web.Response(body=BIG)

    async def ask() -> bytes:
        async with (
            client_of(handler, tmp_path, **{"disable-compression": disable}) as client,
            client.request("GET", "/") as answer,
        ):
            assert ("Content-Encoding" in answer.headers) is not disable
            return await answer.body(len(BIG))

    assert run(ask()) == BIG


@pytest.mark.parametrize("status", [302, 403, 404, 410, 429, 500])
def test_a_status_is_an_answer(status: int, tmp_path: Path) -> None:
    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, headers={"Location": "/elsewhere"}, body=b"why")

    async def ask() -> tuple[int, bytes]:
        async with client_of(handler, tmp_path) as client, client.request("GET", "/") as answer:
            return answer.status, await answer.body(10)

    assert run(ask()) == (status, b"why")


def test_a_body_has_a_limit(tmp_path: Path) -> None:
    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(body=BIG)

    async def ask() -> None:
        async with client_of(handler, tmp_path) as client, client.request("GET", "/") as answer:
            await answer.body(len(BIG) - 1)

    with pytest.raises(SourceError, match=f"more than {len(BIG) - 1} bytes"):
        run(ask())


def test_connections_are_used_again_unless_a_stream_is_left(tmp_path: Path) -> None:
    transports = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        transports.append(request.transport)
        if request.path == "/whole":
            return web.Response(body=b"{}")
        stream = await start_stream(request)
        await stream.write(b"{}\n")
        await asyncio.Event().wait()  # until the client has gone
        return stream

    async def ask() -> None:
        async with client_of(handler, tmp_path) as client:
            for path in ("/whole", "/whole", "/stream", "/whole"):
                async with client.request("GET", path) as answer:
                    lines = answer.lines(silence_s=60, limit=10)
                    assert path == "/whole" or await anext(lines) == b"{}"

    run(ask())
    assert transports[0] is transports[1] is transports[2]
    assert transports[3] is not transports[2]


def test_lines_come_whole_however_they_are_cut(tmp_path: Path) -> None:
    whole = [b"a" * 100_000, b"", b'{"b": 1}']

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        stream = await start_stream(request)
        data = b"\n".join([*whole, b"cut"])
        for start in range(0, len(data), 30_001):
            await stream.write(data[start : start + 30_001])
        return stream

    async def ask() -> list[bytes]:
        async with client_of(handler, tmp_path) as client, client.request("GET", "/") as answer:
            return [line async for line in answer.lines(silence_s=60, limit=100_000)]

    assert run(ask()) == whole


def test_a_line_has_a_limit(tmp_path: Path) -> None:
    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(body=b"short\n" + b"a" * 1001)

    async def ask() -> None:
        async with client_of(handler, tmp_path) as client, client.request("GET", "/") as answer:
            lines = answer.lines(silence_s=60, limit=1000)
            assert await anext(lines) == b"short"
            await anext(lines)

    with pytest.raises(SourceError, match="a line of more than 1000 bytes"):
        run(ask())


@pytest.mark.parametrize("reads", ["lines", "body"])
def test_a_cut_stream_is_no_end(reads: str, tmp_path: Path) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        stream = await start_stream(request)
        await stream.write(b"first\nsec")
        assert request.transport is not None
        request.transport.abort()
        return stream

    async def ask() -> None:
        async with client_of(handler, tmp_path) as client, client.request("GET", "/") as answer:
            if reads == "body":
                await answer.body(100)
            async for line in answer.lines(silence_s=60, limit=1000):
                assert line == b"first"

    with pytest.raises(SourceError, match="the answer was cut short"):
        run(ask())


def test_bytes_that_are_not_gzip_are_a_cut_answer(tmp_path: Path) -> None:
    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(body=b"not gzip at all", headers={"Content-Encoding": "gzip"})

    async def ask() -> None:
        async with client_of(handler, tmp_path) as client, client.request("GET", "/") as answer:
            await answer.body(100)

    with pytest.raises(SourceError, match="the answer was cut short"):
        run(ask())


def test_silence_ends_a_stream(tmp_path: Path) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        stream = await start_stream(request)
        await stream.write(b"one\n")
        await asyncio.Event().wait()
        return stream

    async def ask() -> None:
        async with client_of(handler, tmp_path) as client, client.request("GET", "/") as answer:
            lines = answer.lines(silence_s=300, limit=1000)
            assert await anext(lines) == b"one"
            waiting = asyncio.ensure_future(anext(lines))
            await skip(299)
            await skip(0)
            assert not waiting.done()
            await skip(1)
            await waiting

    with pytest.raises(SourceError, match="nothing was heard for 300 s"):
        run(ask())


def test_silence_ends_a_body(tmp_path: Path) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        stream = await start_stream(request)
        await stream.write(b"{")
        await asyncio.Event().wait()
        return stream

    async def ask() -> None:
        async with client_of(handler, tmp_path) as client, client.request("GET", "/") as answer:
            waiting = asyncio.ensure_future(answer.body(100))
            await skip(BODY_SILENCE_S)
            await skip(BODY_SILENCE_S)
            await waiting

    with pytest.raises(SourceError, match="nothing was heard for 30 s"):
        run(ask())


def test_the_kernel_asks_whether_the_peer_of_a_stream_is_there(tmp_path: Path) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = await start_stream(request)
        await response.write(b"x\n")
        await asyncio.Event().wait()
        return response

    async def ask() -> None:
        async with (
            client_of(handler, tmp_path) as client,
            client.request("GET", "/watch") as answer,
        ):
            await anext(answer.lines(silence_s=30, limit=100))
            assert (1, 15, 10, 3) in probes()

    run(ask())


def probes() -> set[tuple[int, ...]]:
    """How the kernel asks for the peers of this process's connections."""
    found = set()
    open_files = [file for file in Path("/proc/self/fd").iterdir() if file.exists()]
    for file in open_files:
        if stat.S_ISSOCK(file.stat().st_mode):  # not all of them are of TCP
            with socket.socket(fileno=os.dup(int(file.name))) as one, contextlib.suppress(OSError):
                is_on = one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                times = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                found.add((is_on, *(one.getsockopt(socket.IPPROTO_TCP, each) for each in times)))
    return found


def test_a_head_has_to_come_in_time(tmp_path: Path) -> None:
    async def ask() -> None:
        asked = asyncio.Event()

        async def handler(_: web.BaseRequest) -> web.Response:
            asked.set()
            await asyncio.Event().wait()
            return web.Response()

        async with client_of(handler, tmp_path) as client:
            request = client.request("GET", "/", head_s=45)
            waiting = asyncio.ensure_future(request.__aenter__())
            await asked.wait()
            await skip(45)
            await waiting

    with pytest.raises(SourceError, match="no answer within 45 s") as caught:
        run(ask())
    assert caught.value.hint


def test_a_connection_has_to_come_about_in_time() -> None:
    async def ask() -> None:
        accepted = asyncio.Event()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set()
            await reader.read()  # the client begins with TLS, and is never answered
            writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = open_client(ClientSettings(master=f"https://127.0.0.1:{port}"), environ={})
        waiting = asyncio.ensure_future(client.request("GET", "/").__aenter__())
        await accepted.wait()
        await skip(12)  # the library rounds up to whole seconds
        async with server:
            try:
                await waiting
            finally:
                await client.close()

    with pytest.raises(SourceError, match="no connection within 10 s"):
        run(ask())


def test_many_requests_wait_for_their_turn(tmp_path: Path) -> None:
    count = 0

    async def handler(_: web.BaseRequest) -> web.Response:
        nonlocal count
        count += 1
        return web.Response(body=b"{}")

    async def ask() -> float:
        async with serve(handler, AUTHORITY.server_context()) as port:
            settings = settings_for(tmp_path, AUTHORITY, port, {})
            client = open_client(settings._replace(qps=0.01, burst=2), environ={})

            async def one() -> None:
                async with client.request("GET", "/"):
                    pass

            await one()
            await one()
            third = asyncio.ensure_future(one())
            await skip(99)
            await skip(0)
            assert (count, third.done()) == (2, False)
            await skip(1)
            await third
            await client.close()
        return count

    assert run(ask()) == 3


def test_tokens_come_back_with_time() -> None:
    bucket = TokenBucket(5, 10)
    assert [bucket.take(100.0) for _ in range(10)] == [0.0] * 10
    assert bucket.take(100.0) == pytest.approx(0.2)
    assert bucket.take(100.0) == pytest.approx(0.4)
    assert bucket.take(101.0) == 0.0
    assert [bucket.take(1000.0) for _ in range(11)][9:] == [0.0, pytest.approx(0.2)]


def test_a_bucket_of_nothing_in_particular_is_kube_proxys() -> None:
    bucket = TokenBucket(0, 0)
    assert [bucket.take(0.0) for _ in range(11)][9:] == [0.0, pytest.approx(0.2)]
    assert [TokenBucket(-1, 1).take(0.0) for _ in range(100)] == [0.0] * 100


def test_an_observer_hears_of_answers_and_of_their_absence(tmp_path: Path) -> None:
    heard: list[tuple[str, str, int | None]] = []

    def observe(method: str, host: str, status: int | None, seconds: float) -> None:
        assert seconds >= 0
        heard.append((method, host, status))

    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response(status=404)

    async def ask() -> int:
        async with serve(handler, AUTHORITY.server_context()) as port:
            settings = settings_for(tmp_path, AUTHORITY, port, {"token": "t0ps3cret"})
            client = open_client(settings, environ={}, observe=observe)
            async with client.request("GET", "/api"):
                pass
        with pytest.raises(SourceError):
            async with client.request("DELETE", "/api"):
                pass
        await client.close()
        return port

    port = run(ask())
    assert heard == [("GET", f"127.0.0.1:{port}", 404), ("DELETE", f"127.0.0.1:{port}", None)]
