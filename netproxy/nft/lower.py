"""Statements → the expressions of the kernel's register machine.

The registers, the order of loads and the short loads for byte-aligned prefixes are those that
nft 1.0.6 chooses, so that a rule set loaded from our text and one loaded from our bytes are the
same to the kernel (``tests/netns/test_commuting_square.py``).
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from netproxy.model.ip import Family, pack_address
from netproxy.nft import attributes as nl
from netproxy.nft.expr import (
    DADDR_HEAD_BYTES,
    Dnat,
    DropElement,
    Field,
    FlipMark,
    InSet,
    Key,
    Load,
    Masquerade,
    Match,
    MatchMark,
    MatchNewConnection,
    MatchPrefix,
    MatchTranslated,
    Numgen,
    PutElement,
    Reject,
    RestoreDaddr,
    RewriteDaddr,
    Rule,
    SetMark,
    SourceNetwork,
    Statement,
    Verdict,
    VerdictMap,
    address_bytes,
    load_bytes,
    network_mask,
    padded,
)


class Expression(NamedTuple):
    """One kernel expression: its name and its attributes, encoded, in ascending order."""

    name: str
    attributes: tuple[tuple[int, bytes], ...]


COMPARED = {
    "payload": (1, 2, 3, 4, 5, 6, 7, 8),
    "meta": (1, 2, 3),
    "ct": (1, 2, 3),
    "fib": (1, 2, 3),
    "numgen": (1, 2, 3, 4),
    "cmp": (1, 2, 3),
    "bitwise": (1, 2, 3, 4, 5),
    "lookup": (1, 2, 3, 5),
    "dynset": (1, 3, 4, 5, 6),
    "immediate": (1, 2),
    "nat": (1, 2, 3, 5),
    "masq": (1,),
    "reject": (1, 2),
}
"""The attributes that we send, by expression; a dump's derived ones are not compared."""

_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_META = {"mark": 3, "iifname": 6, "l4proto": 16}
_CT_STATE, _CT_STATUS = 0, 2
_CT_DST_IP = {Family.IPV4: 20, Family.IPV6: 22}
_ORIGINAL = b"\0"
"""Source: IP_CT_DIR_ORIGINAL, nf_conntrack_tuple_common.h."""
_STATE_NEW = 8
"""Source: NF_CT_STATE_BIT(IP_CT_NEW), nf_conntrack_tuple_common.h."""
_STATUS_DST_NAT = 1 << 5
"""Source: IPS_DST_NAT, nf_conntrack_common.h."""
_EQ, _NEQ = 0, 1
_FIB_ADDRTYPE, _FIB_SADDR, _FIB_DADDR = 3, 1, 2
_ADDRESS_OFFSETS = {
    (Family.IPV4, Key.SADDR): 12,
    (Family.IPV4, Key.DADDR): 16,
    (Family.IPV6, Key.SADDR): 8,
    (Family.IPV6, Key.DADDR): 24,
}
_NFPROTO = {Family.IPV4: 2, Family.IPV6: 10}
_ICMP_PORT_UNREACHABLE = {Family.IPV4: 3, Family.IPV6: 4}
_RANDOM_FULLY = 0x10
_NAT_DESTINATION = 1
_NUMGEN_RANDOM = 1
_VERDICT_REGISTER = 0
_UPDATE, _DELETE = 1, 2
"""Source: enum nft_dynset_ops, linux/netfilter/nf_tables.h."""
_ELEMENT_DATA_WORD = 4
_ADDRESS_CHECKSUMS = {Family.IPV4: (1, 10), Family.IPV6: (0, 0)}
"""Kind and place of the network header's checksum: the Internet's, or none."""
_PSEUDO_HEADER = 1
"""The transport header's checksum covers addresses. Source: NFT_PAYLOAD_L4CSUM_PSEUDOHDR."""


def lower_rule(rule: Rule, family: Family) -> tuple[Expression, ...]:
    """All kernel expressions of a rule, in order."""
    lowered: list[Expression] = []
    for statement in rule.statements:
        lowered += lower_statement(statement, family)
    return tuple(lowered)


