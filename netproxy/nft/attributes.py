"""Netlink attributes: type-length-value, and the numbers nf_tables gives them.

Source: linux/netlink.h and linux/netfilter/nf_tables.h of kernel 6.1; the numbers never change.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_HEADER = struct.Struct("=HH")
_BE32 = struct.Struct(">I")
_BE64 = struct.Struct(">Q")

NESTED = 0x8000
TYPE_MASK = 0x3FFF

# Message types, within the nf_tables subsystem of nfnetlink.
SUBSYSTEM_NFTABLES = 10
MSG_NEWTABLE, MSG_GETTABLE, MSG_DELTABLE = 0, 1, 2
MSG_NEWCHAIN, MSG_GETCHAIN, MSG_DELCHAIN = 3, 4, 5
MSG_NEWRULE, MSG_GETRULE, MSG_DELRULE = 6, 7, 8
MSG_NEWSET, MSG_GETSET, MSG_DELSET = 9, 10, 11
MSG_NEWSETELEM, MSG_GETSETELEM, MSG_DELSETELEM = 12, 13, 14
MSG_NEWGEN, MSG_GETGEN = 15, 16
MSG_BATCH_BEGIN, MSG_BATCH_END = 16, 17
"""Of no subsystem: nfnetlink's own."""

TABLE_NAME = 1
CHAIN_TABLE, CHAIN_NAME, CHAIN_HOOK, CHAIN_TYPE = 1, 3, 4, 7
HOOK_NUMBER, HOOK_PRIORITY = 1, 2
RULE_TABLE, RULE_CHAIN, RULE_HANDLE, RULE_EXPRESSIONS, RULE_USERDATA = 1, 2, 3, 4, 7
LIST_ELEMENT = 1
EXPRESSION_NAME, EXPRESSION_DATA = 1, 2
SET_TABLE, SET_NAME, SET_FLAGS, SET_KEY_TYPE, SET_KEY_LEN = 1, 2, 3, 4, 5
SET_DATA_TYPE, SET_DATA_LEN, SET_ID, SET_USERDATA = 6, 7, 10, 13
SET_DESC, SET_DESC_SIZE, SET_EXPRESSION = 9, 1, 17
SET_FLAG_MAP, SET_FLAG_TIMEOUT, SET_FLAG_EVAL = 0x8, 0x10, 0x20
ELEMENTS_TABLE, ELEMENTS_SET, ELEMENTS_LIST = 1, 2, 3
ELEMENT_KEY, ELEMENT_DATA, ELEMENT_FLAGS, ELEMENT_EXPRESSION = 1, 2, 3, 7
COUNTER_PACKETS = 2
DATA_VALUE, DATA_VERDICT = 1, 2
VERDICT_CODE, VERDICT_CHAIN = 1, 2
GENERATION_ID = 1

VERDICT_CODES = {"drop": 0, "accept": 1, "jump": -3, "goto": -4, "return": -5}


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to a multiple of 4 bytes."""
    length = 4 + len(payload)
    return _HEADER.pack(length, kind) + payload + b"\0" * (-length & 3)


def nested(kind: int, *children: bytes) -> bytes:
    """An attribute that holds attributes.

    The flag that says so is left out, as in the kernel's own dumps, so that what is read back can
    be compared byte by byte; nf_tables parses with and without it.
    """
    return attribute(kind, b"".join(children))


def text(kind: int, value: str) -> bytes:
    """A zero-terminated string."""
    return attribute(kind, value.encode() + b"\0")


def u32(kind: int, value: int) -> bytes:
    """A 32-bit number in network order; negative numbers as two's complement."""
    return attribute(kind, _BE32.pack(value & 0xFFFFFFFF))


def u64(kind: int, value: int) -> bytes:
    """A 64-bit number in network order."""
    return attribute(kind, _BE64.pack(value))


def read_u32(payload: bytes) -> int:
    """The number inside a 32-bit attribute."""
    return int(_BE32.unpack(payload)[0])


def read_text(payload: bytes) -> str:
    """The string inside a text attribute."""
    return payload.rstrip(b"\0").decode("utf-8", "replace")


def iterate(buffer: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """All attributes of a buffer as (type without flags, payload)."""
    end = len(buffer)
    while offset + 4 <= end:
        length, kind = _HEADER.unpack_from(buffer, offset)
        if length < 4:
            return
        yield kind & TYPE_MASK, buffer[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def read(buffer: bytes, offset: int = 0) -> dict[int, bytes]:
    """All attributes of a buffer by type; of repeated ones the last."""
    return dict(iterate(buffer, offset))
