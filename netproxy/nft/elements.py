"""Packing of element keys and data into the kernel's layout, and back into nft's words.

Source: nf_tables concatenations: every field starts at a multiple of 4 bytes; numbers are in
network order, except for those the kernel itself computes (numgen, marks), which are in the
host's.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable

from netproxy.model.ip import Family, IPAddress, pack_address, unpack_address
from netproxy.nft.expr import PROTOCOL_NAMES, Field, Key, Numgen, load_bytes, padded

_PORT = struct.Struct(">H2x")
_PROTOCOL = struct.Struct("B3x")
_INDEX = struct.Struct("=I")

PACKED_PROTOCOLS = {
    name: _PROTOCOL.pack(number) for name, number in (("TCP", 6), ("UDP", 17), ("SCTP", 132))
}
"""Kubernetes' protocol name → the l4proto field of a concatenation."""


def pack_port(port: int) -> bytes:
    """A port as a field of a concatenation."""
    return _PORT.pack(port)


def pack_index(index: int) -> bytes:
    """A numgen value as a field of a concatenation."""
    return _INDEX.pack(index)


def index_of(key: bytes) -> int:
    """The numgen value at the end of a key."""
    return int(_INDEX.unpack_from(key, len(key) - 4)[0])


def pack_target(address: IPAddress, port: int) -> bytes:
    """Address and port as the value of an endpoints map."""
    return pack_address(address) + _PORT.pack(port)


def unpack_fields(loads: tuple[Field, ...], packed: bytes, family: Family) -> list[str]:
    """The fields of a key or a value in nft's words."""
    if len(loads) == 1:
        return [field_text(loads[0], packed)]
    words = []
    offset = 0
    for load in loads:
        length = load_bytes(load, family)
        words.append(field_text(load, packed[offset : offset + length]))
        offset += padded(length)
    return words


def field_text(load: Field, raw: bytes) -> str:
    """One field in nft's words."""
    return _FIELD_WORDS[load if isinstance(load, Key) else Numgen](raw)


def _number(raw: bytes) -> str:
    return str(int.from_bytes(raw, "big"))


def _host_number(raw: bytes) -> str:
    return str(int.from_bytes(raw, sys.byteorder))


def _hexadecimal(raw: bytes) -> str:
    return hex(int.from_bytes(raw, "big"))


def _protocol(raw: bytes) -> str:
    return PROTOCOL_NAMES.get(raw[0], str(raw[0]))


def _interface(raw: bytes) -> str:
    return '"' + raw.rstrip(b"\0").decode("ascii", "replace") + '"'


_FIELD_WORDS: dict[object, Callable[[bytes], str]] = {
    Key.SADDR: unpack_address,
    Key.DADDR: unpack_address,
    Key.L4PROTO: _protocol,
    Key.DPORT: _number,
    Key.IIFNAME: _interface,
    Key.SADDR_TYPE: _host_number,
    Key.DADDR_TYPE: _host_number,
    Key.ORIGINAL_DADDR: unpack_address,
    Key.SADDR_DADDR_HEAD: _hexadecimal,
    Numgen: _host_number,
}