def lower_statement(  # noqa: C901, PLR0911, PLR0912 - one case per statement
    statement: Statement, family: Family
) -> list[Expression]:
    """The kernel expressions of one statement."""
    match statement:
        case Match():
            return _match(statement, family)
        case MatchPrefix():
            return _match_prefix(statement, family)
        case MatchNewConnection():
            return _match_bits(_load_ct(_CT_STATE), _STATE_NEW)
        case MatchTranslated():
            return _match_bits(_load_ct(_CT_STATUS), _STATUS_DST_NAT)
        case MatchMark(bits=bits):
            return _match_bits(_load_meta("mark", 1), bits)
        case InSet(keys=keys, set=name, negate=negate):
            return [*_load_all(keys, family), _lookup(name, None, negate=negate)]
        case VerdictMap(keys=keys, map=name):
            return [*_load_all(keys, family), _lookup(name, _VERDICT_REGISTER)]
        case Dnat():
            return _dnat(statement, family)
        case RewriteDaddr(keys=keys, map=name):
            return [*_load_all(keys, family), _lookup(name, 1), _store_daddr(family)]
        case RestoreDaddr():
            return [_load(Key.ORIGINAL_DADDR, 1, family), _store_daddr(family)]
        case PutElement(map=name, key=key, data=value, timeout_s=seconds):
            loads = _load_element(key, value, family)
            return [*loads, _dynset(name, _UPDATE, seconds * 1000)]
        case DropElement(map=name, key=key, data=value):
            return [*_load_element(key, value, family), _dynset(name, _DELETE, 0)]
        case SetMark(bits=bits):
            return _change_mark(~bits & 0xFFFFFFFF, bits)
        case FlipMark(bits=bits):
            return _change_mark(0xFFFFFFFF, bits)
        case Masquerade():
            return [_expression("masq", nl.u32(1, _RANDOM_FULLY))]
        case Reject():
            code = bytes([_ICMP_PORT_UNREACHABLE[family]])
            return [_expression("reject", nl.u32(1, 0), nl.attribute(2, code))]
        case Verdict():
            data = nl.nested(2, verdict_data(statement))
            return [_expression("immediate", nl.u32(1, _VERDICT_REGISTER), data)]


def verdict_data(verdict: Verdict) -> bytes:
    """The attribute that holds a verdict, for immediates and for elements of verdict maps."""
    code = nl.u32(nl.VERDICT_CODE, nl.VERDICT_CODES[verdict.kind.value])
    chain = nl.text(nl.VERDICT_CHAIN, verdict.chain) if verdict.chain else b""
    return nl.nested(nl.DATA_VERDICT, code, chain)


def _expression(name: str, *encoded: bytes) -> Expression:
    pairs = [pair for part in encoded for pair in nl.iterate(part)]
    return Expression(name, tuple(sorted(pairs)))


def _register(word: int) -> int:
    """The number of the register that begins at this 32-bit word, as nft writes it."""
    return 1 + word // 4 if word % 4 == 0 else 8 + word


def _load_all(keys: tuple[Load, ...], family: Family, word: int = 0) -> list[Expression]:
    """Load the keys into consecutive registers, from this 32-bit word on."""
    loads = []
    for key in keys:
        register = _register(word)
        if isinstance(key, SourceNetwork):
            mask = network_mask(key.length, family)
            loads += [
                _load(Key.SADDR, register, family),
                _bitwise(mask, bytes(len(mask)), register),
            ]
        else:
            loads.append(_load(key, register, family))
        word += padded(load_bytes(key, family)) // 4
    return loads


def _load(load: Field, register: int, family: Family) -> Expression:
    match load:
        case Key.SADDR | Key.DADDR:
            offset = _ADDRESS_OFFSETS[family, load]
            return _load_payload(_NETWORK_HEADER, offset, address_bytes(family), register)
        case Key.SADDR_DADDR_HEAD:
            size = address_bytes(family) + DADDR_HEAD_BYTES[family]
            offset = _ADDRESS_OFFSETS[family, Key.SADDR]
            return _load_payload(_NETWORK_HEADER, offset, size, register)
        case Key.ORIGINAL_DADDR:
            parts = nl.u32(1, register), nl.u32(2, _CT_DST_IP[family]), nl.attribute(3, _ORIGINAL)
            return _expression("ct", *parts)
        case Key.DPORT:
            return _load_payload(_TRANSPORT_HEADER, 2, 2, register)
        case Key.L4PROTO:
            return _load_meta("l4proto", register)
        case Key.IIFNAME:
            return _load_meta("iifname", register)
        case Key.SADDR_TYPE | Key.DADDR_TYPE:
            flag = _FIB_SADDR if load is Key.SADDR_TYPE else _FIB_DADDR
            parts = nl.u32(1, register), nl.u32(2, _FIB_ADDRTYPE), nl.u32(3, flag)
            return _expression("fib", *parts)
        case Numgen(modulus=modulus, offset=offset):
            parts = nl.u32(1, register), nl.u32(2, modulus), nl.u32(3, _NUMGEN_RANDOM)
            return _expression("numgen", *parts, nl.u32(4, offset))


def _load_payload(base: int, offset: int, length: int, register: int) -> Expression:
    where = nl.u32(2, base), nl.u32(3, offset), nl.u32(4, length)
    return _expression("payload", nl.u32(1, register), *where)


def _load_meta(name: str, register: int) -> Expression:
    return _expression("meta", nl.u32(1, register), nl.u32(2, _META[name]))


