"""The closed set of matches and statements that netproxy's rules are made of.

Three readers must understand every class here, and mypy's exhaustiveness check holds them to it:
``text`` (nft syntax), ``lower`` (kernel expressions) and ``trace.nftables`` (what a packet meets).
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from netproxy.model.ip import Family, Prefix


class Key(enum.Enum):
    """Something a rule can read from a packet, from its connection, or about its addresses.

    The value is nft's own spelling; ``{ip}`` stands for ``ip`` or ``ip6``, ``{head}`` for
    ``ADDRESSES_HEAD``.
    """

    SADDR = "{ip} saddr"
    DADDR = "{ip} daddr"
    L4PROTO = "meta l4proto"
    DPORT = "th dport"
    IIFNAME = "iifname"
    SADDR_TYPE = "fib saddr type"
    DADDR_TYPE = "fib daddr type"
    ORIGINAL_DADDR = "ct original {ip} daddr"
    """The destination before any translation."""
    SADDR_DADDR_HEAD = "{head}"
    """The source and the first bytes of the destination, which follow it in the header."""


ADDRESSES_HEAD = {Family.IPV4: "@nh,96,48", Family.IPV6: "@nh,64,160"}
"""Where SADDR_DADDR_HEAD is: its offset in the network header and its length, in bits."""
DADDR_HEAD_BYTES = {Family.IPV4: 2, Family.IPV6: 4}
"""How much of the destination is part of SADDR_DADDR_HEAD."""


class Numgen(NamedTuple):
    """``numgen random mod M offset O``: a uniformly random index O .. O+M-1."""

    modulus: int
    offset: int = 0


Field = Key | Numgen
"""What a field of a set's or map's key or value is like."""


class SourceNetwork(NamedTuple):
    """``ip saddr & MASK``: the network of this prefix length that the source is in."""

    length: int


Load = Field | SourceNetwork
"""What a rule reads into one field of a lookup key."""


class Match(NamedTuple):
    """Go on only if the key equals the value (or, negated, differs).

    ``value`` is an int for L4PROTO, DPORT and the address types, text for IIFNAME; an interface
    name that ends in ``*`` matches every name that begins so.
    """

    key: Key
    value: int | str
    negate: bool = False


class MatchPrefix(NamedTuple):
    """Go on only if the address is (not) in the network. ``key`` is SADDR or DADDR."""

    key: Key
    prefix: Prefix
    negate: bool = False


class MatchNewConnection(NamedTuple):
    """``ct state new``: only the first packet of a connection goes on."""


class MatchTranslated(NamedTuple):
    """``ct status dnat``: only packets of connections whose destination was rewritten go on."""


class MatchMark(NamedTuple):
    """Go on only if one of these bits of the packet mark is set."""

    bits: int


class InSet(NamedTuple):
    """Go on only if the concatenation of the keys is an element of the set."""

    keys: tuple[Load, ...]
    set: str
    negate: bool = False


class VerdictMap(NamedTuple):
    """Look the keys up in a verdict map; on a hit follow its verdict, else go on."""

    keys: tuple[Load, ...]
    map: str


class Dnat(NamedTuple):
    """Look the keys up in a data map; rewrite the destination to what is found; a miss goes on."""

    keys: tuple[Load, ...]
    map: str


class RewriteDaddr(NamedTuple):
    """Look the keys up in a data map of addresses; write what is found over the packet's
    destination; a miss goes no further.

    It leaves the connection as it is: what follows must translate, restore or drop.
    """

    keys: tuple[Load, ...]
    map: str


class RestoreDaddr(NamedTuple):
    """Write the connection's original destination over the packet's."""


class PutElement(NamedTuple):
    """Put an element into a dynamic map, for some time: what the packet makes of key and data.

    If the key is there, only its time begins anew. If the map is full, goes no further.
    """

    map: str
    key: tuple[Load, ...]
    data: tuple[Load, ...]
    timeout_s: int


class DropElement(NamedTuple):
    """Take the key out of a dynamic map, if it is there. ``data`` is of no importance."""

    map: str
    key: tuple[Load, ...]
    data: tuple[Load, ...]


class SetMark(NamedTuple):
    """Set these bits of the packet mark and leave the others."""

    bits: int


class FlipMark(NamedTuple):
    """Invert these bits of the packet mark."""

    bits: int


class Masquerade(NamedTuple):
    """Rewrite the source to the address of the outgoing interface, with a random source port."""


class Reject(NamedTuple):
    """Refuse with ICMP port unreachable, for TCP as well, as kube-proxy does."""


class VerdictKind(enum.Enum):
    """What becomes of the packet in this chain. The value is nft's word."""

    ACCEPT = "accept"
    DROP = "drop"
    RETURN = "return"
    JUMP = "jump"
    GOTO = "goto"


