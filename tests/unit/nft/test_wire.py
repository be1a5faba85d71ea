"""Bytes for the kernel: our decoder reads them back, and so does one that is not ours."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from pyroute2.netlink.nfnetlink import nftsocket

from netproxy.model.ip import Family, parse_prefix
from netproxy.nft import attributes as nl
from netproxy.nft.decode import (
    FOREIGN_RULE,
    RawRule,
    RawTable,
    decode_chain,
    decode_rule,
    decode_set,
    recognise,
)
from netproxy.nft.expr import (
    DROP,
    Dnat,
    InSet,
    Key,
    Masquerade,
    Match,
    MatchNewConnection,
    MatchPrefix,
    Numgen,
    Rule,
    Statement,
    Verdict,
    VerdictKind,
    goto,
    jump,
)
from netproxy.nft.lower import lower_rule
from netproxy.nft.objects import Chain, Hook
from netproxy.nft.transaction import (
    AddChain,
    AddElements,
    AddRule,
    AddSet,
    AddTable,
    DeleteChain,
    DeleteElements,
    DeleteSet,
    DeleteTable,
    FlushChain,
    Operation,
    ReplaceElements,
    Transaction,
)
from netproxy.nft.wire import comment_userdata, encode, frame, request, set_attributes
from tests.unit.nft.samples import EVERYTHING, FRONTEND, SPECS, STATEMENTS, V4, V6

NFGEN = struct.pack(">BBH", 2, 0, 0)
HEADER = struct.Struct("=IHHII")
CLASSES = {
    0: nftsocket.nft_table_msg,
    3: nftsocket.nft_chain_msg,
    6: nftsocket.nft_rule_msg,
    9: nftsocket.nft_set_msg,
    12: nftsocket.nft_set_elem_list_msg,
}


def _bodies(family: Family, *operations: Operation) -> list[bytes]:
    return [m.body for m in encode(Transaction(family, "netproxy", list(operations)))]


@pytest.mark.parametrize(("family", "statement", "_text"), EVERYTHING)
def test_every_statement_is_read_back(family: Family, statement: Statement, _text: str) -> None:
    rule = Rule((statement,))
    (body,) = _bodies(family, AddRule("web", rule))
    expected = RawRule(lower_rule(rule, family), b"")
    assert decode_rule(NFGEN + body) == ("netproxy", "web", expected)
    assert expected.expressions


def test_different_statements_have_different_bytes() -> None:
    for family in Family:
        rules = [Rule((s,)) for f, s, _ in EVERYTHING if f is family]
        assert len({lower_rule(rule, family) for rule in rules}) == len(rules)


def test_a_rule_of_many_statements_and_a_comment() -> None:
    rule = Rule(tuple(s for s, _ in STATEMENTS), "why: ünïcode")
    (body,) = _bodies(V6, AddRule("web", rule))
    table, chain, raw = decode_rule(NFGEN + body)
    assert (table, chain) == ("netproxy", "web")
    assert raw.expressions == lower_rule(rule, V6)
    assert raw.userdata == comment_userdata("why: ünïcode")


@pytest.mark.parametrize(
    ("hook", "name"),
    [
        (None, "web"),
        (Hook("nat", "prerouting", -100), "nat-prerouting"),
        (Hook("filter", "postrouting", 2**31 - 1), "x"),
        (Hook("filter", "input", -(2**31)), "x"),
    ],
)
def test_chains_are_read_back(hook: Hook | None, name: str) -> None:
    (body,) = _bodies(V4, AddChain(name, hook))
    assert decode_chain(NFGEN + body) == ("netproxy", name, hook)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("name", SPECS)
def test_sets_are_read_back(family: Family, name: str) -> None:
    (body,) = _bodies(family, AddSet(name, SPECS[name]))
    table, found, raw = decode_set(NFGEN + body)
    assert (table, found) == ("netproxy", name)
    assert raw.attributes == tuple(set_attributes(SPECS[name], family))
    others = [tuple(set_attributes(s, family)) for n, s in SPECS.items() if n != name]
    assert raw.attributes not in others


def test_what_is_dumped_is_recognised_or_foreign() -> None:
    rules = [Rule((Match(Key.DPORT, 80), DROP), "web"), Rule((Match(Key.DPORT, 81), DROP))]
    dumped = [decode_rule(NFGEN + b)[2] for b in _bodies(V4, *(AddRule("c", r) for r in rules))]
    strange = RawRule(dumped[0].expressions, b"")
    spec = SPECS["services"]
    raw_set = decode_set(NFGEN + _bodies(V4, AddSet("services", spec))[0])[2]
    raw = RawTable(
        {"c": None, "empty": Hook("nat", "output", -100)},
        {"c": [*dumped, strange]},
        {"services": raw_set, "plain": raw_set, "unknown": raw_set},
        {"services": {}, "plain": {}, "unknown": {}},
    )
    found = recognise(raw, V4, "netproxy", rules=rules, sets=SPECS)
    assert found.chains == {
        "c": Chain((*rules, FOREIGN_RULE)),
        "empty": Chain((), Hook("nat", "output", -100)),
    }
    assert found.sets == {"services": spec}
    assert set(found.elements) == {"services", "plain", "unknown"}
    assert recognise(raw, V6, "netproxy", rules=rules, sets=SPECS).sets == {}


def _plain(value: Any) -> Any:
    """What the other decoder found, as dictionaries and lists."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if hasattr(value, "get") and value.get("attrs") is not None:
        return {name.split("_", 1)[1]: _plain(inner) for name, inner in value["attrs"]}
    return value


