"""The kernel's table of connections, as far as stale ones of UDP have to be forgotten.

Own code for two ctnetlink messages. The kernel is asked for connections of UDP only, and, unless
there is much to look for, only for those to each frontend; entries are looked at as they come, and
only those that are to go are kept.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterator
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
_FLAGS = struct.Struct("=I")
_FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_RECEIVE = 1 << 16
_ATTEMPTS = 5
_AT_ONCE = 64
"""Deletions in one message, whose answers then fit any receive buffer."""
_MOST_QUESTIONS = 8
"""More than so many destinations, or ports, are not asked for one by one: to find the entries of
one, the kernel walks through its whole table. Measured at 40,000 entries: 20 ms for a question
that few entries answer, 400 ms for one that all do."""
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL)
_PASSING = (errno.EINTR, errno.ENOBUFS, errno.EBUSY)
"""Troubles of the moment: ask again, on another socket."""


class _UnfilteredError(Exception):
    """This kernel gives more than it was asked for, or does not understand the question."""


class KernelFlows:
    """The connections of the calling thread's network namespace.

    See :class:`netproxy.contracts.Flows`. Holds nothing open between two calls.
    """

    def __init__(self) -> None:
        self._can_filter = True
        """Until a kernel before 5.8 shows that it is one."""

    def forget(self, sweep: Sweep) -> int:
        """See the contract."""
        deleted = 0
        for attempts_left in reversed(range(_ATTEMPTS)):
            try:
                with _Conversation() as kernel:
                    condemned = self._find(kernel, sweep)
                    for start in range(0, len(condemned), _AT_ONCE):
                        batch = condemned[start : start + _AT_ONCE]
                        deleted += kernel.delete(sweep.family, batch)
                break
            except OSError as error:
                if error.errno in _PASSING and attempts_left:
                    continue
                raise DataplaneError(
                    operation="forget",
                    subject="stale UDP connections",
                    errno=error.errno or errno.EIO,
                ) from error
        return deleted

    def _find(self, kernel: _Conversation, sweep: Sweep) -> list[bytes]:
        """What names each condemned connection to the kernel."""
        if self._can_filter:
            try:
                return [
                    identity
                    for question in _questions(sweep)
                    for identity in _ask(kernel, sweep, question)
                ]
            except _UnfilteredError:
                self._can_filter = False
        answers = kernel.dump(sweep.family, b"")
        return [_identity(each) for each in answers if _is_condemned(each, sweep)]


class _Question(NamedTuple):
    """Connections of UDP to one address of IPv4, one port, both or any."""

    address: bytes = b""
    port: int = 0

    def is_answered_by(self, destination: Place | None) -> bool:
        if destination is None:
            return False
        return self.address in {b"", destination[0]} and self.port in {0, destination[1]}

    def encode(self) -> bytes:
        """The attributes that say so."""
        protocol = nl.attribute(_PROTOCOL, bytes([_UDP]))
        flags, address = _BY_PROTOCOL, b""
        if self.port:
            flags |= _BY_DESTINATION_PORT
            protocol += nl.attribute(_DESTINATION_PORT, _PORT.pack(self.port))
        if self.address:
            flags |= _BY_DESTINATION
            destination = nl.attribute(_IP_DESTINATION[Family.IPV4], self.address)
            address = nl.nested(_TUPLE_IP | nl.NESTED, destination)
        layer_4 = nl.nested(_TUPLE_PROTOCOL | nl.NESTED, protocol)
        return nl.nested(_TUPLE_ORIGINAL | nl.NESTED, address, layer_4) + nl.nested(
            _FILTER | nl.NESTED,
            nl.attribute(_FILTER_ORIGINAL, _FLAGS.pack(flags)),
            nl.attribute(_FILTER_REPLY, _FLAGS.pack(0)),
        )


def _questions(sweep: Sweep) -> Collection[_Question]:
    """Few questions with few answers each; if there is much to look for, one with many.

    An address of IPv6 is never asked for: kernels give the connections to all others instead.
    Source: ctnetlink_filter_match_tuple takes ipv6_addr_cmp for a test of equality; seen on 6.18.
    """
    if sweep.family is Family.IPV4:
        places = {_Question(*place) for place in sweep.frontends}
        if len(places) <= _MOST_QUESTIONS:
            return places
    ports = {_Question(port=port) for _, port in sweep.frontends}
    return ports if len(ports) <= _MOST_QUESTIONS else [_Question()]


def _ask(kernel: _Conversation, sweep: Sweep, question: _Question) -> list[bytes]:
    """What names each condemned connection among the answers.

    Raises:
        _UnfilteredError: the answers are not those to this question.
        OSError: see ``_Conversation.dump``.
    """
    condemned = []
    is_answered = True
    try:
        for message in kernel.dump(sweep.family, question.encode()):
            # Listened to until the end also if it is not: until then the socket is busy.
            is_answered &= question.is_answered_by(_destination(message, sweep.family))
            if _is_condemned(message, sweep):
                condemned.append(_identity(message))
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        is_answered = False
    if not is_answered:
        raise _UnfilteredError
    return condemned


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
        """Every entry, from its attributes on.

        Raises:
            OSError: the kernel refused; EINTR: its table was resized meanwhile, some are missing.
        """
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
                    _check(number or (errno.EINTR if is_interrupted else 0))
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
                if number != errno.ENOENT:
                    _check(number)
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


def _check(number: int) -> None:
    if number:
        raise OSError(number, os.strerror(number))


def _messages(buffer: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """(type, flags, sequence, start, end) of every message."""
    offset = 0
    while offset < len(buffer):
        length, kind, flags, sequence, _ = _NLMSG.unpack_from(buffer, offset)
        yield kind, flags, sequence, offset + _NLMSG.size, offset + length
        offset += (length + 3) & ~3


def _is_condemned(message: bytes, sweep: Sweep) -> bool:
    """Most connections are nobody's business: no more is read of them than where they go."""
    destination = _destination(message, sweep.family)
    if destination is None or not sweep.concerns(destination):
        return False
    reply = _find_attribute(message, _TUPLE_REPLY)
    server = _find_attribute(_find_attribute(reply, _TUPLE_IP), _IP_SOURCE[sweep.family])
    port = _find_attribute(_find_attribute(reply, _TUPLE_PROTOCOL), _SOURCE_PORT)
    return sweep.condemns(destination, (server, _PORT.unpack(port)[0]))


def _destination(message: bytes, family: Family) -> Place | None:
    """Where the client of a connection of UDP sends to; None for any other connection."""
    original = _find_attribute(message, _TUPLE_ORIGINAL)
    protocol = nl.read(_find_attribute(original, _TUPLE_PROTOCOL))
    address = _find_attribute(_find_attribute(original, _TUPLE_IP), _IP_DESTINATION[family])
    if protocol.get(_PROTOCOL) != bytes([_UDP]) or not address:
        return None
    return address, _PORT.unpack(protocol[_DESTINATION_PORT])[0]


def _identity(message: bytes) -> bytes:
    """The attributes by which the kernel finds this very connection again, never another one."""
    fields = nl.read(message)
    identity = nl.attribute(_TUPLE_ORIGINAL | nl.NESTED, fields[_TUPLE_ORIGINAL])
    for kind in (_ID, _ZONE):
        if kind in fields:
            identity += nl.attribute(kind, fields[kind])
    return identity


def _find_attribute(buffer: bytes, wanted: int) -> bytes:
    """The payload of the first attribute of a kind; empty: there is none."""
    return next((payload for kind, payload in nl.iterate(buffer) if kind == wanted), b"")
