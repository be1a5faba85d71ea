"""A real server on loopback: datagrams, connections, limits, strangers, figures."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import dns.asyncquery
import dns.asyncresolver
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.resolver
import pytest
from prometheus_client.parser import text_string_to_metric_families

from netproxy.dns import streams
from netproxy.dns.responder import Responder
from netproxy.dns.server import DnsServer
from netproxy.dns.settings import DnsSettings
from netproxy.dns.upstreams import Upstream, parse_upstream
from netproxy.dns.zone import ZoneSettings
from netproxy.errors import ConfigError, UnsupportedError
from netproxy.metrics.dns import dns_figures
from netproxy.metrics.registry import render
from netproxy.model.ip import IPAddress, Prefix, parse_prefix
from netproxy.web import Place
from tests.dns.asking import query, words
from tests.dns.cluster import SETTINGS, endpoint, filled, headless, put, slice_of
from tests.dns.upstream import records, upstream_server

HERE = IPAddress("127.0.0.1")
WEB = "web.default.svc.cluster.local."
NAME = "www.example.com."
PATIENCE_S = 20.0
Story = Callable[[DnsServer, Responder], Coroutine[Any, Any, None]]


@asynccontextmanager
async def serving(
    *,
    upstreams: tuple[Upstream, ...] = (),
    clients: tuple[Prefix, ...] | None = None,
    hosts: tuple[str, ...] = (HERE,),
) -> AsyncIterator[tuple[DnsServer, Responder]]:
    """A server with the cluster of tests."""
    places = tuple(Place(IPAddress(host), 0) for host in hosts)
    settings = DnsSettings(places, SETTINGS, upstreams)
    if clients is not None:
        settings = settings._replace(clients=clients)
    responder = filled()
    server = DnsServer(responder, settings)
    await server.open()
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield server, responder
    finally:
        await server.close()


def port_of(server: DnsServer) -> int:
    return server.places[0].port


async def udp(server: DnsServer, raw: bytes, host: str = HERE) -> bytes:
    """What comes back for a datagram."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((host, port_of(server)))
        sock.send(raw)
        return await loop.sock_recv(sock, 65535)


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, server: DnsServer) -> Client:
        return cls(*await asyncio.open_connection(HERE, port_of(server)))

    def send(self, *raw: bytes) -> None:
        self._writer.write(b"".join(struct.pack(">H", len(each)) + each for each in raw))

    def send_raw(self, raw: bytes) -> None:
        self._writer.write(raw)

    def finish(self) -> None:
        self._writer.write_eof()

    async def hear(self) -> dns.message.Message:
        (length,) = struct.unpack(">H", await self._reader.readexactly(2))
        return dns.message.from_wire(await self._reader.readexactly(length))

    async def is_closed(self) -> bool:
        try:
            return await self._reader.read() == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self._writer.close()


def test_all_that_is_asked_at_once_over_udp_is_answered() -> None:
    async def story() -> None:
        async with serving() as (server, _):
            names = [WEB, WEB.upper(), f"x.{WEB}", "db.default.svc.cluster.local."] * 50
            said = await asyncio.gather(
                *(
                    dns.asyncquery.udp(query(name, edns=edns), HERE, port=port_of(server))
                    for name in names
                    for edns in (None, 1232)
                )
            )
            found = [words(each) for each in said]
            assert {each.rcode for each in found} == {"NOERROR", "NXDOMAIN"}
            assert sum(each.answers == ["A 10.96.0.20"] for each in found) == 200

    asyncio.run(story())


@pytest.mark.parametrize("flags", [0, dns.flags.RD, dns.flags.RD | dns.flags.AD | dns.flags.CD])
@pytest.mark.parametrize("edns", [None, 0, 1232])
def test_the_short_way_and_the_long_one_lead_to_the_same_bytes(
    flags: int, edns: int | None
) -> None:
    """Answers that are looked up at the socket are those that the responder gives."""

    async def story() -> None:
        async with serving() as (server, responder):
            for name in (WEB, "db-0.db.default.svc.cluster.local.", "20.0.96.10.in-addr.arpa."):
                for type_ in ("A", "AAAA", "PTR", "SRV"):
                    asked = query(name, type_, edns=edns)
                    asked.flags = dns.flags.Flag(flags)
                    raw = asked.to_wire()
                    for _ in range(3):
                        found = responder.respond(raw, is_stream=False)
                        assert getattr(found, "message", None) == await udp(server, raw)

    asyncio.run(story())


