"""Asking others: real servers on loopback that answer, fail, lie, or are ourselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from netproxy.dns import exchange, forward
from netproxy.dns.cache import Cache
from netproxy.dns.forward import Forwarder
from netproxy.dns.responder import Foreign, Reply
from netproxy.dns.tally import Tally
from netproxy.dns.upstreams import ResolvConf, Upstream, nameservers
from tests.dns.asking import Said, query, read
from tests.dns.cluster import filled
from tests.dns.upstream import (
    Answering,
    UpstreamServer,
    closed_place,
    records,
    reply,
    upstream_server,
)

NAME = "www.example.com."
OUTSIDE = "outside.default.svc.cluster.local."
WWW = records(f"{NAME} 60 A 192.0.2.1")
NONE = records("example.com. 300 SOA ns.example.com. host.example.com. 1 2 3 4 45")


class World:
    """A forwarder, its upstreams, and a clock that a test turns."""

    def __init__(self, *, most: int = 100) -> None:
        self.turn = 0.0
        self.tally = Tally()
        self.cache = Cache(most, 1_000_000, self.tally)
        self.responder = filled()
        self.upstreams: list[Upstream] = []
        self.time = 1000.0
        self.forwarder = Forwarder(
            lambda: self.upstreams,
            self.cache,
            ttl_s=30,
            tally=self.tally,
            now=lambda: self.time,
            random=lambda: self.turn,
        )

    async def ask(self, name: str = NAME, type_: str = "A", *, edns: int | None = 1232) -> Said:
        """As a client."""
        asked = query(name, type_, edns=edns)
        found = self.responder.respond(asked.to_wire(), is_stream=False)
        assert isinstance(found, Foreign)
        said = self.forwarder.at_once(found) or await self.forwarder.ask(found)
        assert isinstance(said, Reply)
        return read(asked, said.message)


def with_servers(
    answers: Sequence[Answering],
    story: Callable[..., Awaitable[None]],
    world: World | None = None,
) -> World:
    """Plays a story in a world with upstream servers."""
    world = world or World()

    async def play() -> None:
        async with AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(upstream_server(each)) for each in answers]
            world.upstreams += [each.place for each in servers]
            await story(world, *servers)

    asyncio.run(play())
    return world


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that are silent here are silent for good."""
    monkeypatch.setattr(exchange, "TIMEOUT_S", 0.2)


def failing(rcode: int) -> Answering:
    return lambda asked, _: reply(asked, rcode)


def silent(asked: dns.message.Message, is_tcp: bool) -> None:
    return None


def test_an_answer_is_passed_on_and_kept_for_its_time() -> None:
    async def story(world: World, server: UpstreamServer) -> None:
        said = await world.ask()
        assert (said.rcode, said.answers) == ("NOERROR", ["A 192.0.2.1"])
        assert not said.message.flags & dns.flags.AA
        world.time += 20.5
        said = await world.ask(NAME.upper())
        assert said.message.answer[0].ttl == 40
        world.time += 39
        assert (await world.ask()).message.answer[0].ttl == 1
        assert server.asked == [f"{NAME} A"]
        world.time += 1
        assert (await world.ask()).message.answer[0].ttl == 60
        assert len(server.asked) == 2

    world = with_servers([WWW], story)
    assert world.tally.cache_requests == 4
    assert world.tally.cache_hits == {"success": 2}
    assert world.cache.count("success") == 1


@pytest.mark.parametrize(("rcode", "word"), [(0, "NOERROR"), (3, "NXDOMAIN")])
def test_that_there_is_nothing_is_kept_as_long_as_its_zone_says(rcode: int, word: str) -> None:
    def answer(asked: dns.message.Message, is_tcp: bool) -> dns.message.Message:
        said = NONE(asked, is_tcp)
        assert isinstance(said, dns.message.Message)
        said.set_rcode(dns.rcode.Rcode(rcode))
        return said

    async def story(world: World, server: UpstreamServer) -> None:
        for later, asked in ((0, 1), (44, 1), (1, 2)):
            world.time += later
            said = await world.ask()
            assert (said.rcode, said.answers, said.soa) == (word, [], "example.com.")
            assert len(server.asked) == asked

    assert with_servers([answer], story).cache.count("denial") == 1


