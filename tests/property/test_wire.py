"""Elements by the thousand: what is encoded is what is decoded, in lists that fit a message."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from netproxy.model.ip import Family
from netproxy.nft import attributes as nl
from netproxy.nft.decode import decode_elements
from netproxy.nft.expr import Verdict, VerdictKind, key_bytes
from netproxy.nft.objects import Data, SetKind, SetSpec
from netproxy.nft.transaction import (
    AddElements,
    DeleteElements,
    ReplaceElements,
    Transaction,
    describe,
)
from netproxy.nft.wire import Message, encode
from tests.unit.nft.samples import SPECS

NFGEN = bytes(4)
chains = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=60)
verdicts = st.sampled_from([Verdict(VerdictKind(word)) for word in ("accept", "drop", "return")])
verdicts |= st.builds(Verdict, st.sampled_from([VerdictKind.GOTO, VerdictKind.JUMP]), chains)


def _values(spec: SetSpec, family: Family) -> st.SearchStrategy[Data]:
    match spec.kind:
        case SetKind.SET:
            return st.none()
        case SetKind.VERDICT_MAP:
            return verdicts
        case SetKind.DATA_MAP:
            length = key_bytes(spec.data, family)
            return st.binary(min_size=length, max_size=length)


@st.composite
def elements(draw: st.DrawFn) -> tuple[Family, str, list[tuple[bytes, Data]]]:
    """(family, set name, items); sometimes far more than one message can carry."""
    family = draw(st.sampled_from(Family))
    name = draw(st.sampled_from(list(SPECS)))
    length = key_bytes(SPECS[name].key, family)
    keys = st.binary(min_size=length, max_size=length)
    values = _values(SPECS[name], family)
    items = draw(
        st.lists(st.tuples(keys, values), min_size=1, max_size=8, unique_by=lambda i: i[0])
    )
    return family, name, items * draw(st.sampled_from([1, 1, 1, 500]))


def _decoded(messages: list[Message]) -> list[tuple[bytes, Data]]:
    return [item for message in messages for item in decode_elements(NFGEN + message.body)]


def _check_sizes(messages: list[Message]) -> None:
    position = 0
    for message in messages:
        fields = list(nl.iterate(message.body))
        assert [kind for kind, _ in fields] == [1, 2, 3]
        assert 4 + len(fields[2][1]) <= 0xFFFF, "the length of an attribute has 16 bits"
        assert message.first_item == position
        position += len(list(nl.iterate(fields[2][1])))


@given(elements())
def test_added_elements_are_decoded(drawn: tuple[Family, str, list[tuple[bytes, Data]]]) -> None:
    family, name, items = drawn
    messages = encode(Transaction(family, "t", [AddElements(name, SPECS[name], items)]))
    assert _decoded(messages) == items
    _check_sizes(messages)


@given(elements())
def test_deleted_elements_are_named_by_their_keys(
    drawn: tuple[Family, str, list[tuple[bytes, Data]]],
) -> None:
    family, name, items = drawn
    messages = encode(Transaction(family, "t", [DeleteElements(name, SPECS[name], items)]))
    assert _decoded(messages) == [(key, None) for key, _ in items]
    _check_sizes(messages)


@given(elements())
def test_replaced_elements_go_and_come_together(
    drawn: tuple[Family, str, list[tuple[bytes, Data]]],
) -> None:
    family, name, items = drawn
    changes: list[tuple[bytes, Data, Data]] = [(key, None, data) for key, data in items]
    transaction = Transaction(family, "t", [ReplaceElements(name, SPECS[name], changes)])
    messages = encode(transaction)
    assert describe(transaction, transaction.operations[0])[0] == "replace elements"
    taken, put = messages[::2], messages[1::2]
    assert {m.type for m in taken} == {nl.MSG_DELSETELEM}
    assert {m.type for m in put} == {nl.MSG_NEWSETELEM}
    assert not any(m.is_glued for m in taken)
    assert all(m.is_glued for m in put)
    assert [key for key, _ in _decoded(taken)] == [key for key, _ in items]
    assert _decoded(put) == items


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=10))
def test_attributes_are_read_back(pairs: list[tuple[int, bytes]]) -> None:
    encoded = b"".join(nl.attribute(kind, payload) for kind, payload in pairs)
    assert list(nl.iterate(encoded)) == pairs
    assert list(nl.iterate(b"head" + encoded, 4)) == pairs


@given(st.binary(max_size=200))
def test_reading_attributes_ends(noise: bytes) -> None:
    total = sum(4 + len(payload) for _, payload in nl.iterate(noise))
    assert total <= len(noise) + 3


@given(st.integers(-(2**31), 2**32 - 1))
def test_numbers_are_in_network_order(value: int) -> None:
    payload = nl.u32(1, value)[4:]
    assert payload == struct.pack(">I", value % 2**32)
    assert nl.read_u32(payload) == value % 2**32