def _read_foreign(batch: bytes) -> list[tuple[int, int, Any]]:
    """(message type, flags, attributes) of each message between begin and end."""
    found = []
    offset = 0
    while offset < len(batch):
        length, kind, flags, _, _ = HEADER.unpack_from(batch, offset)
        if kind >> 8 == 10:
            message = CLASSES[kind & 0xFF](batch[offset : offset + length])
            message.decode()
            found.append((kind & 0xFF, flags, _plain(message)))
        offset += length
    return found


def _foreign(family: Family, *operations: Operation) -> list[Any]:
    messages = encode(Transaction(family, "netproxy", list(operations)))
    return [found for _, _, found in _read_foreign(frame(messages, family))]


def test_pyroute2_reads_tables_and_chains() -> None:
    operations = AddTable(), AddChain("web"), AddChain("pre", Hook("nat", "prerouting", -100))
    assert _foreign(V4, *operations) == [
        {"TABLE_NAME": "netproxy"},
        {"CHAIN_TABLE": "netproxy", "CHAIN_NAME": "web"},
        {
            "CHAIN_TABLE": "netproxy",
            "CHAIN_NAME": "pre",
            "CHAIN_HOOK": {"HOOK_HOOKNUM": 0, "HOOK_PRIORITY": -100},
            "CHAIN_TYPE": "nat",
        },
    ]


def test_pyroute2_reads_sets() -> None:
    four, six = (
        _foreign(V4, AddSet("services", SPECS["services"])),
        _foreign(V6, AddSet("endpoints", SPECS["endpoints"])),
    )
    userdata = four[0].pop("SET_USERDATA")
    assert four[0] == {
        "SET_TABLE": "netproxy",
        "SET_NAME": "services",
        "SET_FLAGS": {"NFT_SET_MAP"},
        "SET_KEY_TYPE": 7 << 12 | 12 << 6 | 13,
        "SET_KEY_LEN": 12,
        "SET_DATA_TYPE": 0xFFFFFF00,
        "SET_ID": 1,
    }
    assert [name for name, _ in userdata] == [
        "NFTNL_UDATA_SET_KEYBYTEORDER",
        "NFTNL_UDATA_SET_DATABYTEORDER",
        "NFTNL_UDATA_SET_KEY_TYPEOF",
        "NFTNL_UDATA_SET_DATA_INTERVAL",
    ]
    del six[0]["SET_USERDATA"]
    assert six[0] == {
        "SET_TABLE": "netproxy",
        "SET_NAME": "endpoints",
        "SET_FLAGS": {"NFT_SET_MAP"},
        "SET_KEY_TYPE": 8 << 18 | 12 << 12 | 13 << 6 | 4,
        "SET_KEY_LEN": 28,
        "SET_DATA_TYPE": 8 << 6 | 13,
        "SET_DATA_LEN": 20,
        "SET_ID": 1,
    }


