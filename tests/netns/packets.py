"""First packets of connections as bytes, and what they look like when they turn up somewhere.

Every packet carries a number that survives address translation: TCP's sequence number, SCTP's
initiate tag, four bytes of UDP payload. By this tag a packet, a reset or an ICMP error is known
again, whatever became of its addresses.
"""

from __future__ import annotations

import enum
import struct
from functools import cache
from typing import NamedTuple

from netproxy.core.packet import Packet
from netproxy.model.ip import IPAddress, pack_address, unpack_address

TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
FENCE = 253
"""An IP protocol for experiments (RFC 3692): no proxy has an opinion about it."""
NUMBERS = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP}

_TTL = 64
_SYN, _RST, _ACK = 0x02, 0x04, 0x10
_ICMP_UNREACHABLE, _ICMPV6_UNREACHABLE = 3, 1
_ICMP_ECHO, _ICMPV6_ECHO = 8, 128
_SCTP_INIT = 1
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_ECHO = struct.Struct("!BBHHH")
_TCP = struct.Struct("!HHIIBBHHH")
_UDP = struct.Struct("!HHHH")
_SCTP = struct.Struct("!HHII")
_SCTP_CHUNK = struct.Struct("!BBHIIHHI")
_CRC32C_REVERSED = 0x82F63B78


class Sight(enum.Enum):
    """What was seen of a packet."""

    PACKET = "packet"
    """The packet itself, perhaps with other addresses."""
    UNREACHABLE = "unreachable"
    """An ICMP error about it."""
    RESET = "reset"
    """A TCP reset in answer to it."""


class Sighting(NamedTuple):
    """A trace of a packet. For an ICMP error, the addresses are those of the error."""

    tag: int
    sight: Sight
    source: IPAddress
    destination: IPAddress
    port: int
    """Destination port."""


def build_packet(packet: Packet, *, source_port: int, tag: int) -> bytes:
    """An IP packet that opens a connection: SYN, INIT or a datagram."""
    source, destination = pack_address(packet.source), pack_address(packet.destination)
    ports = (source_port, packet.port)
    match packet.protocol:
        case "TCP":
            head = _TCP.pack(*ports, tag, 0, _TCP.size << 2, _SYN, 65535, 0, 0)
            body = _with_checksum(head, source, destination, TCP, offset=16)
        case "UDP":
            head = _UDP.pack(*ports, _UDP.size + 4, 0) + tag.to_bytes(4, "big")
            body = _with_checksum(head, source, destination, UDP, offset=6)
        case "SCTP":
            chunk = _SCTP_CHUNK.pack(_SCTP_INIT, 0, _SCTP_CHUNK.size, tag, 65536, 1, 1, tag)
            crc = _crc32c(_SCTP.pack(*ports, 0, 0) + chunk)
            body = _SCTP.pack(*ports, 0, int.from_bytes(crc.to_bytes(4, "little"), "big")) + chunk
        case other:
            raise ValueError(f"no such protocol: {other}")
    return _with_ip_header(source, destination, NUMBERS[packet.protocol], body)


def build_echo(source: IPAddress, destination: IPAddress) -> bytes:
    """An ICMP echo request: a ping."""
    ends = pack_address(source), pack_address(destination)
    if len(ends[0]) == 16:
        body = _with_checksum(_ECHO.pack(_ICMPV6_ECHO, 0, 0, 1, 1), *ends, ICMPV6, offset=2)
        return _with_ip_header(*ends, ICMPV6, body)
    checksum = _internet_checksum(_ECHO.pack(_ICMP_ECHO, 0, 0, 1, 1))
    return _with_ip_header(*ends, ICMP, _ECHO.pack(_ICMP_ECHO, 0, checksum, 1, 1))


def build_fence(tag: int) -> bytes:
    """A packet that any router forwards, to learn that all before it has been dealt with.

    Where other protocols have their ports it has zeros, so that no rule takes it for one of them.
    """
    source, destination = (pack_address(IPAddress(f"192.0.2.{n}")) for n in (253, 254))
    return _with_ip_header(source, destination, FENCE, tag.to_bytes(12, "big"))


def parse_fence(data: bytes) -> int | None:
    """The tag of a fence; None for any other packet."""
    if len(data) >= 32 and data[0] >> 4 == 4 and data[9] == FENCE:
        return int.from_bytes(data[20:32], "big")
    return None


