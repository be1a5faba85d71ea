"""A transaction → the netlink messages that carry it out.

Rules, chains and sets are few and encoded one attribute at a time. Elements are many, so their
fixed parts are built once per set and value shape, and an element costs one concatenation.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from netproxy.model.ip import Family
from netproxy.nft import attributes as nl
from netproxy.nft.expr import ADDRESSES_HEAD, Field, Key, Numgen, Rule, Verdict, key_bytes
from netproxy.nft.lower import lower_rule, verdict_data
from netproxy.nft.objects import HOOK_NUMBERS, Data, SetKind, SetSpec
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

NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE, NLM_F_APPEND = 0x1, 0x4, 0x400, 0x800
_NLMSG = struct.Struct("=IHHII")
_NFGEN = struct.Struct(">BBH")
_ATTRIBUTE = struct.Struct("=HH")
_MAX_LIST = 0xFFFF - 4 - 64
"""Bytes of elements per message: an attribute's length has 16 bits."""
_FAMILY_NUMBERS = {Family.IPV4: 2, Family.IPV6: 10}

_TYPE_IDS = {Key.L4PROTO: 12, Key.DPORT: 13, Key.IIFNAME: 41}
_ADDRESS_TYPE_IDS = {Family.IPV4: 7, Family.IPV6: 8}
_TYPE_INTEGER = 4
_TYPE_VERDICT = 0xFFFFFF00
"""Source: enum datatypes, nftables' include/datatype.h; NFT_DATA_VERDICT, nf_tables.h."""


class Message(NamedTuple):
    """One netlink message without its header's sequence number."""

    type: int
    flags: int
    body: bytes
    operation: int
    """Index of the operation that it belongs to, for error messages."""
    first_item: int = 0
    """For messages of elements: index of its first item within the operation."""
    is_glued: bool = False
    """It must travel in the same batch as the one before it."""


def family_number(family: Family) -> int:
    """NFPROTO_IPV4 or NFPROTO_IPV6."""
    return _FAMILY_NUMBERS[family]


def encode(transaction: Transaction) -> list[Message]:
    """The messages of a transaction, in order."""
    encoder = _Encoder(transaction)
    messages: list[Message] = []
    refilled = ""
    for index, operation in enumerate(transaction.operations):
        encoded = encoder.encode(operation, index)
        if isinstance(operation, FlushChain):
            refilled = operation.chain
        elif isinstance(operation, AddRule) and operation.chain == refilled:
            # Nobody ever meets a chain that has lost its rules and not got the new ones yet.
            encoded = (message._replace(is_glued=True) for message in encoded)
        else:
            refilled = ""
        messages += encoded
    return messages


def frame(messages: Sequence[Message], family: Family, *, first_sequence: int = 0) -> bytes:
    """One batch, ready to send: begin, the messages, end.

    Message number ``i`` has the sequence number ``first_sequence + 1 + i``; only the last one
    asks for an acknowledgement, which the kernel sends after the commit.
    """
    parts = [_batch_mark(nl.MSG_BATCH_BEGIN, first_sequence)]
    prefix = _NFGEN.pack(_FAMILY_NUMBERS[family], 0, 0)
    subsystem = nl.SUBSYSTEM_NFTABLES << 8
    last = len(messages) - 1
    for i, message in enumerate(messages):
        flags = message.flags | NLM_F_REQUEST | (NLM_F_ACK if i == last else 0)
        sequence = first_sequence + 1 + i
        header = _NLMSG.pack(20 + len(message.body), subsystem | message.type, flags, sequence, 0)
        parts += (header, prefix, message.body)
    parts.append(_batch_mark(nl.MSG_BATCH_END, first_sequence + 1 + len(messages)))
    return b"".join(parts)


def _batch_mark(kind: int, sequence: int) -> bytes:
    body = _NFGEN.pack(0, 0, nl.SUBSYSTEM_NFTABLES)
    return _NLMSG.pack(20, kind, NLM_F_REQUEST, sequence, 0) + body


def request(kind: int, family: Family, body: bytes, *, flags: int, sequence: int) -> bytes:
    """A single message outside a batch: a dump or a query."""
    subsystem = nl.SUBSYSTEM_NFTABLES << 8
    header = _NLMSG.pack(20 + len(body), subsystem | kind, flags | NLM_F_REQUEST, sequence, 0)
    return header + _NFGEN.pack(_FAMILY_NUMBERS[family], 0, 0) + body