@pytest.mark.parametrize(
    "answer", [failing(0), records(f"{NAME} 0 A 192.0.2.1")], ids=["no SOA", "TTL 0"]
)
def test_what_nobody_dates_is_not_kept(answer: Answering) -> None:
    async def story(world: World, server: UpstreamServer) -> None:
        await world.ask()
        await world.ask()
        assert len(server.asked) == 2

    assert len(with_servers([answer], story).cache) == 0


def test_who_asks_the_same_at_once_is_answered_together() -> None:
    async def story(world: World, server: UpstreamServer) -> None:
        said = await asyncio.gather(*(world.ask() for _ in range(50)))
        assert all(each.answers == ["A 192.0.2.1"] for each in said)
        assert server.asked == [f"{NAME} A"]

    with_servers([WWW], story)


@pytest.mark.parametrize(
    "first", [failing(2), failing(5), silent], ids=["SERVFAIL", "REFUSED", "silent"]
)
def test_who_does_not_know_or_answer_is_not_the_last_to_be_asked(first: Answering) -> None:
    async def story(world: World, one: UpstreamServer, two: UpstreamServer) -> None:
        assert (await world.ask()).answers == ["A 192.0.2.1"]
        world.upstreams.insert(0, closed_place())
        assert (await world.ask("other.example.com.", "TXT")).rcode in ("NOERROR", "SERVFAIL")

    world = with_servers([first, WWW], story)
    assert len(world.tally.upstreams) >= 2


def test_who_did_not_answer_is_asked_last_for_a_while() -> None:
    async def story(world: World, one: UpstreamServer, two: UpstreamServer) -> None:
        for number in range(3):
            await world.ask(f"{number}.example.com.")
        assert len(one.asked) == 1
        world.time += forward.FAILED_S
        await world.ask("again.example.com.")
        assert len(one.asked) == 2

    with_servers([silent, NONE], story)


def test_when_nobody_knows_it_is_said_and_remembered_for_a_moment() -> None:
    async def story(world: World, one: UpstreamServer, two: UpstreamServer) -> None:
        for _ in range(3):
            assert (await world.ask()).rcode == "SERVFAIL"
        assert (one.asked, two.asked) == ([f"{NAME} A"], [f"{NAME} A"])
        world.time += forward.FAILURE_S
        await world.ask()
        assert len(one.asked) == 2

    with_servers([failing(2), silent], story)


def test_a_single_server_is_asked_twice() -> None:
    """A datagram may be lost."""
    said: list[str] = []

    def answer(asked: dns.message.Message, is_tcp: bool) -> dns.message.Message | bytes | None:
        said.append("")
        return WWW(asked, is_tcp) if len(said) == 2 else None

    async def story(world: World, server: UpstreamServer) -> None:
        assert (await world.ask()).answers == ["A 192.0.2.1"]

    with_servers([answer], story)


def test_without_upstreams_questions_are_refused() -> None:
    async def story(world: World) -> None:
        assert (await world.ask()).rcode == "REFUSED"

    with_servers([], story)


def test_an_answer_that_does_not_fit_is_fetched_over_tcp() -> None:
    many = records(*(f"{NAME} 60 A 192.0.2.{n}" for n in range(200)))

    def answer(asked: dns.message.Message, is_tcp: bool) -> dns.message.Message | bytes | None:
        if is_tcp:
            return many(asked, is_tcp)
        said = reply(asked)
        said.flags |= dns.flags.TC
        return said

    async def story(world: World, server: UpstreamServer) -> None:
        said = await world.ask()
        assert server.asked == [f"{NAME} A", f"{NAME} A tcp"]
        assert said.message.flags & dns.flags.TC
        assert len(said.answers) == (1232 - 12 - 21 - 11) // 16
        found = world.responder.respond(query(NAME).to_wire(), is_stream=True)
        assert isinstance(found, Foreign)
        whole = world.forwarder.at_once(found)
        assert whole is not None
        assert len(dns.message.from_wire(whole.message).answer[0]) == 200

    with_servers([answer], story)