def parse_packet(data: bytes) -> Sighting | None:
    """What an IP packet tells about one of ours; None when it tells nothing."""
    if not data:
        return None
    if data[0] >> 4 == 4 and len(data) >= _IPV4.size:
        protocol, start = data[9], (data[0] & 15) * 4
        source, destination = data[12:16], data[16:20]
    elif data[0] >> 4 == 6 and len(data) >= _IPV6.size:
        protocol, start = data[6], _IPV6.size
        source, destination = data[8:24], data[24:40]
    else:
        return None
    return parse_payload(
        protocol, data[start:], unpack_address(source), unpack_address(destination)
    )


def parse_payload(
    protocol: int, data: bytes, source: IPAddress, destination: IPAddress
) -> Sighting | None:
    """The same for what comes after the IP header: raw IPv6 sockets give no more than that."""
    is_error = (protocol, data[:1]) in (
        (ICMP, bytes([_ICMP_UNREACHABLE])),
        (ICMPV6, bytes([_ICMPV6_UNREACHABLE])),
    )
    if is_error:
        inner = parse_packet(data[8:])
        if inner is None:
            return None
        return Sighting(inner.tag, Sight.UNREACHABLE, source, destination, 0)
    found = _find_tag(protocol, data)
    if found is None:
        return None
    tag, sight = found
    return Sighting(tag, sight, source, destination, int.from_bytes(data[2:4], "big"))


def _find_tag(protocol: int, data: bytes) -> tuple[int, Sight] | None:
    if protocol == TCP and len(data) >= _TCP.size:
        _, _, sequence, acknowledged, _, flags, *_ = _TCP.unpack_from(data)
        if flags & _RST:
            return (acknowledged - 1) & 0xFFFFFFFF, Sight.RESET
        return (sequence, Sight.PACKET) if flags == _SYN else None
    if protocol == UDP and len(data) >= _UDP.size + 4:
        return int.from_bytes(data[8:12], "big"), Sight.PACKET
    if protocol == SCTP and len(data) >= _SCTP.size + 8 and data[12] == _SCTP_INIT:
        return int.from_bytes(data[16:20], "big"), Sight.PACKET
    return None


def has_right_checksums(data: bytes) -> bool:
    """Whether a receiver would take the TCP segment, UDP datagram or SCTP packet in this packet."""
    if data[0] >> 4 == 4:
        start, protocol, ends = (data[0] & 15) * 4, data[9], data[12:20]
        if _internet_checksum(data[:start]):
            return False
    else:
        start, protocol, ends = _IPV6.size, data[6], data[8:40]
    body = data[start:]
    if protocol == SCTP:
        zeroed = body[:8] + bytes(4) + body[12:]
        return _crc32c(zeroed).to_bytes(4, "little") == body[8:12]
    return not _internet_checksum(ends + struct.pack("!II", len(body), protocol) + body)


def _with_ip_header(source: bytes, destination: bytes, protocol: int, body: bytes) -> bytes:
    if len(source) == 16:
        head = _IPV6.pack(6 << 28, len(body), protocol, _TTL, source, destination)
        return head + body
    size = _IPV4.size + len(body)
    head = _IPV4.pack(0x45, 0, size, 0, 0, _TTL, protocol, 0, source, destination)
    return (
        _IPV4.pack(
            0x45, 0, size, 0, 0, _TTL, protocol, _internet_checksum(head), source, destination
        )
        + body
    )


def _with_checksum(
    body: bytes, source: bytes, destination: bytes, protocol: int, *, offset: int
) -> bytes:
    """The same with TCP's or UDP's checksum, which covers the addresses too."""
    pseudo_header = source + destination + struct.pack("!II", len(body), protocol)
    checksum = _internet_checksum(pseudo_header + body) or 0xFFFF
    return body[:offset] + checksum.to_bytes(2, "big") + body[offset + 2 :]


def _internet_checksum(data: bytes) -> int:
    """Source: RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@cache
def _crc32c_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_CRC32C_REVERSED if value & 1 else 0)
        table.append(value)
    return tuple(table)


def _crc32c(data: bytes) -> int:
    """Source: RFC 9260, appendix A.

    Example:
        >>> hex(_crc32c(b"123456789"))
        '0xe3069283'
    """
    table = _crc32c_table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