class _Encoder:
    """Holds what all messages of one transaction share."""

    def __init__(self, transaction: Transaction) -> None:
        self.family = transaction.family
        self.table = transaction.table

    def encode(  # noqa: C901 - one case per operation
        self, operation: Operation, index: int
    ) -> Iterator[Message]:
        """The messages of one operation."""
        match operation:
            case AddElements(set=name, items=items):
                yield from self._elements(nl.MSG_NEWSETELEM, name, items, index)
            case DeleteElements(set=name, items=items):
                keys = [(key, None) for key, _ in items]
                yield from self._elements(nl.MSG_DELSETELEM, name, keys, index)
            case ReplaceElements(set=name, items=items):
                yield from self._replace(name, items, index)
            case AddTable():
                body = nl.text(nl.TABLE_NAME, self.table)
                yield Message(nl.MSG_NEWTABLE, NLM_F_CREATE, body, index)
            case DeleteTable():
                body = nl.text(nl.TABLE_NAME, self.table)
                yield Message(nl.MSG_DELTABLE, 0, body, index)
            case AddChain():
                yield Message(nl.MSG_NEWCHAIN, NLM_F_CREATE, self._chain(operation), index)
            case DeleteChain(chain=name):
                body = nl.text(nl.CHAIN_TABLE, self.table) + nl.text(nl.CHAIN_NAME, name)
                yield Message(nl.MSG_DELCHAIN, 0, body, index)
            case FlushChain(chain=name):
                body = nl.text(nl.RULE_TABLE, self.table) + nl.text(nl.RULE_CHAIN, name)
                yield Message(nl.MSG_DELRULE, 0, body, index)
            case AddRule(chain=name, rule=rule):
                flags = NLM_F_CREATE | NLM_F_APPEND
                yield Message(nl.MSG_NEWRULE, flags, self._rule(name, rule), index)
            case AddSet():
                yield Message(nl.MSG_NEWSET, NLM_F_CREATE, self._set(operation), index)
            case DeleteSet(set=name):
                body = nl.text(nl.SET_TABLE, self.table) + nl.text(nl.SET_NAME, name)
                yield Message(nl.MSG_DELSET, 0, body, index)

    def _chain(self, operation: AddChain) -> bytes:
        body = nl.text(nl.CHAIN_TABLE, self.table) + nl.text(nl.CHAIN_NAME, operation.chain)
        hook = operation.hook
        if hook is not None:
            number = nl.u32(nl.HOOK_NUMBER, HOOK_NUMBERS[hook.hook])
            body += nl.nested(nl.CHAIN_HOOK, number, nl.u32(nl.HOOK_PRIORITY, hook.priority))
            body += nl.text(nl.CHAIN_TYPE, hook.type)
        return body

    def _rule(self, chain: str, rule: Rule) -> bytes:
        expressions = [
            nl.nested(
                nl.LIST_ELEMENT,
                nl.text(nl.EXPRESSION_NAME, name),
                nl.nested(nl.EXPRESSION_DATA, *(nl.attribute(k, v) for k, v in attributes)),
            )
            for name, attributes in lower_rule(rule, self.family)
        ]
        body = nl.text(nl.RULE_TABLE, self.table) + nl.text(nl.RULE_CHAIN, chain)
        body += nl.nested(nl.RULE_EXPRESSIONS, *expressions)
        if rule.comment:
            body += nl.attribute(nl.RULE_USERDATA, comment_userdata(rule.comment))
        return body

    def _set(self, operation: AddSet) -> bytes:
        names = nl.text(nl.SET_TABLE, self.table) + nl.text(nl.SET_NAME, operation.set)
        parts = [nl.attribute(k, v) for k, v in set_attributes(operation.spec, self.family)]
        # An id is obligatory; the elements that follow in the same batch use the name instead.
        return names + b"".join(parts) + nl.u32(nl.SET_ID, 1)

    def _replace(
        self, name: str, items: Sequence[tuple[bytes, Data, Data]], index: int
    ) -> Iterator[Message]:
        # Small pieces, so that taking out and putting back stay close together.
        for start in range(0, len(items), 256):
            piece = items[start : start + 256]
            keys: list[tuple[bytes, Data]] = [(key, None) for key, _, _ in piece]
            new: list[tuple[bytes, Data]] = [(key, data) for key, _, data in piece]
            for message in self._elements(nl.MSG_DELSETELEM, name, keys, index):
                yield message._replace(first_item=start)
            for message in self._elements(nl.MSG_NEWSETELEM, name, new, index):
                yield message._replace(first_item=start, is_glued=True)

    def _elements(
        self, kind: int, name: str, items: Sequence[tuple[bytes, Data]], index: int
    ) -> Iterator[Message]:
        flags = NLM_F_CREATE if kind == nl.MSG_NEWSETELEM else 0
        prefix = nl.text(nl.ELEMENTS_TABLE, self.table) + nl.text(nl.ELEMENTS_SET, name)
        first = 0
        for count, blob in _element_lists(items):
            head = _ATTRIBUTE.pack(4 + len(blob), nl.ELEMENTS_LIST)
            yield Message(kind, flags, prefix + head + blob, index, first)
            first += count


