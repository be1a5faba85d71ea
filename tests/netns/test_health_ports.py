"""Health-check ports on real sockets: which are open, who may visit, what is said of trouble."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

import pytest

from netproxy.core.health import HealthNews, ServiceHealth
from netproxy.health.ports import HealthPorts, ListenTrouble
from netproxy.model.ip import Family, IPAddress
from netproxy.model.names import ServiceKey
from netproxy.web import server
from tests.netns.namespace import NetworkNamespace
from tests.patience import patience

WEB, DB = ServiceKey("default", "web"), ServiceKey("default", "db")
HOME, HOME6 = IPAddress("127.0.0.1"), IPAddress("::1")
OTHER = IPAddress("127.0.0.2")
PORT = 32000
PATIENCE_S = patience(20)


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


async def ask(
    address: str = HOME, port: int = PORT, request: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
) -> Reply:
    """Everything that comes until the other side closes."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(address, port)
        writer.write(request)
        raw = await reader.read()
        writer.close()
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return Reply(int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body)


async def is_open(address: str = HOME, port: int = PORT) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


def news(
    *services: ServiceHealth,
    gone: tuple[ServiceKey, ...] = (),
    family: Family = Family.IPV4,
    addresses: tuple[IPAddress, ...] = (),
) -> HealthNews:
    changed: dict[ServiceKey, ServiceHealth | None] = {one.service: one for one in services}
    return HealthNews(family, addresses, {**dict.fromkeys(gone), **changed})


class Node:
    """Health ports, and what they said."""

    def __init__(self) -> None:
        self.said: list[ListenTrouble] = []
        self.is_healthy = True
        self.ports = HealthPorts(lambda: self.is_healthy, self.said.append)

    def hear(self, *all_news: HealthNews) -> None:
        for each in all_news:
            self.ports.update(each)


Play = Callable[[Callable[[Node], Awaitable[None]]], None]


@pytest.fixture
def play(netns: NetworkNamespace) -> Play:
    """Runs an asynchronous scene inside a namespace; afterwards nothing is left open."""

    def run(scene: Callable[[Node], Awaitable[None]]) -> None:
        async def whole() -> None:
            node = Node()
            await scene(node)
            node.ports.close()
            assert not await is_open()

        netns.call(lambda: asyncio.run(whole()))

    return run


def test_answers_in_both_families(play: Play) -> None:
    async def scene(node: Node) -> None:
        node.hear(news(ServiceHealth(WEB, PORT, 2)))
        assert not await is_open(HOME6), "one family's server is not the other's"
        node.hear(news(ServiceHealth(WEB, PORT, 1), family=Family.IPV6))
        four, six = await ask(), await ask(HOME6)
        assert (four.status, six.status) == (200, 200)
        assert four.headers["X-Load-Balancing-Endpoint-Weight"] == "2"
        assert six.headers["X-Load-Balancing-Endpoint-Weight"] == "1"
        assert four.headers["Content-Type"] == "application/json"
        assert four.headers["X-Content-Type-Options"] == "nosniff"
        assert json.loads(four.body) == {
            "service": {"namespace": "default", "name": "web"},
            "localEndpoints": 2,
            "serviceProxyHealthy": True,
        }

    play(scene)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /any/path?at=all HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PROPFIND /pot HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_any_path_and_any_method(play: Play, request_: bytes) -> None:
    async def scene(node: Node) -> None:
        node.hear(news(ServiceHealth(WEB, PORT, 1)))
        reply = await ask(request=request_)
        assert reply.status == 200
        assert json.loads(reply.body)["localEndpoints"] == 1

    play(scene)