def test_what_looks_like_a_plain_question_may_be_none() -> None:
    async def story() -> None:
        async with serving() as (server, _):
            plain = query(WEB).to_wire()
            await udp(server, plain)
            with_opt = query(WEB, edns=1232).to_wire()
            cases = {
                plain + b"\0": 1,
                plain[:-1]: 1,
                plain[:10] + b"\0\1" + plain[12:]: 1,
                with_opt[:-6] + b"\1" + with_opt[-5:]: 0,  # an extended code, in a question
                with_opt[:-5] + b"\1" + with_opt[-4:]: 0,  # BADVERS, whose upper bits are in OPT
                with_opt[:-1] + b"\1": 1,
                with_opt[:-11] + b"\1" + with_opt[-10:]: 1,
            }
            for raw, rcode in cases.items():
                assert (await udp(server, raw))[3] & 15 == rcode, raw

    asyncio.run(story())


def test_resolvers_get_along_with_it() -> None:
    async def story() -> None:
        async with serving() as (server, responder):
            endpoints = [endpoint(f"10.245.{n // 200}.{n % 200 + 1}") for n in range(300)]
            put(responder, headless("big"))
            put(responder, slice_of("big", "big-1", endpoints))
            resolver = dns.asyncresolver.Resolver(configure=False)
            resolver.nameservers, resolver.port = [HERE], port_of(server)
            resolver.ndots = 5  # as kubelet writes it
            resolver.search = [dns.name.from_text("default.svc.cluster.local")]
            assert [str(each) for each in await resolver.resolve("web", search=True)] == [
                "10.96.0.20"
            ]
            # Does not fit, and comes over TCP.
            assert len(await resolver.resolve("big.default.svc.cluster.local.")) == 300
            srv = await resolver.resolve("_sql._tcp.db", "SRV", search=True)
            assert sorted(each.port for each in srv) == [5432] * 4
            with pytest.raises(dns.resolver.NXDOMAIN):
                await resolver.resolve("nope", search=True)
            with pytest.raises(dns.resolver.NoAnswer):
                await resolver.resolve("bare", "AAAA", search=True)

    asyncio.run(story())