@pytest.mark.parametrize("rcode", [1, 4])
def test_who_does_not_know_edns_is_asked_without(rcode: int) -> None:
    def answer(asked: dns.message.Message, is_tcp: bool) -> dns.message.Message | bytes | None:
        if asked.edns < 0:
            return WWW(asked, is_tcp)
        return asked.to_wire()[:2] + bytes([0x81, 0x80 | rcode]) + bytes(8)

    async def story(world: World, server: UpstreamServer) -> None:
        assert (await world.ask()).answers == ["A 192.0.2.1"]

    with_servers([answer], story)


def respelled(asked: dns.message.Message, is_tcp: bool) -> bytes:
    """Another number, then another question, then the truth."""
    said = WWW(asked, is_tcp)
    assert isinstance(said, dns.message.Message)
    return said.to_wire()


def wrong_number(asked: dns.message.Message, is_tcp: bool) -> bytes:
    raw = respelled(asked, is_tcp)
    return bytes([raw[0] ^ 1]) + raw[1:]


def wrong_question(asked: dns.message.Message, is_tcp: bool) -> bytes:
    return respelled(asked, is_tcp).replace(b"\7example", b"\7exampIe")


def not_an_answer(asked: dns.message.Message, is_tcp: bool) -> bytes:
    return asked.to_wire()


def broken(asked: dns.message.Message, is_tcp: bool) -> bytes:
    return respelled(asked, is_tcp)[:-3]


def circle(asked: dns.message.Message, is_tcp: bool) -> dns.message.Message | bytes | None:
    return records(f"{NAME} 60 CNAME b.example.com.", f"b.example.com. 60 CNAME {NAME}")(
        asked, is_tcp
    )


@pytest.mark.parametrize("lie", [wrong_number, wrong_question, not_an_answer, broken, circle])
def test_lies_are_no_answers(lie: Answering) -> None:
    async def story(world: World, server: UpstreamServer) -> None:
        assert (await world.ask()).rcode == "SERVFAIL"

    with_servers([lie], story)


def test_what_does_not_belong_to_the_answer_is_left_out() -> None:
    answer = records(
        f"{NAME} 300 CNAME cdn.example.net.",
        "cdn.example.net. 60 A 192.0.2.1",
        "cdn.example.net. 60 A 192.0.2.2",
        "bank.example.org. 60 A 203.0.113.66",
        "example.org. 300 SOA ns.example.org. host.example.org. 1 2 3 4 45",
    )

    async def story(world: World, server: UpstreamServer) -> None:
        said = await world.ask()
        assert said.answers[0] == "CNAME cdn.example.net."
        assert sorted(said.answers[1:]) == ["A 192.0.2.1", "A 192.0.2.2"]
        assert (said.soa, said.additional) == ("", [])

    with_servers([answer], story)


def test_addresses_of_others_take_turns_too() -> None:
    answer = records(
        f"{NAME} 300 CNAME cdn.example.net.",
        *(f"cdn.example.net. 60 A 192.0.2.{n}" for n in range(4)),
    )

    async def story(world: World, server: UpstreamServer) -> None:
        firsts = set()
        for number in range(4):
            world.turn = number / 4
            said = await world.ask()
            assert len(set(said.answers)) == 5
            firsts.add(said.answers[1])
        assert len(firsts) == 4

    with_servers([answer], story)