def test_head_has_the_headers_and_no_body(play: Play) -> None:
    async def scene(node: Node) -> None:
        node.hear(news(ServiceHealth(WEB, PORT, 0)))
        reply = await ask(request=b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert reply.status == 503
        assert reply.headers["X-Load-Balancing-Endpoint-Weight"] == "0"
        assert reply.body == b""

    play(scene)


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"no such thing\r\n\r\n",
        b"GET /" + b"a" * 100_000,
        b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"a" * 100_000,
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
    ],
    ids=["TLS", "garbage", "long line", "long header", "many headers"],
)
def test_nonsense_is_refused_without_a_word_in_the_log(
    play: Play, request_: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    async def scene(node: Node) -> None:
        node.hear(news(ServiceHealth(WEB, PORT, 1)))
        try:
            reply = await ask(request=request_)
        except ConnectionResetError:
            pass  # while it was still speaking
        else:
            assert reply.status == 400
        assert (await ask()).status == 200

    play(scene)
    assert capfd.readouterr() == ("", "")


def test_follows_the_news(play: Play) -> None:
    async def scene(node: Node) -> None:
        node.hear(news(ServiceHealth(WEB, PORT, 1)))
        node.hear(news(ServiceHealth(WEB, PORT, 0)))
        assert (await ask()).status == 503
        node.hear(news(ServiceHealth(WEB, PORT + 1, 1)))
        assert not await is_open()
        assert (await ask(port=PORT + 1)).status == 200
        node.is_healthy = False
        reply = await ask(port=PORT + 1)
        assert reply.status == 503
        assert json.loads(reply.body)["serviceProxyHealthy"] is False
        node.hear(news(gone=(WEB,)))
        assert not await is_open(port=PORT + 1)
        assert node.said == []

    play(scene)


def test_a_port_goes_from_one_service_to_another_and_two_change_places(play: Play) -> None:
    async def scene(node: Node) -> None:
        node.hear(news(ServiceHealth(WEB, PORT, 1)))
        node.hear(news(ServiceHealth(DB, PORT, 2), gone=(WEB,)))
        assert json.loads((await ask()).body)["service"]["name"] == "db"
        node.hear(news(ServiceHealth(WEB, PORT + 1, 1)))
        node.hear(news(ServiceHealth(DB, PORT + 1, 1), ServiceHealth(WEB, PORT, 1)))
        assert json.loads((await ask()).body)["service"]["name"] == "web"
        assert json.loads((await ask(port=PORT + 1)).body)["service"]["name"] == "db"
        assert node.said == []

    play(scene)


def test_listens_where_nodeports_are_accepted_and_follows(play: Play) -> None:
    async def scene(node: Node) -> None:
        web = ServiceHealth(WEB, PORT, 1)
        node.hear(news(web, addresses=(OTHER,)))
        assert (await is_open(OTHER), await is_open(HOME)) == (True, False)
        node.hear(news(addresses=(HOME, OTHER)))
        assert (await is_open(OTHER), await is_open(HOME)) == (True, True)
        node.hear(news(addresses=(HOME,)))
        assert (await is_open(OTHER), await is_open(HOME)) == (False, True)
        node.hear(news())
        assert (await is_open(OTHER), await is_open(HOME)) == (True, True)
        node.hear(news(addresses=(HOME6,), family=Family.IPV6))
        assert (await is_open(OTHER), await is_open(HOME)) == (True, True)
        assert node.said == []

    play(scene)


def test_an_address_that_is_not_there_yet_does_not_keep_others_closed(play: Play) -> None:
    async def scene(node: Node) -> None:
        absent = IPAddress("192.0.2.7")
        node.hear(news(ServiceHealth(WEB, PORT, 1), addresses=(absent, HOME)))
        assert await is_open(HOME)
        (said,) = node.said
        assert said[:4] == (WEB, PORT, absent, "Cannot assign requested address")
        node.hear(news(addresses=(HOME,)))
        assert node.said == [said], "what is no longer wanted is neither trouble nor its end"

    play(scene)


def test_a_port_in_use_is_said_once_and_tried_with_all_news(play: Play) -> None:
    async def scene(node: Node) -> None:
        with socket.create_server((HOME, PORT)):
            node.hear(news(ServiceHealth(WEB, PORT, 1)))
            node.hear(news(), news(ServiceHealth(WEB, PORT, 2)))
            (said,) = node.said
            assert said[:4] == (WEB, PORT, "0.0.0.0", "Address already in use")
            assert "load balancers" in said.hint
        node.hear(news())
        assert (await ask()).headers["X-Load-Balancing-Endpoint-Weight"] == "2"
        assert node.said == [said, said._replace(error="", hint="")]

    play(scene)


def test_two_services_with_one_port_are_told_of_each_other(play: Play) -> None:
    async def scene(node: Node) -> None:
        node.hear(news(ServiceHealth(WEB, PORT, 1)))
        node.hear(news(ServiceHealth(DB, PORT, 1)))
        (said,) = node.said
        assert (said.service, said.port) == (DB, PORT)
        assert "default/web has the same healthCheckNodePort" in said.hint
        node.hear(news(gone=(WEB,)))
        assert json.loads((await ask()).body)["service"]["name"] == "db"

    play(scene)


def test_idle_connections_do_not_keep_anybody_out(play: Play) -> None:
    async def scene(node: Node) -> None:
        node.hear(news(ServiceHealth(WEB, PORT, 1)))
        idle = []
        for _ in range(server.MOST_CONNECTIONS + 50):
            _, writer = await asyncio.open_connection(HOME, PORT)
            writer.write(b"GET / HT")
            idle.append(writer)
        assert (await ask()).status == 200
        for writer in idle:
            writer.close()

    play(scene)


def test_who_does_not_ask_is_shown_out(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.Visitors.__init__, "__defaults__", (10, 0.05))

    async def scene(node: Node) -> None:
        node.hear(news(ServiceHealth(WEB, PORT, 1)))
        reader, writer = await asyncio.open_connection(HOME, PORT)
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()

    play(scene)


def test_a_service_that_goes_takes_its_connections_along(play: Play) -> None:
    async def scene(node: Node) -> None:
        node.hear(news(ServiceHealth(WEB, PORT, 1)))
        reader, writer = await asyncio.open_connection(HOME, PORT)
        writer.write(b"GET / HT")
        assert (await ask()).status == 200, "so the other one was accepted, too"
        node.hear(news(gone=(WEB,)))
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()

    play(scene)


@pytest.mark.parametrize("turns", range(6))
def test_nobody_who_comes_while_a_port_closes_is_left_waiting(play: Play, turns: int) -> None:
    """So many turns of the loop after a connection came, which is somewhere on its way in."""

    async def scene(node: Node) -> None:
        node.hear(news(ServiceHealth(WEB, PORT, 1)))
        with socket.create_connection((HOME, PORT), PATIENCE_S) as client:
            client.sendall(b"GET / HT")
            for _ in range(turns):
                await asyncio.sleep(0)
            node.hear(news(gone=(WEB,)))
            with suppress(ConnectionResetError):  # nobody had looked at it yet
                assert await asyncio.to_thread(client.recv, 100) == b""

    play(scene)


def test_no_file_descriptors_left_is_not_the_end(play: Play) -> None:
    async def scene(node: Node) -> None:
        node.hear(news(ServiceHealth(WEB, PORT, 1)))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as client:
            client.connect((HOME, PORT))
            resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno(), hard))
            try:
                for _ in range(5):
                    await asyncio.sleep(0)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            client.settimeout(PATIENCE_S)
            assert (await asyncio.to_thread(client.recv, 100)).startswith(b"HTTP/1.1 200 ")

    play(scene)


def test_another_configuration_closes_what_it_does_not_know(play: Play) -> None:
    async def scene(node: Node) -> None:
        node.hear(news(ServiceHealth(WEB, PORT, 2)), news(family=Family.IPV6))
        node.hear(news(ServiceHealth(WEB, PORT, 3))._replace(is_whole=True))
        assert (await ask()).headers["X-Load-Balancing-Endpoint-Weight"] == "3"
        node.hear(news(family=Family.IPV6)._replace(is_whole=True))
        assert await is_open(), "the families do not close each other's ports"
        node.hear(news()._replace(is_whole=True))
        assert not await is_open()

    play(scene)
