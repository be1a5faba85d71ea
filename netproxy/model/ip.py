"""Addresses and prefixes in canonical text, and their packed form.

An address in the model and the core is canonical text as ``inet_ntop`` writes it, so that equal
addresses are equal strings. Bytes are for the backends.

Kubernetes accepts sloppy forms in stored objects (leading zeros, IPv4-mapped IPv6) and so does
``parse_address``; see Go's ``netutils.ParseIPSloppy``, which reads "010.0.0.1" as decimal.
"""

from __future__ import annotations

import enum
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple, NewType

IPAddress = NewType("IPAddress", str)
"""Canonical text of an IPv4 or IPv6 address. Never with leading zeros, never IPv4-mapped."""

_MAPPED = b"\x00" * 10 + b"\xff\xff"


class Family(enum.IntEnum):
    """An IP family. The value is the version number that stands in the packet."""

    IPV4 = 4
    IPV6 = 6

    @property
    def label(self) -> str:
        """As Kubernetes writes it: ``IPv4`` or ``IPv6``."""
        return "IPv4" if self is Family.IPV4 else "IPv6"


class Prefix(NamedTuple):
    """A network: its first address and the number of leading bits that count."""

    address: IPAddress
    length: int

    def __str__(self) -> str:
        return f"{self.address}/{self.length}"

    @property
    def family(self) -> Family:
        return family_of(self.address)

    def contains(self, address: IPAddress) -> bool:
        """Whether the address is of this family and inside this network."""
        if family_of(address) is not self.family:
            return False
        packed = pack_address(address)
        host_bits = len(packed) * 8 - self.length
        mine = int.from_bytes(pack_address(self.address), "big")
        return int.from_bytes(packed, "big") >> host_bits == mine >> host_bits


@lru_cache(maxsize=65536)
def parse_address(text: str) -> IPAddress:
    """Read an address in any form that Kubernetes lets through.

    Raises:
        ValueError: the text is no address; the message says so in a few words.
    """
    if ":" in text:
        try:
            packed = inet_pton(AF_INET6, text)
        except (OSError, ValueError):
            raise ValueError(f"{text!r} is not an IP address") from None
        if packed[:12] == _MAPPED:
            return IPAddress(inet_ntop(AF_INET, packed[12:]))
        return IPAddress(inet_ntop(AF_INET6, packed))
    try:
        inet_pton(AF_INET, text)  # takes canonical text only, and three times as fast
    except (OSError, ValueError):
        return _parse_sloppy(text)
    return IPAddress(text)


def _parse_sloppy(text: str) -> IPAddress:
    parts = text.split(".")
    if len(parts) != 4 or not all(p.isascii() and p.isdigit() and len(p) <= 3 for p in parts):
        raise ValueError(f"{text!r} is not an IP address")
    numbers = [int(p) for p in parts]
    if max(numbers) > 255:
        raise ValueError(f"{text!r} is not an IP address: {max(numbers)} is above 255")
    return IPAddress(".".join(map(str, numbers)))


def parse_prefix(text: str) -> Prefix:
    """Read ``address/length``; host bits are cleared and blanks around it are tolerated.

    Raises:
        ValueError: the text is no prefix.
    """
    address_text, slash, length_text = text.strip().partition("/")
    if not slash or not (length_text.isascii() and length_text.isdigit()):
        raise ValueError(f"{text!r} is not a prefix such as 10.0.0.0/8")
    address = parse_address(address_text)
    length = int(length_text)
    mapped = ":" in address_text and ":" not in address
    if mapped:
        length -= 96
    packed = pack_address(address)
    bits = len(packed) * 8
    if not 0 <= length <= bits:
        raise ValueError(f"{text!r}: the prefix length must be between 0 and {bits}")
    network = int.from_bytes(packed, "big") >> (bits - length) << (bits - length)
    return Prefix(unpack_address(network.to_bytes(len(packed), "big")), length)


def family_of(address: str) -> Family:
    """The family of a canonical address."""
    return Family.IPV6 if ":" in address else Family.IPV4


def pack_address(address: IPAddress) -> bytes:
    """Network byte order, 4 or 16 bytes."""
    return inet_pton(AF_INET6 if ":" in address else AF_INET, address)


def unpack_address(packed: bytes) -> IPAddress:
    """The canonical text of 4 or 16 bytes in network order."""
    return IPAddress(inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed))