def _load_ct(key: int) -> Expression:
    return _expression("ct", nl.u32(1, 1), nl.u32(2, key))


def _data(kind: int, value: bytes) -> bytes:
    return nl.nested(kind, nl.attribute(nl.DATA_VALUE, value))


def _compare(value: bytes, *, negate: bool) -> Expression:
    operator = nl.u32(2, _NEQ if negate else _EQ)
    return _expression("cmp", nl.u32(1, 1), operator, _data(3, value))


def _bitwise(mask: bytes, flip: bytes, register: int = 1) -> Expression:
    registers = nl.u32(1, register), nl.u32(2, register), nl.u32(3, len(mask))
    return _expression("bitwise", *registers, _data(4, mask), _data(5, flip))


def _host32(value: int) -> bytes:
    return value.to_bytes(4, sys.byteorder)


def _match(statement: Match, family: Family) -> list[Expression]:
    load = _load(statement.key, 1, family)
    value = statement.value
    if isinstance(value, str):
        if value.endswith("*"):
            packed = value[:-1].encode()
        else:
            packed = value.encode().ljust(16, b"\0")
    elif statement.key in (Key.SADDR_TYPE, Key.DADDR_TYPE):
        packed = _host32(value)
    else:
        packed = value.to_bytes(load_bytes(statement.key, family), "big")
    return [load, _compare(packed, negate=statement.negate)]


def _match_prefix(statement: MatchPrefix, family: Family) -> list[Expression]:
    length = statement.prefix.length
    offset = _ADDRESS_OFFSETS[family, statement.key]
    network = pack_address(statement.prefix.address)
    whole, rest = divmod(length, 8)
    if rest == 0 and whole:
        load = _load_payload(_NETWORK_HEADER, offset, whole, 1)
        return [load, _compare(network[:whole], negate=statement.negate)]
    size = len(network)
    mask = network_mask(length, family)
    load = _load_payload(_NETWORK_HEADER, offset, size, 1)
    cut = _bitwise(mask, bytes(size))
    return [load, cut, _compare(network, negate=statement.negate)]


def _match_bits(load: Expression, bits: int) -> list[Expression]:
    return [load, _bitwise(_host32(bits), bytes(4)), _compare(bytes(4), negate=True)]


def _lookup(name: str, destination: int | None, *, negate: bool = False) -> Expression:
    result = nl.u32(3, destination) if destination is not None else b""
    flags = nl.u32(5, 1 if negate else 0)
    return _expression("lookup", nl.text(1, name), nl.u32(2, 1), result, flags)


def _dnat(statement: Dnat, family: Family) -> list[Expression]:
    found_address = _register(0)
    found_port = _register(address_bytes(family) // 4)
    translate = _expression(
        "nat",
        nl.u32(1, _NAT_DESTINATION),
        nl.u32(2, _NFPROTO[family]),
        nl.u32(3, found_address),
        nl.u32(5, found_port),
    )
    return [*_load_all(statement.keys, family), _lookup(statement.map, 1), translate]


def _store_daddr(family: Family) -> Expression:
    """Write the first register over the destination, and put the checksums right."""
    where = nl.u32(2, _NETWORK_HEADER), nl.u32(3, _ADDRESS_OFFSETS[family, Key.DADDR])
    kind, place = _ADDRESS_CHECKSUMS[family]
    checksums = nl.u32(6, kind), nl.u32(7, place), nl.u32(8, _PSEUDO_HEADER)
    size = nl.u32(4, address_bytes(family))
    return _expression("payload", nl.u32(5, 1), *where, size, *checksums)


def _load_element(
    key: tuple[Load, ...], data: tuple[Load, ...], family: Family
) -> list[Expression]:
    """Load an element's key and data into the registers where nft 1.0.6 has them.

    It keeps four words for the key, however long it is, and loads the data after those. So the
    fifth word of SADDR_DADDR_HEAD is overwritten by the first one of DADDR, in IPv6: these are
    the same. Other keys longer than four words cannot be told nft.
    """
    return [*_load_all(key, family), *_load_all(data, family, _ELEMENT_DATA_WORD)]


def _dynset(name: str, operation: int, timeout_ms: int) -> Expression:
    registers = nl.u32(4, _register(0)), nl.u32(5, _register(_ELEMENT_DATA_WORD))
    timeout = nl.u64(6, timeout_ms)
    return _expression("dynset", nl.text(1, name), nl.u32(3, operation), *registers, timeout)


def _change_mark(mask: int, flip: int) -> list[Expression]:
    store = _expression("meta", nl.u32(2, _META["mark"]), nl.u32(3, 1))
    return [_load_meta("mark", 1), _bitwise(_host32(mask), _host32(flip)), store]