def _expressions(family: Family, *statements: Statement) -> list[tuple[str, Any]]:
    (rule,) = _foreign(family, AddRule("web", Rule(statements, "hello")))
    assert (rule["RULE_TABLE"], rule["RULE_CHAIN"]) == ("netproxy", "web")
    assert rule["RULE_USERDATA"] == "hello"
    return [(each["EXPR_NAME"], each["EXPR_DATA"]) for each in rule["RULE_EXPRESSIONS"]]


@pytest.mark.parametrize(
    ("family", "offset", "length", "words"),
    [(V4, 16, 4, (1, 2, 3)), (V6, 24, 16, (4, 5, 6))],
)
def test_pyroute2_reads_a_translation(
    family: Family, offset: int, length: int, words: tuple[int, ...]
) -> None:
    # A register of 16 bytes has a name of its own where one of 4 bytes begins with it.
    protocol, port, index = (
        f"NFT_REG_{1 + w // 4}" if w % 4 == 0 else f"NFT_REG32_{w:02}" for w in words
    )
    found = _expressions(family, Dnat((*FRONTEND, Numgen(3, 6)), "endpoints"))
    assert found == [
        (
            "payload",
            {
                "PAYLOAD_DREG": "NFT_REG_1",
                "PAYLOAD_BASE": "NFT_PAYLOAD_NETWORK_HEADER",
                "PAYLOAD_OFFSET": offset,
                "PAYLOAD_LEN": length,
            },
        ),
        ("meta", {"META_DREG": protocol, "META_KEY": "NFT_META_L4PROTO"}),
        (
            "payload",
            {
                "PAYLOAD_DREG": port,
                "PAYLOAD_BASE": "NFT_PAYLOAD_TRANSPORT_HEADER",
                "PAYLOAD_OFFSET": 2,
                "PAYLOAD_LEN": 2,
            },
        ),
        (
            "numgen",
            {"NG_DREG": index, "NG_MODULUS": 3, "NG_TYPE": "NFT_NG_RANDOM", "NG_OFFSET": 6},
        ),
        (
            "lookup",
            {
                "LOOKUP_SET": "endpoints",
                "LOOKUP_SREG": "NFT_REG_1",
                "LOOKUP_DREG": "NFT_REG_1",
                "LOOKUP_FLAGS": set(),
            },
        ),
        (
            "nat",
            {
                "NAT_TYPE": "NFT_NAT_DNAT",
                "NAT_FAMILY": 2 if family is V4 else 10,
                "NAT_REG_ADDR_MIN": "NFT_REG_1",
                "NAT_REG_PROTO_MIN": "NFT_REG32_01" if family is V4 else "NFT_REG_2",
            },
        ),
    ]


def test_pyroute2_reads_matches_and_verdicts() -> None:
    prefix = MatchPrefix(Key.SADDR, parse_prefix("10.64.0.0/10"), negate=True)
    found = _expressions(
        V4,
        Match(Key.L4PROTO, 6),
        prefix,
        MatchNewConnection(),
        InSet((Key.DPORT,), "ports", negate=True),
        Masquerade(),
        jump("web"),
    )
    state = {"CT_DREG": "NFT_REG_1", "CT_KEY": "NFT_CT_STATE"}
    new = struct.pack("=I", 8)
    assert found == [
        ("meta", {"META_DREG": "NFT_REG_1", "META_KEY": "NFT_META_L4PROTO"}),
        ("cmp", _compared("NFT_CMP_EQ", b"\x06")),
        (
            "payload",
            {
                "PAYLOAD_DREG": "NFT_REG_1",
                "PAYLOAD_BASE": "NFT_PAYLOAD_NETWORK_HEADER",
                "PAYLOAD_OFFSET": 12,
                "PAYLOAD_LEN": 4,
            },
        ),
        ("bitwise", _masked(b"\xff\xc0\0\0")),
        ("cmp", _compared("NFT_CMP_NEQ", b"\x0a\x40\0\0")),
        ("ct", state),
        ("bitwise", _masked(new)),
        ("cmp", _compared("NFT_CMP_NEQ", bytes(4))),
        (
            "payload",
            {
                "PAYLOAD_DREG": "NFT_REG_1",
                "PAYLOAD_BASE": "NFT_PAYLOAD_TRANSPORT_HEADER",
                "PAYLOAD_OFFSET": 2,
                "PAYLOAD_LEN": 2,
            },
        ),
        (
            "lookup",
            {
                "LOOKUP_SET": "ports",
                "LOOKUP_SREG": "NFT_REG_1",
                "LOOKUP_FLAGS": {"NFT_LOOKUP_F_INV"},
            },
        ),
        ("masq", {"MASQ_FLAGS": {"NF_NAT_RANGE_PROTO_RANDOM_FULLY"}}),
        (
            "immediate",
            {
                "IMMEDIATE_DREG": "NFT_REG_VERDICT",
                "IMMEDIATE_DATA": {
                    "DATA_VERDICT": {"VERDICT_CODE": "NFT_JUMP", "VERDICT_CHAIN": "web"}
                },
            },
        ),
    ]