class TestConnections:
    def test_many_questions_are_answered_on_one(self) -> None:
        async def story() -> None:
            async with serving() as (server, _):
                client = await Client.connect(server)
                asked = [query(WEB if n % 2 else f"x{n}.{WEB}") for n in range(1000)]
                client.send(*(each.to_wire() for each in asked))
                numbers = {(await client.hear()).id for _ in asked}
                assert numbers == {each.id for each in asked}
                client.close()

        asyncio.run(story())

    def test_questions_may_come_in_pieces_and_the_end_before_the_answers(self) -> None:
        async def story() -> None:
            async with serving() as (server, _):
                client = await Client.connect(server)
                raw = query(WEB).to_wire()
                for byte in struct.pack(">H", len(raw)) + raw:
                    client.send_raw(bytes([byte]))
                    await asyncio.sleep(0)
                assert words(await client.hear()).answers == ["A 10.96.0.20"]
                client.send(raw, raw)
                client.finish()
                for _ in range(2):
                    assert (await client.hear()).answer
                assert await client.is_closed()
                client.close()

        asyncio.run(story())

    def test_quick_answers_overtake_slow_ones(self) -> None:
        async def story() -> None:
            free = asyncio.Event()

            def answer(asked: dns.message.Message, is_tcp: bool) -> dns.message.Message | None:
                if not free.is_set():
                    return None
                return records(f"{NAME} 60 A 192.0.2.1")(asked, is_tcp)  # type: ignore[return-value]

            async with upstream_server(answer) as up, serving(upstreams=(up.place,)) as (server, _):
                client = await Client.connect(server)
                slow, quick = query(NAME), query(WEB)
                client.send(slow.to_wire(), quick.to_wire())
                client.finish()
                assert (await client.hear()).id == quick.id
                free.set()  # the second attempt is answered
                assert (await client.hear()).id == slow.id
                assert await client.is_closed()
                client.close()

        asyncio.run(story())

    def test_who_is_silent_is_let_go(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(streams, "IDLE_S", 0.1)

        async def story() -> None:
            async with serving() as (server, _):
                silent, slow = await Client.connect(server), await Client.connect(server)
                slow.send_raw(b"\0\x20\0")
                assert await silent.is_closed()
                assert await slow.is_closed()
                silent.close()
                slow.close()

        asyncio.run(story())

    def test_who_takes_no_answers_is_asked_for_no_more_questions(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streams, "IDLE_S", 0.3)

        async def story() -> None:
            async with serving() as (server, responder):
                endpoints = [endpoint(f"10.245.{n // 200}.{n % 200 + 1}") for n in range(3000)]
                put(responder, headless("big"))
                put(responder, slice_of("big", "big-1", endpoints))
                sock = socket.create_connection((HERE, port_of(server)))
                sock.setblocking(False)
                loop = asyncio.get_running_loop()
                raw = query("big.default.svc.cluster.local.").to_wire()
                with pytest.raises(ConnectionError), sock:
                    await loop.sock_sendall(sock, (struct.pack(">H", len(raw)) + raw) * 1_000_000)

        asyncio.run(story())

    def test_one_too_many_ends_the_one_that_was_silent_longest(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def story() -> None:
            async with serving() as (server, _):
                monkeypatch.setattr(server._connections, "_most", 3)
                clients = []
                for _ in range(3):
                    clients.append(await Client.connect(server))
                    clients[-1].send(query(WEB).to_wire())
                    await clients[-1].hear()
                clients[0].send(query(WEB).to_wire())
                await clients[0].hear()
                clients.append(await Client.connect(server))
                assert await clients[1].is_closed()
                for each in (clients[0], clients[2], clients[3]):
                    each.send(query(WEB).to_wire())
                    assert (await each.hear()).answer
                for each in clients:
                    each.close()

        asyncio.run(story())

    def test_nonsense_ends_it_or_is_said_to_be_nonsense(self) -> None:
        async def story() -> None:
            async with serving() as (server, _):
                client = await Client.connect(server)
                client.send(b"\0\1\1\0\0\1\0\0\0\0\0\0")
                assert (await client.hear()).rcode() == dns.rcode.FORMERR
                client.send(b"")
                assert await client.is_closed()
                client.close()

        asyncio.run(story())


def test_strangers_hear_that_they_are_and_no_more() -> None:
    async def story() -> None:
        async with serving(clients=(parse_prefix("192.0.2.0/24"),)) as (server, _):
            asked = query(WEB, edns=1232).to_wire()
            said = await udp(server, asked)
            assert dns.message.from_wire(said).rcode() == dns.rcode.REFUSED
            assert len(said) < len(asked)
            client = await Client.connect(server)
            client.send(asked)
            assert await client.is_closed()
            client.close()

    asyncio.run(story())


def test_a_bug_is_answered_counted_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with serving() as (server, responder):
            with monkeypatch.context() as patch:
                patch.setattr(responder, "respond", lambda *_, **__: 1 / 0)
                assert (await udp(server, query(WEB).to_wire()))[3] & 15 == dns.rcode.SERVFAIL
            assert (await udp(server, query(WEB).to_wire()))[3] & 15 == dns.rcode.NOERROR
            assert server.tally.crashes == 1

    asyncio.run(story())


def test_an_address_in_use_is_said_to_be_and_nothing_stays_open() -> None:
    async def story() -> None:
        async with serving() as (server, _):
            free = Place(HERE, 0)
            settings = DnsSettings((free, Place(HERE, port_of(server))), upstreams=())
            second = DnsServer(filled(), settings)
            with pytest.raises(UnsupportedError, match="Address already in use") as caught:
                await second.open()
            assert "stop it" in (caught.value.hint or "")
            assert second._open == []

    asyncio.run(story())


def test_when_it_is_closed_nothing_is_left() -> None:
    async def story() -> None:
        async with serving(hosts=(HERE, "::1")) as (server, _):
            assert len(server.places) == 2
            client = await Client.connect(server)
            client.send(query(WEB).to_wire())
            await client.hear()
            await server.close()
            assert await client.is_closed()
            client.close()
            with pytest.raises(ConnectionRefusedError):
                await udp(server, query(WEB).to_wire())

    asyncio.run(story())


async def scraped() -> str:
    """What is told after some questions of all kinds."""
    async with (
        upstream_server(records(f"{NAME} 60 A 192.0.2.1")) as up,
        serving(upstreams=(up.place,)) as (server, _),
    ):
        for name in (WEB, WEB, f"x.{WEB}", NAME, NAME):
            await udp(server, query(name).to_wire())
        client = await Client.connect(server)
        client.send(query(WEB, "HTTPS").to_wire(), query(WEB, "TYPE999").to_wire())
        await client.hear()
        await client.hear()
        client.close()
        await udp(server, b"\0\1\1\0\0\2\0\0\0\0\0\0")
        figures = dns_figures(server.tally, server.cache)
        return render([figures], {}).body.decode().replace(str(up.place), "up")


SERVER = "server=dns://:53"
FIGURES = {
    "coredns_dns_requests_total": {
        ("family=1", "proto=udp", SERVER, "type=A", "zone=."): 5,
        ("family=1", "proto=udp", SERVER, "type=other", "zone=."): 1,
        ("family=1", "proto=tcp", SERVER, "type=HTTPS", "zone=."): 1,
        ("family=1", "proto=tcp", SERVER, "type=other", "zone=."): 1,
    },
    "coredns_dns_responses_total": {
        ("plugin=kubernetes", "rcode=NOERROR", SERVER, "zone=."): 4,
        ("plugin=kubernetes", "rcode=NXDOMAIN", SERVER, "zone=."): 1,
        ("plugin=forward", "rcode=NOERROR", SERVER, "zone=."): 1,
        ("plugin=cache", "rcode=NOERROR", SERVER, "zone=."): 1,
        ("rcode=FORMERR", SERVER, "zone=."): 1,
    },
    "coredns_dns_request_duration_seconds_count": {
        (SERVER, "type=A", "zone=."): 5,
        (SERVER, "type=HTTPS", "zone=."): 1,
        (SERVER, "type=other", "zone=."): 2,
    },
    "coredns_cache_entries": {
        (SERVER, "type=success", "zones=."): 1,
        (SERVER, "type=denial", "zones=."): 0,
    },
    "coredns_cache_hits_total": {
        (SERVER, "type=success", "zones=."): 1,
        (SERVER, "type=denial", "zones=."): 0,
    },
    "coredns_cache_evictions_total": {
        (SERVER, "type=success", "zones=."): 0,
        (SERVER, "type=denial", "zones=."): 0,
    },
    "coredns_cache_requests_total": {(SERVER, "zones=."): 2},
    "coredns_cache_misses_total": {(SERVER, "zones=."): 1},
    "coredns_proxy_request_duration_seconds_count": {
        ("proxy_name=forward", "rcode=NOERROR", "to=up"): 1
    },
    "coredns_forward_max_concurrent_rejects_total": {(): 0},
    "coredns_panics_total": {(): 0},
    "netproxy_dns_dropped_total": {(): 0},
}
"""Source: CoreDNS 1.12: names and labels; labels that are empty are left out."""


def test_figures_are_those_of_coredns() -> None:
    families = list(text_string_to_metric_families(asyncio.run(scraped())))
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in families:
        for each in family.samples:
            if not each.name.endswith(("_bucket", "_sum")):
                labels = tuple(f"{k}={v}" for k, v in sorted(each.labels.items()) if v)
                found.setdefault(each.name, {})[labels] = each.value
    assert found == FIGURES
    (durations,) = [
        each for each in families if each.name == "coredns_dns_request_duration_seconds"
    ]
    assert durations.type == "histogram"
    bounds = [
        each.labels["le"]
        for each in durations.samples
        if each.name.endswith("_bucket") and each.labels["type"] == "A"
    ]
    assert bounds == [*(str(0.00025 * 2**n) for n in range(16)), "+Inf"]


@pytest.mark.parametrize(
    "text", ["", "x", "192.0.2.1:0", "192.0.2.1:x", "[::1", "[::1]:99999", "1.2.3"]
)
def test_upstreams_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--dns-upstream"):
        parse_upstream(text)


@pytest.mark.parametrize(
    ("zone", "flag"),
    [(ZoneSettings(""), "--dns-zone"), (ZoneSettings("x" * 80), "--dns-zone"),
     (ZoneSettings(ttl_s=-1), "--dns-ttl"), (ZoneSettings(ttl_s=3601), "--dns-ttl")],
)  # fmt: skip
def test_settings_that_are_impossible_are_refused(zone: ZoneSettings, flag: str) -> None:
    with pytest.raises(ConfigError, match=flag):
        DnsSettings((), zone).check()
