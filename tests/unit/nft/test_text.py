"""Rules, sets and elements in nft's syntax, word for word."""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import get_args

import pytest

from netproxy.model.ip import Family
from netproxy.nft.elements import (
    PACKED_PROTOCOLS,
    index_of,
    pack_index,
    pack_port,
    unpack_fields,
)
from netproxy.nft.expr import (
    DROP,
    Key,
    Match,
    Numgen,
    Rule,
    Statement,
    goto,
    key_bytes,
    load_bytes,
)
from netproxy.nft.objects import Data, Hook, SetKind, SetSpec, family_word
from netproxy.nft.text import (
    element_text,
    hook_text,
    rule_text,
    set_type_text,
    set_word,
    statement_text,
    verdict_text,
)
from tests.unit.nft.samples import EVERYTHING, FRONTEND, SPECS, V4, V6


@pytest.mark.parametrize(("family", "statement", "text"), EVERYTHING)
def test_every_statement(family: Family, statement: Statement, text: str) -> None:
    assert statement_text(statement, family) == text


def test_no_statement_is_left_out() -> None:
    assert {type(statement) for _, statement, _ in EVERYTHING} == set(get_args(Statement))


def test_a_rule_is_its_statements_and_its_comment() -> None:
    statements = (Match(Key.L4PROTO, 6), Match(Key.DPORT, 80), DROP)
    assert rule_text(Rule(statements), V4) == "meta l4proto tcp th dport 80 drop"
    assert (
        rule_text(Rule(statements, "no one"), V4)
        == 'meta l4proto tcp th dport 80 drop comment "no one"'
    )


def test_verdicts() -> None:
    assert verdict_text(goto("x")) == "goto x"
    assert verdict_text(DROP) == "drop"


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        (Hook("nat", "prerouting", -100), "type nat hook prerouting priority dstnat; "),
        (Hook("nat", "output", -100), "type nat hook output priority -100; "),
        (Hook("nat", "postrouting", 100), "type nat hook postrouting priority srcnat; "),
        (Hook("filter", "forward", -110), "type filter hook forward priority -110; "),
        (Hook("filter", "input", 0), "type filter hook input priority 0; "),
    ],
)
def test_hooks(hook: Hook, text: str) -> None:
    assert hook_text(hook) == text + "policy accept;"


@pytest.mark.parametrize(
    ("name", "four", "six"),
    [
        ("addresses", "type ipv4_addr", "type ipv6_addr"),
        (
            "frontends",
            "type ipv4_addr . inet_proto . inet_service",
            "type ipv6_addr . inet_proto . inet_service",
        ),
        ("ports", "type inet_service", "type inet_service"),
        ("interfaces", "type ifname", "type ifname"),
        (
            "services",
            "type ipv4_addr . inet_proto . inet_service : verdict",
            "type ipv6_addr . inet_proto . inet_service : verdict",
        ),
        (
            "plain",
            "type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service",
            "type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service",
        ),
        (
            "endpoints",
            "typeof ip daddr . meta l4proto . th dport . numgen random mod 2 : ip daddr . th dport",
            "typeof ip6 daddr . meta l4proto . th dport . numgen random mod 2 : "
            "ip6 daddr . th dport",
        ),
    ],
)
def test_declarations(name: str, four: str, six: str) -> None:
    spec = SPECS[name]
    assert set_type_text(spec, V4) == four
    assert set_type_text(spec, V6) == six
    assert set_word(spec) == ("set" if spec.kind is SetKind.SET else "map")


FOUR, SIX = ip_address("10.96.0.1").packed, ip_address("fd00::1").packed
TCP80 = b"\x06\0\0\0" + b"\0\x50\0\0"


@pytest.mark.parametrize(
    ("family", "name", "key", "data", "text"),
    [
        (V4, "addresses", FOUR, None, "10.96.0.1"),
        (V6, "addresses", SIX, None, "fd00::1"),
        (V4, "ports", b"\x75\x30", None, "30000"),
        (V4, "interfaces", b"lo".ljust(16, b"\0"), None, '"lo"'),
        (V4, "frontends", FOUR + TCP80, None, "10.96.0.1 . tcp . 80"),
        (V6, "services", SIX + TCP80, goto("web"), "fd00::1 . tcp . 80 : goto web"),
        (V4, "services", FOUR + b"\x11\0\0\0\0\x35\0\0", DROP, "10.96.0.1 . udp . 53 : drop"),
        (V4, "services", FOUR + b"\x2f\0\0\0\0\x35\0\0", DROP, "10.96.0.1 . 47 . 53 : drop"),
        (
            V4,
            "endpoints",
            FOUR + b"\x84\0\0\0\xff\xff\0\0" + struct.pack("=I", 258),
            FOUR + b"\x1f\x90\0\0",
            "10.96.0.1 . sctp . 65535 . 258 : 10.96.0.1 . 8080",
        ),
        (V6, "plain", SIX + TCP80, SIX + b"\0\x01\0\0", "fd00::1 . tcp . 80 : fd00::1 . 1"),
        (V4, "ports-map", b"\0\x01", b"\0\x02", "1 : 2"),
    ],
)
def test_elements(family: Family, name: str, key: bytes, data: Data, text: str) -> None:
    spec = SPECS[name]
    assert element_text(spec, key, data, family) == text
    assert len(key) == key_bytes(spec.key, family)
    if isinstance(data, bytes):
        assert len(data) == key_bytes(spec.data, family)


def test_an_element_is_packed_as_it_is_read() -> None:
    key = FOUR + PACKED_PROTOCOLS["TCP"] + pack_port(80) + pack_index(7)
    fields = unpack_fields((*FRONTEND, Numgen(9)), key, V4)
    assert fields == ["10.96.0.1", "tcp", "80", "7"]
    assert index_of(key) == 7
    assert {name: raw[0] for name, raw in PACKED_PROTOCOLS.items()} == {
        "TCP": 6,
        "UDP": 17,
        "SCTP": 132,
    }


def test_fields_take_whole_registers_only_in_company() -> None:
    assert key_bytes((Key.DPORT,), V4) == load_bytes(Key.DPORT, V4) == 2
    assert key_bytes((Key.DPORT, Key.L4PROTO), V4) == 8
    assert key_bytes(FRONTEND, V4) == 12
    assert key_bytes((*FRONTEND, Numgen(1)), V6) == 28
    assert key_bytes((Key.IIFNAME, Key.SADDR_TYPE), V6) == 20


def test_words_for_families() -> None:
    assert [family_word(f) for f in Family] == ["ip", "ip6"]
    assert SetSpec(SetKind.SET, (Key.DADDR,)).data == ()