def _element_lists(items: Sequence[tuple[bytes, Data]]) -> Iterator[tuple[int, bytes]]:
    """Encoded elements in lists that fit one attribute each, with their counts."""
    if not items:
        return
    encoded = _encode_elements(items)
    longest = max(map(len, encoded)) if isinstance(items[0][1], Verdict) else len(encoded[0])
    per_message = _MAX_LIST // longest
    for start in range(0, len(encoded), per_message):
        piece = encoded[start : start + per_message]
        yield len(piece), b"".join(piece)


def _encode_elements(items: Sequence[tuple[bytes, Data]]) -> list[bytes]:
    """Each element as one attribute. All keys of one set have the same length."""
    key_length = len(items[0][0])
    padding = b"\0" * (-key_length & 3)
    sample = items[0][1]
    if isinstance(sample, bytes):
        # The hot path: a hundred thousand of these at a first sync.
        between = padding + _ATTRIBUTE.pack(8 + len(sample), nl.ELEMENT_DATA)
        between += _ATTRIBUTE.pack(4 + len(sample), nl.DATA_VALUE)
        after = b"\0" * (-len(sample) & 3)
        head = _element_head(key_length, len(between) - len(padding) + len(sample) + len(after))
        return [head + key + between + data + after for key, data in items]  # type: ignore[operator]
    if sample is None:
        head = _element_head(key_length, 0)
        return [head + key + padding for key, _ in items]
    return _encode_verdict_elements(items, key_length, padding)


def _encode_verdict_elements(
    items: Iterable[tuple[bytes, Data]], key_length: int, padding: bytes
) -> list[bytes]:
    """Verdict elements; there are few different verdicts, so each is encoded once."""
    shapes: dict[Data, tuple[bytes, bytes]] = {}
    encoded = []
    for key, data in items:
        shape = shapes.get(data)
        if shape is None:
            assert isinstance(data, Verdict)
            tail = nl.nested(nl.ELEMENT_DATA, verdict_data(data))
            shape = shapes[data] = _element_head(key_length, len(tail)), padding + tail
        encoded.append(shape[0] + key + shape[1])
    return encoded


def _element_head(key_length: int, tail_length: int) -> bytes:
    """Headers of the list element, of its key, and of the key's value."""
    padded_key = (key_length + 3) & ~3
    total = 4 + 8 + padded_key + tail_length
    return (
        _ATTRIBUTE.pack(total, nl.LIST_ELEMENT)
        + _ATTRIBUTE.pack(8 + padded_key, nl.ELEMENT_KEY)
        + _ATTRIBUTE.pack(4 + key_length, nl.DATA_VALUE)
    )


COUNTER = nl.text(nl.EXPRESSION_NAME, "counter")
"""The expression that a set gives to each of its elements."""


def comment_userdata(comment: str) -> bytes:
    """A rule's comment as nft stores it: type 0, length, text with its zero."""
    raw = comment.encode() + b"\0"
    return bytes([0, len(raw)]) + raw


def set_attributes(spec: SetSpec, family: Family) -> list[tuple[int, bytes]]:
    """What declares a set, besides its name; also what a dump is compared by."""
    pack = struct.Struct(">I").pack
    attributes = []
    flags = nl.SET_FLAG_MAP if spec.kind is not SetKind.SET else 0
    if spec.is_dynamic:
        flags |= nl.SET_FLAG_TIMEOUT | nl.SET_FLAG_EVAL
    if flags:
        attributes.append((nl.SET_FLAGS, pack(flags)))
    attributes.append((nl.SET_KEY_TYPE, pack(_concatenated_type(spec.key, family))))
    attributes.append((nl.SET_KEY_LEN, pack(key_bytes(spec.key, family))))
    if spec.kind is SetKind.DATA_MAP:
        attributes.append((nl.SET_DATA_TYPE, pack(_concatenated_type(spec.data, family))))
        attributes.append((nl.SET_DATA_LEN, pack(key_bytes(spec.data, family))))
    elif spec.kind is SetKind.VERDICT_MAP:
        attributes.append((nl.SET_DATA_TYPE, pack(_TYPE_VERDICT)))
    if spec.size:
        attributes.append((nl.SET_DESC, nl.u32(nl.SET_DESC_SIZE, spec.size)))
    attributes.append((nl.SET_USERDATA, _set_userdata(spec, family)))
    if spec.counts:
        attributes.append((nl.SET_EXPRESSION, COUNTER))
    return attributes


