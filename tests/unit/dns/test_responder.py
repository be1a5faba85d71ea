"""One message in, one out: what is asked for oddly, what is kept, how much fits."""

from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.rdatatype
import pytest

from netproxy.dns.responder import Reply
from netproxy.dns.wire import LARGEST_LIMIT
from tests.dns.asking import ask, ask_elsewhere, query, read, words
from tests.dns.cluster import OBJECTS, drop, endpoint, filled, headless, port, put, slice_of
from tests.kube.objects import service

WEB = "web.default.svc.cluster.local."
DB = "db.default.svc.cluster.local."
BIG = "big.default.svc.cluster.local."


def big(count: int) -> list[dict[str, object]]:
    """A headless Service of many endpoints."""
    endpoints = [endpoint(f"10.245.{n // 250}.{n % 250 + 1}") for n in range(count)]
    return [headless("big"), slice_of("big", "big-1", endpoints, ports=[port("http", 80)])]


def answer(message: bytes, *, is_stream: bool = False) -> bytes | None:
    found = filled().respond(message, is_stream=is_stream)
    assert found is None or isinstance(found, Reply)
    return None if found is None else found.message


def header(flags: int = 0x0100, counts: tuple[int, ...] = (1, 0, 0, 0)) -> bytes:
    return struct.pack(">6H", 0x1234, flags, *counts)


def rcode_of(message: bytes | None) -> int:
    assert message is not None
    assert message[:2] == b"\x12\x34"
    assert message[2] & 0x80
    return message[3] & 15


QUESTION = b"\3web\7default\3svc\7cluster\5local\0\0\1\0\1"
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"


@pytest.mark.parametrize("message", [b"", b"\0", header()[:11], header(0x8100) + QUESTION])
def test_what_is_no_question_is_not_answered(message: bytes) -> None:
    """Least of all an answer, which would be answered in turn."""
    assert answer(message) is None


@pytest.mark.parametrize(
    "message",
    [
        header(),
        header(counts=(0, 0, 0, 0)),
        header(counts=(2, 0, 0, 0)) + QUESTION + QUESTION,
        header() + QUESTION[:-1],
        header() + QUESTION[:10],
        header() + b"\xc0\x0c\0\1\0\1",
        header() + b"\x41" + b"x" * 65 + b"\0\0\1\0\1",
        header() + b"\x3f" + b"x" * 63 + (b"\x3f" + b"x" * 63) * 3 + b"\0\0\1\0\1",
        header() + QUESTION + b"\0",
        header(counts=(1, 0, 0, 1)) + QUESTION,
        header(counts=(1, 0, 0, 1)) + QUESTION + OPT[:-1],
        header(counts=(1, 0, 0, 1)) + QUESTION + OPT[:-1] + b"\x09",
        header(counts=(1, 0, 0, 2)) + QUESTION + OPT + OPT,
        header(counts=(1, 0, 1, 0)) + QUESTION + OPT,
        header(counts=(1, 0, 0, 1)) + QUESTION + b"\1x" + OPT,
        header(counts=(1, 0, 0, 1)) + QUESTION + b"\x80" + OPT[1:],
        header(counts=(1, 0, 0, 65535)) + QUESTION + OPT,
    ],
)
def test_what_is_malformed_is_said_to_be(message: bytes) -> None:
    said = answer(message)
    assert rcode_of(said) == 1
    assert said is not None
    assert len(said) == 12


@pytest.mark.parametrize("opcode", [1, 2, 4, 5, 6, 15])
def test_other_operations_are_not_known(opcode: int) -> None:
    assert rcode_of(answer(header(opcode << 11) + QUESTION)) == 4


@pytest.mark.parametrize("type_", ["AXFR", "IXFR", "TKEY", "MAILB"])
def test_what_is_no_type_of_data_is_refused(type_: str) -> None:
    assert ask(filled(), WEB, type_).rcode == "REFUSED"


@pytest.mark.parametrize("class_", ["CH", "HS", "ANY"])
def test_other_classes_are_refused(class_: str) -> None:
    asked = dns.message.make_query("version.bind.", "TXT", class_)
    reply = answer(asked.to_wire())
    assert reply is not None
    assert read(asked, reply).rcode == "REFUSED"


@pytest.mark.parametrize("type_", ["A", "ANY"])
def test_without_a_wish_for_recursion_only_what_is_ours_is_told(type_: str) -> None:
    for name, rcode in ((WEB, "NOERROR"), ("www.example.com.", "REFUSED")):
        asked = query(name, type_)
        asked.flags &= ~dns.flags.RD
        reply = answer(asked.to_wire())
        assert reply is not None
        expected = "NOERROR" if type_ == "ANY" else rcode
        assert read(asked, reply).rcode == expected


def test_without_a_wish_for_recursion_an_alias_is_told_but_not_followed() -> None:
    asked = query("outside.default.svc.cluster.local.")
    asked.flags &= ~dns.flags.RD
    reply = answer(asked.to_wire())
    assert reply is not None
    assert read(asked, reply).answers == ["CNAME www.example.com."]


def test_all_types_of_a_foreign_name_are_not_asked_for() -> None:
    assert ask(filled(), "www.example.com.", "ANY").answers == ['HINFO "RFC8482" ""']


