"""What the kernel dumps → values that can be compared with what is desired.

A rule comes back as kernel expressions. It is recognised by comparing those with the lowered form
of every rule that could be ours; one that matches none becomes ``FOREIGN_RULE``, which differs
from everything desired, so the next comparison replaces its chain's rules.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netproxy.model.ip import Family
from netproxy.nft import attributes as nl
from netproxy.nft.expr import Rule, Verdict, VerdictKind
from netproxy.nft.lower import COMPARED, Expression, lower_rule
from netproxy.nft.objects import HOOK_NUMBERS, Chain, Data, Elements, Hook, Ruleset, SetSpec
from netproxy.nft.wire import comment_userdata, set_attributes

FOREIGN_RULE = Rule((), "not made by netproxy")
_HOOK_NAMES = {number: name for name, number in HOOK_NUMBERS.items()}
_VERDICT_KINDS = {code & 0xFFFFFFFF: VerdictKind(word) for word, code in nl.VERDICT_CODES.items()}
_ELEMENT_HEAD = struct.Struct("=HHHHHH")
"""Headers of the list element, of its key, and of the key's value."""
_BODY = 4
"""Bytes of nfgenmsg before the attributes of a message."""


class RawRule(NamedTuple):
    """A rule as dumped: canonical expressions and its userdata."""

    expressions: tuple[Expression, ...]
    userdata: bytes


class RawSet(NamedTuple):
    """A set's declaration as dumped: the attributes that we would have sent."""

    attributes: tuple[tuple[int, bytes], ...]

    @property
    def is_dynamic(self) -> bool:
        """Whether rules change its elements."""
        flags = dict(self.attributes).get(nl.SET_FLAGS)
        return flags is not None and bool(nl.read_u32(flags) & nl.SET_FLAG_EVAL)


class RawTable(NamedTuple):
    """Everything dumped of one table, before rules and sets are recognised."""

    hooks: dict[str, Hook | None]
    rules: dict[str, list[RawRule]]
    sets: dict[str, RawSet]
    elements: dict[str, Elements]


def decode_table(message: bytes) -> str:
    """The name of a dumped table."""
    return nl.read_text(nl.read(message, _BODY)[nl.TABLE_NAME])


def decode_chain(message: bytes) -> tuple[str, str, Hook | None]:
    """(table, chain, hook) of a dumped chain."""
    fields = nl.read(message, _BODY)
    hook = None
    if nl.CHAIN_HOOK in fields:
        where = nl.read(fields[nl.CHAIN_HOOK])
        priority = struct.unpack(">i", where[nl.HOOK_PRIORITY])[0]
        name = _HOOK_NAMES.get(nl.read_u32(where[nl.HOOK_NUMBER]), "?")
        hook = Hook(nl.read_text(fields.get(nl.CHAIN_TYPE, b"")), name, priority)
    table = nl.read_text(fields[nl.CHAIN_TABLE])
    return table, nl.read_text(fields[nl.CHAIN_NAME]), hook


def decode_rule(message: bytes) -> tuple[str, str, RawRule]:
    """(table, chain, rule) of a dumped rule."""
    fields = nl.read(message, _BODY)
    expressions = tuple(
        _decode_expression(element)
        for _, element in nl.iterate(fields.get(nl.RULE_EXPRESSIONS, b""))
    )
    rule = RawRule(expressions, fields.get(nl.RULE_USERDATA, b""))
    return nl.read_text(fields[nl.RULE_TABLE]), nl.read_text(fields[nl.RULE_CHAIN]), rule


def _decode_expression(element: bytes) -> Expression:
    parts = nl.read(element)
    name = nl.read_text(parts[nl.EXPRESSION_NAME])
    compared = COMPARED.get(name)
    fields = nl.iterate(parts.get(nl.EXPRESSION_DATA, b""))
    kept = (pair for pair in fields if compared is None or pair[0] in compared)
    return Expression(name, tuple(sorted(kept)))


def decode_set(message: bytes) -> tuple[str, str, RawSet]:
    """(table, name, declaration) of a dumped set."""
    fields = nl.read(message, _BODY)
    compared = (
        nl.SET_FLAGS,
        nl.SET_KEY_TYPE,
        nl.SET_KEY_LEN,
        nl.SET_DATA_TYPE,
        nl.SET_DATA_LEN,
        nl.SET_DESC,
        nl.SET_USERDATA,
    )
    kept = {kind: fields[kind] for kind in compared if fields.get(kind)}
    if kept.get(nl.SET_DATA_TYPE) == b"\xff\xff\xff\x00":
        kept.pop(nl.SET_DATA_LEN, None)  # the kernel's own size of a verdict
    if nl.SET_EXPRESSION in fields:
        # With numbers of its own, which mean nothing.
        name = nl.read_text(nl.read(fields[nl.SET_EXPRESSION])[nl.EXPRESSION_NAME])
        kept[nl.SET_EXPRESSION] = nl.text(nl.EXPRESSION_NAME, name)
    raw = RawSet(tuple(kept.items()))
    return nl.read_text(fields[nl.SET_TABLE]), nl.read_text(fields[nl.SET_NAME]), raw


