"""The kernel's table of connections, as far as stale ones of UDP have to be forgotten.

Own code for two ctnetlink messages. The kernel is asked for connections of UDP only, and for one
destination only if that is all there is to look for; entries are looked at as they come, and only
those that are to go are kept.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple, Self

from netproxy.core.conntrack import Place, Sweep
from netproxy.errors import DataplaneError
from netproxy.kernel.nfnetlink import NETLINK_NETFILTER
from netproxy.model.ip import Family
from netproxy.nft import attributes as nl

_SUBSYSTEM, _GET, _DELETE = 1, 1, 2
"""Source: NFNL_SUBSYS_CTNETLINK, enum cntl_msg_types, linux/netfilter/nfnetlink_conntrack.h."""
_TUPLE_ORIGINAL, _TUPLE_REPLY, _ID, _ZONE, _FILTER = 1, 2, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_IP_SOURCE = {Family.IPV4: 1, Family.IPV6: 3}
_IP_DESTINATION = {Family.IPV4: 2, Family.IPV6: 4}
_PROTOCOL, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_FILTER_ORIGINAL, _FILTER_REPLY = 1, 2
_BY_DESTINATION, _BY_PROTOCOL, _BY_DESTINATION_PORT = 1 << 1, 1 << 3, 1 << 5
"""Source: CTA_FILTER_F_…, net/netfilter/nf_conntrack_netlink.c; kernels since 5.8 have filters."""
_UDP = 17
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP, _NLM_F_DUMP_INTR = 0x1, 0x4, 0x300, 0x10
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLMSG = struct.Struct("=IHHII")
_NFGEN = struct.Struct(">BBH")
_PORT = struct.Struct(">H")
_FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_RECEIVE = 1 << 16
_ATTEMPTS = 5
_AT_ONCE = 64
"""Deletions in one message, whose answers then fit any receive buffer."""
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL)


class _InterruptedError(Exception):
    """The table was resized while it was read; entries may be missing."""


class _Refused(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


class KernelFlows:
    """The connections of the calling thread's network namespace.

    See :class:`netproxy.contracts.Flows`. Holds nothing open between two calls.
    """

    def __init__(self) -> None:
        self._can_filter = True

    def forget(self, sweep: Sweep) -> int:
        """See the contract."""
        try:
            with _Conversation() as kernel:
                condemned = self._find(kernel, sweep)
                return sum(
                    kernel.delete(sweep.family, condemned[start : start + _AT_ONCE])
                    for start in range(0, len(condemned), _AT_ONCE)
                )
        except (_Refused, OSError) as error:
            number = error.number if isinstance(error, _Refused) else error.errno or errno.EIO
            raise DataplaneError(
                operation="forget", subject="stale UDP connections", errno=number
            ) from error

    def _find(self, kernel: _Conversation, sweep: Sweep) -> list[bytes]:
        """What names each condemned connection to the kernel."""
        for _ in range(_ATTEMPTS):
            try:
                return [
                    entry.identity
                    for entry in self._entries(kernel, sweep)
                    if sweep.condemns(entry.destination, entry.server)
                ]
            except _InterruptedError:
                continue
            except _Refused as error:
                if not (self._can_filter and error.number in _UNSUPPORTED):
                    raise
                self._can_filter = False  # before 5.8: everything comes, and is looked through
        raise _Refused(errno.EINTR)

    def _entries(self, kernel: _Conversation, sweep: Sweep) -> Iterator[_Entry]:
        body = _wanted(sweep) if self._can_filter else b""
        for message in kernel.dump(sweep.family, body):
            entry = _read_entry(message, sweep.family)
            if entry is not None:
                yield entry


class _Conversation:
    """Questions and answers on one netlink socket."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def dump(self, family: Family, body: bytes) -> Iterator[bytes]:
        """Every entry, from its attributes on."""
        self._send(_GET, family, body, _NLM_F_DUMP)
        is_interrupted = False
        while True:
            buffer = self._socket.recv(_RECEIVE)
            for kind, flags, sequence, start, end in _messages(buffer):
                if sequence != self._sequence:
                    continue
                is_interrupted |= bool(flags & _NLM_F_DUMP_INTR)
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    number = -struct.unpack_from("=i", buffer, start)[0]
                    if number:
                        raise _Refused(number)
                    if is_interrupted:
                        raise _InterruptedError
                    return
                yield buffer[start + _NFGEN.size : end]

    def delete(self, family: Family, identities: list[bytes]) -> int:
        """Forget these; returns how many were still there."""
        first = self._sequence + 1
        parts = [self._message(_DELETE, family, body, _NLM_F_ACK) for body in identities]
        self._socket.send(b"".join(parts))
        answered = deleted = 0
        while answered < len(identities):
            buffer = self._socket.recv(_RECEIVE)
            for kind, _, sequence, start, _ in _messages(buffer):
                if kind != _NLMSG_ERROR or sequence < first:
                    continue
                number = -struct.unpack_from("=i", buffer, start)[0]
                if number not in (0, errno.ENOENT):
                    raise _Refused(number)
                answered += 1
                deleted += number == 0
        return deleted

    def _send(self, kind: int, family: Family, body: bytes, flags: int) -> None:
        self._socket.send(self._message(kind, family, body, flags))

    def _message(self, kind: int, family: Family, body: bytes, flags: int) -> bytes:
        self._sequence += 1
        number = _SUBSYSTEM << 8 | kind
        head = _NLMSG.pack(20 + len(body), number, flags | _NLM_F_REQUEST, self._sequence, 0)
        return head + _NFGEN.pack(_FAMILIES[family], 0, 0) + body


