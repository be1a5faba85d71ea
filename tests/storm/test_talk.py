"""HTTP as it is spoken well, badly, slowly, and too much."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from netproxy.apiserver.instance import BODY_LIMIT, Instance
from netproxy.web import api_server
from tests.storm.inside import with_server
from tests.storm.wire import Access, Closed, Wire, connect, connect_locally

_MAPS = "/api/v1/namespaces/default/configmaps"


def _map(name: str, size: int = 1) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"a": "b" * size},
    }


async def _is_ended(wire: Wire) -> bool:
    """Whether the other side hangs up, having said nothing."""
    try:
        return not await wire.reader.read(1)
    except OSError:
        return True


def test_requests_that_come_at_once_are_answered_in_their_order(tmp_path: Path) -> None:
    async def work(instance: Instance, access: Access) -> None:
        del instance
        async with connect(access) as wire:
            for number in range(50):
                wire.say("POST", _MAPS, _map(f"m{number}"))
                wire.say("GET", f"{_MAPS}/m{number}")
                wire.say("GET", f"{_MAPS}/none{number}")
            for number in range(50):
                made, found, missing = [await wire.hear() for _ in range(3)]
                assert (made.status, found.status, missing.status) == (201, 200, 404)
                assert made.object == found.object
                assert found.object["metadata"]["name"] == f"m{number}"
                assert missing.object["details"]["name"] == f"none{number}"

    with_server(tmp_path, work)


def test_a_connection_is_kept_unless_its_client_wants_otherwise(tmp_path: Path) -> None:
    async def work(instance: Instance, access: Access) -> None:
        del instance
        async with connect(access) as wire:
            for _ in range(3):
                assert (await wire.ask("GET", "/version")).status == 200
            assert (await wire.ask("GET", "/version", None, {"Connection": "close"})).status == 200
            assert await _is_ended(wire)

    with_server(tmp_path, work)


@pytest.mark.parametrize(
    "said",
    [
        b"hello\r\n\r\n",
        b"GET /version HTTP/9.9\r\n\r\n",
        b"GET /version HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /version HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /version HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /version HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\xa5",
        b"\0" * 100_000,
    ],
)
def test_what_is_no_http_is_refused_and_hurts_nobody(tmp_path: Path, said: bytes) -> None:
    async def work(instance: Instance, access: Access) -> None:
        del instance
        async with connect(access) as bad, connect(access) as good:
            bad.writer.write(said + b"\r\n\r\n")
            try:
                status, _ = await bad.head()
                assert 400 <= status < 500
            except Closed:
                pass
            assert (await good.ask("GET", "/version")).status == 200

    with_server(tmp_path, work)


def test_long_answers_are_compressed_for_who_wants_it(tmp_path: Path) -> None:
    async def work(instance: Instance, access: Access) -> None:
        del instance
        async with connect(access) as wire:
            for number in range(3):
                await wire.ask("POST", _MAPS, _map(f"m{number}", api_server.COMPRESS_FROM))
            plain = await wire.ask("GET", _MAPS)
            assert "content-encoding" not in plain.headers
            short = await wire.ask("GET", "/version", None, {"Accept-Encoding": "gzip"})
            assert "content-encoding" not in short.headers
            packed = await wire.ask("GET", _MAPS, None, {"Accept-Encoding": "br, gzip"})
            assert packed.headers["content-encoding"] == "gzip"
            assert json.loads(gzip.decompress(packed.body)) == plain.object
            assert (await wire.ask("GET", "/version")).status == 200

    with_server(tmp_path, work)


@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
def test_a_body_that_is_too_long_is_refused(tmp_path: Path, is_chunked: bool) -> None:
    async def work(instance: Instance, access: Access) -> None:
        del instance
        long = b'"' + b"x" * BODY_LIMIT
        if is_chunked:
            length = {"Transfer-Encoding": "chunked"}
            long = b"%x\r\n%b\r\n0\r\n\r\n" % (len(long), long)
        else:
            length = {"Content-Length": str(len(long))}
        head = {"Authorization": f"Bearer {access.token}", "Host": "x", **length}
        said = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        async with connect(access) as wire:
            wire.writer.write(f"POST {_MAPS} HTTP/1.1\r\n{said}\r\n".encode())
            wire.writer.write(long)
            reply = await wire.hear()
            assert reply.status == 413
            assert reply.object["reason"] == "RequestEntityTooLarge"
            assert await _is_ended(wire)
        async with connect(access) as wire:
            # One that just fits is read, and is no object.
            assert (await wire.ask("POST", _MAPS, b"x" * BODY_LIMIT)).status == 400

    with_server(tmp_path, work)


def test_who_asks_whether_to_send_its_body_is_told(tmp_path: Path) -> None:
    async def work(instance: Instance, access: Access) -> None:
        del instance
        body = json.dumps(_map("m")).encode()
        expecting = {"Expect": "100-continue", "Content-Length": str(len(body))}
        async with connect(access) as wire:
            wire.say("POST", _MAPS, None, {**expecting, "Content-Type": "application/json"})
            assert (await wire.head())[0] == 100
            wire.writer.write(body)
            assert (await wire.hear()).status == 201
        async with connect(access._replace(token="")) as wire:
            wire.say("POST", _MAPS, None, expecting)
            assert (await wire.head())[0] == 401

    with_server(tmp_path, work)


def test_a_body_that_does_not_arrive_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_server, "BODY_S", 0.05)

    async def work(instance: Instance, access: Access) -> None:
        del instance
        async with connect(access) as wire:
            wire.say("POST", _MAPS, None, {"Content-Length": "10"})
            reply = await wire.hear()
            assert (reply.status, reply.object["reason"]) == (408, "Timeout")

    with_server(tmp_path, work)


def test_a_connection_that_never_asks_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_server, "FIRST_REQUEST_S", 0.3)

    async def work(instance: Instance, access: Access) -> None:
        async with connect_locally(instance.socket) as silent:
            assert await _is_ended(silent)
        async with connect(access) as half:
            half.writer.write(b"GET /version HTTP/1.1\r\nHost: ")
            assert await _is_ended(half)
        reader, writer = await asyncio.open_connection(access.host, access.port)
        assert await _is_ended(Wire(reader, writer))  # not even TLS
        writer.transport.abort()
        async with connect(access) as asking:
            assert (await asking.ask("GET", "/version")).status == 200
            await asyncio.sleep(0.5)
            assert (await asking.ask("GET", "/version")).status == 200

    with_server(tmp_path, work)


def test_a_client_who_falls_silent_between_requests_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def door(handler: Any) -> Any:
        made = known(handler)
        made._kwargs["keepalive_timeout"] = 0.1
        return made

    known = api_server._Door
    monkeypatch.setattr(api_server, "_Door", door)

    async def work(instance: Instance, access: Access) -> None:
        del instance
        async with connect(access) as wire:
            assert (await wire.ask("GET", "/version")).status == 200
            wire.writer.write(b"GET /ver")
            assert await _is_ended(wire)

    with_server(tmp_path, work)


def test_there_are_only_so_many_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_server, "MOST_CONNECTIONS", 3)

    async def work(instance: Instance, access: Access) -> None:
        del access
        kept = [await asyncio.open_unix_connection(instance.socket) for _ in range(3)]
        wires = [Wire(*each) for each in kept]
        for each in wires:
            assert (await each.ask("GET", "/version")).status == 200
        async with connect_locally(instance.socket) as late:
            assert await _is_ended(late)
        wires[0].writer.transport.abort()
        for each in wires[1:]:
            assert (await each.ask("GET", "/version")).status == 200
        async with connect_locally(instance.socket) as wire:
            assert (await wire.ask("GET", "/version")).status == 200
        for each in wires[1:]:
            each.writer.transport.abort()

    with_server(tmp_path, work)


def test_the_kernel_is_told_to_give_up_on_the_dead() -> None:
    """A host that was switched off is more than a test can wait for."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as connection:
        connection.connect(server.getsockname())
        api_server._give_up_early(connection)
        names = ("TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
        told = {
            name: connection.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names
        }
    assert told == dict(zip(names, (60_000, 30, 10, 3), strict=True))


def test_a_write_whose_client_hangs_up_at_once_is_whole_or_not_there(tmp_path: Path) -> None:
    async def work(instance: Instance, access: Access) -> None:
        del instance
        for number in range(20):
            async with connect(access) as wire:
                wire.say("POST", _MAPS, _map(f"m{number}"))
                await wire.writer.drain()
        async with connect(access) as wire:
            listed = (await wire.ask("GET", _MAPS)).object["items"]
            for each in listed:
                assert each["data"] == {"a": "b"}
            assert (await wire.ask("POST", _MAPS, _map("last"))).status == 201

    with_server(tmp_path, work)