class Verdict(NamedTuple):
    """A final statement of a rule, or the value of a verdict map's element."""

    kind: VerdictKind
    chain: str = ""
    """The target of JUMP and GOTO; empty otherwise."""


DROP = Verdict(VerdictKind.DROP)
RETURN = Verdict(VerdictKind.RETURN)


def jump(chain: str) -> Verdict:
    """Continue in ``chain`` and come back."""
    return Verdict(VerdictKind.JUMP, chain)


def goto(chain: str) -> Verdict:
    """Continue in ``chain`` and do not come back."""
    return Verdict(VerdictKind.GOTO, chain)


Statement = (
    Match
    | MatchPrefix
    | MatchNewConnection
    | MatchTranslated
    | MatchMark
    | InSet
    | VerdictMap
    | Dnat
    | RewriteDaddr
    | RestoreDaddr
    | PutElement
    | DropElement
    | SetMark
    | FlipMark
    | Masquerade
    | Reject
    | Verdict
)


class Rule(NamedTuple):
    """Statements, evaluated left to right until one does not match."""

    statements: tuple[Statement, ...]
    comment: str = ""
    """Stored in the kernel with the rule, so that ``nft list`` explains itself. Up to 120 bytes."""


ADDRESS_TYPE_LOCAL = 2
"""Source: RTN_LOCAL, linux/rtnetlink.h: one of this host's own addresses."""

PROTOCOL_NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132}
PROTOCOL_NAMES = {6: "tcp", 17: "udp", 132: "sctp"}
"""nft's words."""


def address_bytes(family: Family) -> int:
    """Length of one packed address of the family."""
    return 4 if family is Family.IPV4 else 16


def network_mask(length: int, family: Family) -> bytes:
    """The mask of a prefix length, in network order."""
    bits = address_bytes(family) * 8
    return (((1 << length) - 1) << (bits - length)).to_bytes(bits // 8, "big")


def load_bytes(load: Load, family: Family) -> int:
    """How many bytes the value of a load has, before padding to whole 4-byte registers."""
    match load:
        case Key.SADDR | Key.DADDR | Key.ORIGINAL_DADDR | SourceNetwork():
            return address_bytes(family)
        case Key.SADDR_DADDR_HEAD:
            return address_bytes(family) + DADDR_HEAD_BYTES[family]
        case Key.L4PROTO:
            return 1
        case Key.DPORT:
            return 2
        case Key.IIFNAME:
            return 16
        case Key.SADDR_TYPE | Key.DADDR_TYPE | Numgen():
            return 4


def padded(length: int) -> int:
    """Bytes a value takes inside a concatenation: whole 32-bit registers."""
    return (length + 3) & ~3


def key_bytes(loads: tuple[Load, ...], family: Family) -> int:
    """Length of a concatenated key; a single field is not padded."""
    if len(loads) == 1:
        return load_bytes(loads[0], family)
    return sum(padded(load_bytes(load, family)) for load in loads)