def decode_elements(message: bytes) -> Iterator[tuple[bytes, Data]]:
    """(key, data) of every element in one dumped message."""
    for kind, blob in nl.iterate(message, _BODY):
        if kind == nl.ELEMENTS_LIST:
            yield from _decode_list(blob)


def _decode_list(blob: bytes) -> Iterator[tuple[bytes, Data]]:
    """Elements of one list.

    All begin alike, so the key is cut out; what follows it is parsed once per different verdict
    and, for data of the usual form, not at all: a restart at 100,000 services reads 600,000 of
    these.
    """
    tails: dict[bytes, Data] = {}
    data_head, data_length = b"-", 0
    offset, end = 0, len(blob)
    while offset < end:
        total, _, _, _, value_length, _ = _ELEMENT_HEAD.unpack_from(blob, offset)
        key_at = offset + 12
        key = blob[key_at : key_at + value_length - 4]
        tail = blob[offset + 8 + ((value_length + 3) & ~3) : offset + total]
        if tail[:8] == data_head:
            yield key, tail[8 : 8 + data_length]
        elif tail in tails:
            yield key, tails[tail]
        else:
            key, data = _decode_element(blob[offset + 4 : offset + total])
            if isinstance(data, bytes) and len(tail) == 8 + ((len(data) + 3) & ~3):
                data_head, data_length = tail[:8], len(data)
            elif not isinstance(data, bytes):
                tails[tail] = data
            yield key, data
        offset += (total + 3) & ~3


def _decode_element(element: bytes) -> tuple[bytes, Data]:
    parts = nl.read(element)
    key = nl.read(parts[nl.ELEMENT_KEY])[nl.DATA_VALUE]
    if nl.ELEMENT_DATA not in parts:
        return key, None
    data = nl.read(parts[nl.ELEMENT_DATA])
    if nl.DATA_VALUE in data:
        return key, data[nl.DATA_VALUE]
    verdict = nl.read(data[nl.DATA_VERDICT])
    kind = _VERDICT_KINDS.get(nl.read_u32(verdict[nl.VERDICT_CODE]), VerdictKind.RETURN)
    return key, _verdict(kind, nl.read_text(verdict.get(nl.VERDICT_CHAIN, b"")))


def decode_counts(message: bytes) -> Iterator[tuple[bytes, int]]:
    """(key, packets) of every element in one dumped message that counts."""
    for kind, blob in nl.iterate(message, _BODY):
        if kind != nl.ELEMENTS_LIST:
            continue
        for _, element in nl.iterate(blob):
            parts = nl.read(element)
            if nl.ELEMENT_EXPRESSION not in parts:
                continue
            expression = nl.read(parts[nl.ELEMENT_EXPRESSION])
            packets = nl.read(expression[nl.EXPRESSION_DATA])[nl.COUNTER_PACKETS]
            key = nl.read(parts[nl.ELEMENT_KEY])[nl.DATA_VALUE]
            yield key, int.from_bytes(packets, "big")


_verdicts: dict[tuple[VerdictKind, str], Verdict] = {}


def _verdict(kind: VerdictKind, chain: str) -> Verdict:
    """Equal verdicts as one object: there are as many elements as services."""
    return _verdicts.setdefault((kind, chain), Verdict(kind, chain))


def recognise(
    raw: RawTable,
    family: Family,
    table: str,
    *,
    rules: Iterable[Rule],
    sets: dict[str, SetSpec],
) -> Ruleset:
    """Give dumped rules and sets the types of the ones they equal.

    Args:
        raw: The dump.
        family: Of the table.
        table: Its name.
        rules: Every rule that could be ours.
        sets: Every set that could be ours, by name. A dumped set that differs from its namesake,
            or has none, keeps its elements but gets no declaration in the result.
    """
    known = {
        RawRule(
            lower_rule(rule, family), comment_userdata(rule.comment) if rule.comment else b""
        ): rule
        for rule in rules
    }
    chains = {
        name: Chain(tuple(known.get(r, FOREIGN_RULE) for r in raw.rules.get(name, ())), hook)
        for name, hook in raw.hooks.items()
    }
    recognised = {
        name: sets[name]
        for name, declared in raw.sets.items()
        if name in sets and declared.attributes == tuple(set_attributes(sets[name], family))
    }
    return Ruleset(family, table, chains, recognised, raw.elements)