def _compared(operator: str, value: bytes) -> dict[str, Any]:
    return {"CMP_SREG": "NFT_REG_1", "CMP_OP": operator, "CMP_DATA": {"DATA_VALUE": value}}


def _masked(mask: bytes) -> dict[str, Any]:
    return {
        "BITWISE_SREG": "NFT_REG_1",
        "BITWISE_DREG": "NFT_REG_1",
        "BITWISE_LEN": len(mask),
        "BITWISE_MASK": {"DATA_VALUE": mask},
        "BITWISE_XOR": {"DATA_VALUE": bytes(len(mask))},
    }


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict(VerdictKind.ACCEPT), {"VERDICT_CODE": "NF_ACCEPT"}),
        (DROP, {"VERDICT_CODE": "NF_DROP"}),
        (Verdict(VerdictKind.RETURN), {"VERDICT_CODE": "NFT_RETURN"}),
        (goto("web"), {"VERDICT_CODE": "NFT_GOTO", "VERDICT_CHAIN": "web"}),
    ],
)
def test_pyroute2_reads_elements(verdict: Verdict, expected: dict[str, str]) -> None:
    key = b"\x0a\x60\0\x01\x06\0\0\0\0\x50\0\0"
    target = b"\x0a\x01\0\x01\x1f\x90\0\0"
    verdicts, data, bare = _foreign(
        V4,
        AddElements("services", SPECS["services"], [(key, verdict)]),
        AddElements("plain", SPECS["plain"], [(key, target), (key[::-1], target[::-1])]),
        AddElements("ports", SPECS["ports"], [(b"\0\x50", None), (b"\0\x51", None)]),
    )
    names = {"SET_ELEM_LIST_TABLE": "netproxy", "SET_ELEM_LIST_SET": "services"}
    listed = [{"SET_ELEM_KEY": {"DATA_VALUE": key}, "SET_ELEM_DATA": {"DATA_VERDICT": expected}}]
    assert verdicts == {**names, "SET_ELEM_LIST_ELEMENTS": listed}
    assert data["SET_ELEM_LIST_ELEMENTS"] == [
        {"SET_ELEM_KEY": {"DATA_VALUE": key}, "SET_ELEM_DATA": {"DATA_VALUE": target}},
        {"SET_ELEM_KEY": {"DATA_VALUE": key[::-1]}, "SET_ELEM_DATA": {"DATA_VALUE": target[::-1]}},
    ]
    assert bare["SET_ELEM_LIST_ELEMENTS"] == [
        {"SET_ELEM_KEY": {"DATA_VALUE": b"\0\x50"}},
        {"SET_ELEM_KEY": {"DATA_VALUE": b"\0\x51"}},
    ]


REQUEST, ACK, CREATE, APPEND = 0x1, 0x4, 0x400, 0x800
PORT = (b"\0\x50", None)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (AddTable(), [(0, CREATE)]),
        (DeleteTable(), [(2, 0)]),
        (AddChain("c"), [(3, CREATE)]),
        (DeleteChain("c"), [(5, 0)]),
        (FlushChain("c"), [(8, 0)]),
        (AddRule("c", Rule((DROP,))), [(6, CREATE | APPEND)]),
        (AddSet("ports", SPECS["ports"]), [(9, CREATE)]),
        (DeleteSet("ports"), [(11, 0)]),
        (AddElements("ports", SPECS["ports"], [PORT]), [(12, CREATE)]),
        (DeleteElements("ports", SPECS["ports"], [PORT]), [(14, 0)]),
        (
            ReplaceElements("ports", SPECS["ports"], [(b"\0\x50", None, None)]),
            [(14, 0), (12, CREATE)],
        ),
        (AddElements("ports", SPECS["ports"], []), []),
    ],
)
def test_every_operation(operation: Operation, expected: list[tuple[int, int]]) -> None:
    messages = encode(Transaction(V4, "netproxy", [AddTable(), operation]))[1:]
    assert [(m.type, m.flags) for m in messages] == expected
    assert all(m.operation == 1 for m in messages)
    assert all(b"netproxy\0" in m.body for m in messages)
    assert all(len(m.body) % 4 == 0 for m in messages)