class TestExternalNames:
    def test_their_addresses_stand_behind_them(self) -> None:
        async def story(world: World, server: UpstreamServer) -> None:
            for _ in range(2):
                said = await world.ask(OUTSIDE)
                assert said.answers == [f"CNAME {NAME}", "A 192.0.2.1"]
                assert [each.ttl for each in said.message.answer] == [30, 60]
            world.time += 50
            said = await world.ask(OUTSIDE)
            assert [each.ttl for each in said.message.answer] == [30, 10]
            assert server.asked == [f"{NAME} A"]

        with_servers([WWW], story)

    def test_nothing_of_that_type_is_said_with_them(self) -> None:
        async def story(world: World, server: UpstreamServer) -> None:
            said = await world.ask(OUTSIDE, "AAAA")
            assert (said.rcode, said.answers) == ("NOERROR", [f"CNAME {NAME}"])
            assert said.soa == "example.com."

        with_servers([NONE], story)

    def test_if_nobody_can_tell_nor_can_we(self) -> None:
        async def story(world: World, server: UpstreamServer) -> None:
            assert (await world.ask(OUTSIDE)).rcode == "SERVFAIL"

        with_servers([failing(2)], story)


def test_the_cache_is_bounded() -> None:
    async def story(world: World, server: UpstreamServer) -> None:
        for number in range(20):
            await world.ask(f"{number}.example.com.", "AAAA")
            await world.ask("0.example.com.", "AAAA")
        assert len(world.cache) == 5
        asked = len(server.asked)
        await world.ask("0.example.com.", "AAAA")
        assert len(server.asked) == asked

    world = with_servers([NONE], story, World(most=5))
    assert world.tally.cache_evictions == {"denial": 15}


def test_so_many_may_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "MOST_EXCHANGES", 3)
    monkeypatch.setattr(forward, "MOST_WAITING", 5)

    async def story(world: World, server: UpstreamServer) -> None:
        names = [f"{n % 6}.example.com." for n in range(12)]
        said = await asyncio.gather(*map(world.ask, names))
        assert sorted(each.rcode for each in said) == ["REFUSED"] * 7 + ["SERVFAIL"] * 5

    assert with_servers([silent], story).tally.too_many == 7


class TestCircles:
    def test_an_upstream_that_is_ourselves_is_noticed_and_left_alone(self) -> None:
        async def story(world: World, server: UpstreamServer, other: UpstreamServer) -> None:
            def ourselves(asked: dns.message.Message, is_tcp: bool) -> bytes | None:
                found = world.responder.respond(asked.to_wire(), is_stream=False)
                assert isinstance(found, Foreign)
                said = world.forwarder.at_once(found)
                return None if said is None else said.message

            server.answer = ourselves
            watch = asyncio.create_task(world.forwarder.run())
            while len(other.asked) < 1:
                await asyncio.sleep(0.01)
            before = len(server.asked)
            assert (await world.ask()).answers == ["A 192.0.2.1"]
            assert len(server.asked) == before
            world.upstreams.pop()
            assert (await world.ask("x.example.com.")).rcode == "SERVFAIL"
            watch.cancel()

        with_servers([silent, WWW], story)

    def test_nobody_can_say_so_who_was_not_asked(self) -> None:
        async def story(world: World, server: UpstreamServer) -> None:
            said = await world.ask("0123.loop.netproxy.invalid.")
            assert said.rcode == "REFUSED"
            assert (await world.ask()).answers == ["A 192.0.2.1"]

        with_servers([WWW], story)


class TestResolvConf:
    def test_what_is_in_it(self) -> None:
        text = """# a comment
        domain example.com
        nameserver 192.0.2.1
        nameserver\t2001:db8::1
        nameserver fe80::1%eth0
        nameserver
        nameserver nonsense
        nameserver 192.0.2.1
        options edns0"""
        found = [str(each) for each in nameservers(text)]
        assert found == ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%eth0]:53"]

    def test_it_is_read_again_when_it_changes_and_kept_while_it_is_gone(
        self, tmp_path: Path
    ) -> None:
        path, time = tmp_path / "resolv.conf", [0.0]
        servers = ResolvConf(path, lambda: time[0])
        assert servers() == ()
        path.write_text("nameserver 192.0.2.1\n")
        assert servers() == ()
        time[0] += 5
        assert [str(each) for each in servers()] == ["192.0.2.1:53"]
        path.unlink()
        time[0] += 5
        assert [str(each) for each in servers()] == ["192.0.2.1:53"]
        path.write_text("nameserver 192.0.2.22\n")
        time[0] += 5
        assert [str(each) for each in servers()] == ["192.0.2.22:53"]