def _messages(buffer: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """(type, flags, sequence, start, end) of every message."""
    offset = 0
    while offset < len(buffer):
        length, kind, flags, sequence, _ = _NLMSG.unpack_from(buffer, offset)
        yield kind, flags, sequence, offset + _NLMSG.size, offset + length
        offset += (length + 3) & ~3


def _wanted(sweep: Sweep) -> bytes:
    """The filter: UDP, and the destination if there is but one."""
    protocol = nl.attribute(_PROTOCOL, bytes([_UDP]))
    flags, address = _BY_PROTOCOL, b""
    if len(sweep.frontends) == 1:
        (place,) = sweep.frontends
        if place[0]:
            flags |= _BY_DESTINATION | _BY_DESTINATION_PORT
            protocol += nl.attribute(_DESTINATION_PORT, _PORT.pack(place[1]))
            destination = nl.attribute(_IP_DESTINATION[sweep.family], place[0])
            address = nl.nested(_TUPLE_IP | nl.NESTED, destination)
    wanted = nl.nested(
        _TUPLE_ORIGINAL | nl.NESTED, address, nl.nested(_TUPLE_PROTOCOL | nl.NESTED, protocol)
    )
    by = struct.pack("=I", flags)
    return wanted + nl.nested(
        _FILTER | nl.NESTED,
        nl.attribute(_FILTER_ORIGINAL, by),
        nl.attribute(_FILTER_REPLY, bytes(4)),
    )


class _Entry(NamedTuple):
    destination: Place
    server: Place
    identity: bytes
    """The attributes by which the kernel finds this very connection again."""


def _read_entry(message: bytes, family: Family) -> _Entry | None:
    """A connection of UDP in the family, or None for any other."""
    fields = nl.read(message)
    original = fields.get(_TUPLE_ORIGINAL, b"")
    to = nl.read(original)
    protocol = nl.read(to.get(_TUPLE_PROTOCOL, b""))
    destination = nl.read(to.get(_TUPLE_IP, b"")).get(_IP_DESTINATION[family])
    if protocol.get(_PROTOCOL) != bytes([_UDP]) or destination is None:
        return None
    back = nl.read(fields[_TUPLE_REPLY])
    server = nl.read(back[_TUPLE_IP])[_IP_SOURCE[family]]
    server_port = _PORT.unpack(nl.read(back[_TUPLE_PROTOCOL])[_SOURCE_PORT])[0]
    identity = nl.attribute(_TUPLE_ORIGINAL | nl.NESTED, original)
    for kind in (_ID, _ZONE):
        if kind in fields:
            identity += nl.attribute(kind, fields[kind])
    port = _PORT.unpack(protocol[_DESTINATION_PORT])[0]
    return _Entry((destination, port), (server, server_port), identity)