@pytest.mark.parametrize(
    ("operation", "attributes"),
    [
        (DeleteTable(), {1: b"netproxy\0"}),
        (DeleteChain("c"), {1: b"netproxy\0", 3: b"c\0"}),
        (FlushChain("c"), {1: b"netproxy\0", 2: b"c\0"}),
        (DeleteSet("s"), {1: b"netproxy\0", 2: b"s\0"}),
    ],
)
def test_deletions_name_what_goes(operation: Operation, attributes: dict[int, bytes]) -> None:
    (body,) = _bodies(V6, operation)
    assert nl.read(body) == attributes


def test_a_batch_is_framed() -> None:
    messages = encode(Transaction(V6, "netproxy", [AddTable(), AddChain("c")]))
    batch = frame(messages, V6, first_sequence=40)
    headers = []
    offset = 0
    while offset < len(batch):
        length, kind, flags, sequence, port = HEADER.unpack_from(batch, offset)
        headers.append((kind, flags, sequence, port, batch[offset + 16 : offset + 20]))
        offset += length
    assert offset == len(batch)
    assert headers == [
        (16, REQUEST, 40, 0, b"\0\0\0\x0a"),
        (10 << 8, REQUEST | CREATE, 41, 0, b"\x0a\0\0\0"),
        (10 << 8 | 3, REQUEST | CREATE | ACK, 42, 0, b"\x0a\0\0\0"),
        (17, REQUEST, 43, 0, b"\0\0\0\x0a"),
    ]


def test_a_request_outside_a_batch() -> None:
    body = nl.text(1, "netproxy")
    message = request(nl.MSG_GETSET, V4, body, flags=0x300, sequence=9)
    assert HEADER.unpack_from(message) == (20 + len(body), 10 << 8 | 10, 0x301, 9, 0)
    assert message[16:] == b"\x02\0\0\0" + body


def test_replacements_go_in_small_pieces_that_hold_together() -> None:
    items = [(struct.pack(">H", n), b"\0\x01", b"\0\x02") for n in range(600)]
    operation = ReplaceElements("ports-map", SPECS["ports-map"], items)  # type: ignore[arg-type]
    messages = encode(Transaction(V4, "netproxy", [operation]))
    assert [(m.type, m.first_item, m.is_glued) for m in messages] == [
        (14, 0, False),
        (12, 0, True),
        (14, 256, False),
        (12, 256, True),
        (14, 512, False),
        (12, 512, True),
    ]


def test_a_chain_that_is_flushed_gets_its_rules_in_the_same_piece() -> None:
    drop = Rule((DROP,))
    flushed: list[Operation] = [
        FlushChain("a"),
        AddRule("a", drop),
        AddRule("a", drop),
        AddRule("b", drop),
    ]
    messages = encode(Transaction(V4, "netproxy", [*flushed, AddRule("a", drop)]))
    assert [m.is_glued for m in messages] == [False, True, True, False, False]


def test_attributes_are_padded_and_read() -> None:
    assert nl.attribute(5, b"abc") == struct.pack("=HH", 7, 5) + b"abc\0"
    assert nl.attribute(5, b"") == struct.pack("=HH", 4, 5)
    assert nl.u32(1, -3)[4:] == b"\xff\xff\xff\xfd"
    several = nl.text(1, "a") + nl.nested(2, nl.u32(3, 4), nl.u32(3, 5)) + nl.attribute(9, b"x")
    assert next(nl.iterate(several)) == (1, b"a\0")
    assert [kind for kind, _ in nl.iterate(several)] == [1, 2, 9]
    inner = nl.read(several)[2]
    assert [nl.read_u32(value) for _, value in nl.iterate(inner)] == [4, 5]
    assert nl.read_u32(nl.read(inner)[3]) == 5
    flagged = struct.pack("=HH", 4, nl.NESTED | 0x4000 | 7)
    assert nl.read(flagged) == {7: b""}
    assert nl.read(bytes(8)) == {}, "a length of nothing would never end"