def _concatenated_type(loads: tuple[Field, ...], family: Family) -> int:
    """Nft's number for a type; a concatenation has six bits per field."""
    number = 0
    for load in loads:
        if isinstance(load, Numgen) or load is Key.SADDR_DADDR_HEAD:
            field = _TYPE_INTEGER
        elif load in (Key.SADDR, Key.DADDR):
            field = _ADDRESS_TYPE_IDS[family]
        else:
            field = _TYPE_IDS[load]
        number = (number << 6 | field) & 0xFFFFFFFF
    return number


# The userdata of a set tells nft how to print it: byte orders, and for ``typeof`` declarations
# the very expressions. Source: nftables' src/mnl.c, src/expression.c; numbers in host order.

_UDATA_KEY_BYTEORDER, _UDATA_DATA_BYTEORDER, _UDATA_KEY_TYPEOF, _UDATA_DATA_TYPEOF = 0, 1, 3, 4
_UDATA_DATA_INTERVAL = 6
_TYPEOF_EXPRESSION, _TYPEOF_DATA = 0, 1
_EXPRESSION_PAYLOAD, _EXPRESSION_META, _EXPRESSION_CONCAT, _EXPRESSION_NUMGEN = 7, 9, 13, 23
_BIG_ENDIAN = 2
_PAYLOAD_FIELDS = {
    # (protocol description, field); th is described as 11 with dport 2.
    (Family.IPV4, Key.SADDR): (12, 11),
    (Family.IPV4, Key.DADDR): (12, 12),
    (Family.IPV6, Key.SADDR): (13, 8),
    (Family.IPV6, Key.DADDR): (13, 9),
    (Family.IPV4, Key.DPORT): (11, 2),
    (Family.IPV6, Key.DPORT): (11, 2),
}


def _tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind, len(value)]) + value


def _number(value: int) -> bytes:
    return struct.pack("=I", value)


def _set_userdata(spec: SetSpec, family: Family) -> bytes:
    is_concatenation = len(spec.key) > 1
    out = _tlv(_UDATA_KEY_BYTEORDER, _number(0 if is_concatenation else _BIG_ENDIAN))
    if spec.kind is not SetKind.SET:
        out += _tlv(_UDATA_DATA_BYTEORDER, _number(_BIG_ENDIAN if len(spec.data) == 1 else 0))
    if spec.has_typeof:
        out += _tlv(_UDATA_KEY_TYPEOF, _typeof_all(spec.key, family))
        out += _tlv(_UDATA_DATA_TYPEOF, _typeof_all(spec.data, family))
    elif is_concatenation:
        empty = _tlv(_TYPEOF_EXPRESSION, _number(_EXPRESSION_CONCAT)) + _tlv(_TYPEOF_DATA, b"")
        out += _tlv(_UDATA_KEY_TYPEOF, empty)
        if len(spec.data) > 1:
            out += _tlv(_UDATA_DATA_TYPEOF, empty)
    if spec.kind is not SetKind.SET:
        out += _tlv(_UDATA_DATA_INTERVAL, _number(0))
    return out


def _typeof_all(loads: tuple[Field, ...], family: Family) -> bytes:
    if len(loads) == 1:
        return _typeof(loads[0], family)
    fields = b"".join(_tlv(i, _typeof(load, family)) for i, load in enumerate(loads))
    expression = _tlv(_TYPEOF_EXPRESSION, _number(_EXPRESSION_CONCAT))
    return expression + _tlv(_TYPEOF_DATA, fields)


def _typeof(load: Field, family: Family) -> bytes:
    if isinstance(load, Numgen):
        # The declaration says "mod 2": any modulus will do, and this one never changes.
        inner = _tlv(0, _number(1)) + _tlv(1, _number(2)) + _tlv(2, _number(0))
        kind = _EXPRESSION_NUMGEN
    elif load is Key.L4PROTO:
        inner = _tlv(0, _number(16))
        kind = _EXPRESSION_META
    elif load is Key.SADDR_DADDR_HEAD:
        # No field of any protocol: network header, offset and length in bits.
        offset, length = ADDRESSES_HEAD[family].split(",")[1:]
        place = _tlv(2, _number(2)) + _tlv(3, _number(int(offset))) + _tlv(4, _number(int(length)))
        inner = _tlv(0, _number(0)) + _tlv(1, _number(0)) + place
        kind = _EXPRESSION_PAYLOAD
    else:
        protocol, field = _PAYLOAD_FIELDS[family, load]
        inner = _tlv(0, _number(protocol)) + _tlv(1, _number(field))
        kind = _EXPRESSION_PAYLOAD
    return _tlv(_TYPEOF_EXPRESSION, _number(kind)) + _tlv(_TYPEOF_DATA, inner)