class TestExtension:
    def test_what_it_says_of_us(self) -> None:
        said = ask(filled(), WEB, edns=4096).message
        assert (said.edns, said.payload, said.ednsflags, said.options) == (0, LARGEST_LIMIT, 0, ())

    def test_a_later_version_is_told_ours(self) -> None:
        asked = query(WEB)
        asked.use_edns(1)
        reply = answer(asked.to_wire())
        assert reply is not None
        said = words(dns.message.from_wire(reply))
        assert (said.rcode, said.message.edns, said.answers) == ("BADVERS", 0, [])

    def test_options_and_the_wish_for_signatures_mean_nothing(self) -> None:
        asked = query(WEB)
        asked.use_edns(0, ednsflags=dns.flags.DO, payload=1232)
        reply = answer(asked.to_wire())
        assert reply is not None
        assert read(asked, reply).answers == ["A 10.96.0.20"]
        raw = header(counts=(1, 0, 0, 1)) + QUESTION + OPT[:-1] + b"\x0c\0\x0a\0\x0812345678"
        reply = answer(raw)
        assert reply is not None
        assert words(dns.message.from_wire(reply)).answers == ["A 10.96.0.20"]

    def test_other_additional_records_mean_nothing(self) -> None:
        record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\1\2\3\4"
        raw = header(counts=(1, 0, 0, 2)) + QUESTION + record + OPT
        reply = answer(raw)
        assert reply is not None
        assert dns.message.from_wire(reply).edns == 0


class TestRoom:
    @pytest.mark.parametrize(
        ("edns", "limit"), [(None, 512), (0, 512), (600, 600), (1232, 1232), (65535, 1232)]
    )
    @pytest.mark.parametrize("type_", ["A", "SRV"])
    def test_answers_are_cut_between_records(
        self, type_: str, edns: int | None, limit: int
    ) -> None:
        responder = filled(big(1000))
        asked = query(BIG, type_, edns=edns)
        reply = responder.respond(asked.to_wire(), is_stream=False)
        assert isinstance(reply, Reply)
        said = read(asked, reply.message)
        assert said.message.flags & dns.flags.TC
        assert limit - 70 < len(reply.message) <= limit
        assert len(said.answers) > 5

    @pytest.mark.parametrize("type_", ["A", "SRV"])
    def test_over_tcp_everything_fits(self, type_: str) -> None:
        said = ask(filled(big(500)), BIG, type_, is_stream=True)
        assert not said.message.flags & dns.flags.TC
        assert len(said.answers) == 500

    def test_more_than_a_message_holds_is_cut(self) -> None:
        said = ask(filled(big(5000)), BIG, is_stream=True)
        assert said.message.flags & dns.flags.TC
        assert len(said.answers) == (65535 - 12 - 34) // 16

    def test_addresses_of_targets_are_left_out_before_targets_are(self) -> None:
        responder = filled(big(7))
        said = ask(responder, BIG, "SRV")
        assert len(said.answers) == 7
        assert said.additional == []
        assert not said.message.flags & dns.flags.TC
        assert len(ask(responder, BIG, "SRV", edns=1232).additional) == 7


class TestOrder:
    def test_addresses_take_turns(self) -> None:
        firsts = set()
        for number in range(10):
            said = ask(filled(big(10), turn=number / 10), BIG)
            assert len(set(said.answers)) == 10
            firsts.add(said.answers[0])
        assert len(firsts) == 10

    @pytest.mark.parametrize(("count", "orders"), [(2, 2), (8, 8), (20, 8)])
    def test_targets_take_turns(self, count: int, orders: int) -> None:
        """Of many only some come first; what is kept is bounded so."""
        firsts = set()
        for number in range(16):
            said = ask(filled(big(count), turn=number / 16), BIG, "SRV", is_stream=True)
            assert len(set(said.answers)) == count
            firsts.add(said.answers[0])
        assert len(firsts) == orders

    def test_aliases_stay_before_what_they_lead_to(self) -> None:
        alias = {**service("alias"), "spec": {"type": "ExternalName", "externalName": BIG}}
        firsts = set()
        for number in range(4):
            responder = filled([*big(4), alias], turn=number / 4)
            said = ask(responder, "alias.default.svc.cluster.local.")
            assert said.answers[0] == "CNAME " + BIG
            firsts.add(said.answers[1])
        assert len(firsts) == 4


class TestMemory:
    def test_an_answer_is_kept_until_its_service_changes(self) -> None:
        responder = filled()
        ask(responder, WEB)
        ask(responder, DB)
        kept = dict(responder.known)
        assert len(kept) == 2
        ask(responder, WEB.upper())
        assert responder.known == kept
        put(responder, slice_of("db", "db-b", []))
        assert len(responder.known) == 1
        put(responder, service("web", "10.96.0.99"))
        assert ask(responder, WEB).answers == ["A 10.96.0.99"]

    def test_strangers_cannot_fill_it(self) -> None:
        responder = filled()
        for number in range(300):
            ask(responder, f"nope-{number}.default.svc.cluster.local.")
            ask(responder, f"_x{number}._tcp.web.default.svc.cluster.local.", "SRV")
            ask(responder, WEB, f"TYPE{number + 256}")
        assert responder.known == {}

    def test_changes_of_pods_and_namespaces_forget_nothing(self) -> None:
        responder = filled()
        ask(responder, WEB)
        kept = dict(responder.known)
        for each in OBJECTS:
            if each["kind"] in ("Pod", "Namespace"):
                drop(responder, each)
        assert responder.known == kept


class TestBeforeEverythingIsKnown:
    @pytest.mark.parametrize(
        "name", [WEB, "missing." + WEB, "cluster.local.", "20.0.96.10.in-addr.arpa.", "x.ip6.arpa."]
    )
    def test_nothing_is_said_that_could_be_wrong(self, name: str) -> None:
        responder = filled(is_ready=False)
        assert ask(responder, name).rcode == "SERVFAIL"
        assert responder.known == {}
        responder.is_ready = True
        assert ask(responder, WEB).answers == ["A 10.96.0.20"]

    def test_what_others_know_is_asked_for(self) -> None:
        ask_elsewhere(filled(is_ready=False), "www.example.com.")
