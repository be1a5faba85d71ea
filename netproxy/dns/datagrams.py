"""Questions over UDP. Most of them are answered by one look into a dictionary."""

from __future__ import annotations

import asyncio
import socket
import struct
from time import perf_counter
from typing import Any, Final

from netproxy.dns.desk import Desk
from netproxy.dns.responder import Foreign, Reply
from netproxy.dns.tally import TransportTally
from netproxy.dns.wire import HEADER, OPT, OPT_SIZE, SMALLEST_LIMIT
from netproxy.web import Place

BATCH: Final = 64
"""Questions that are answered before others have their turn."""
LONGEST_QUESTION: Final = 4096
_ROOM: Final = 64
"""For what the kernel says of a message."""
_BUFFER: Final = 4 * 1024 * 1024
"""Bytes of questions that may wait; the kernel may allow less."""
_IP_PKTINFO: Final = 8
"""Linux, include/uapi/linux/in.h; Python names it from 3.12 on."""
_INFO4: Final = struct.Struct("=i4s4s")
_INFO6: Final = struct.Struct("=16si")

Ancillary = list[tuple[int, int, bytes]]


def _plain_heads() -> dict[bytes, int]:
    """How questions begin, behind their numbers, that ask nothing special.

    One question, recursion desired or not, the two bits of DNSSEC either way; with one additional
    record or none. Their values are those of ``Query.head``.
    """
    return {
        struct.pack(">5H", desired << 8 | extra, 1, 0, 0, additional): desired + 2 * additional
        for desired in (0, 1)
        for extra in (0x00, 0x10, 0x20, 0x30)
        for additional in (0, 1)
    }


_PLAIN_HEADS: Final = _plain_heads()


class Datagrams:
    """Answers questions at one socket, which is bound and does not block.

    Args:
        sock: The socket.
        desk: Answers.
        tally: Of this family.
    """

    def __init__(self, sock: socket.socket, desk: Desk, tally: TransportTally) -> None:
        self._sock = sock
        self._desk = desk
        self._tally = tally
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._drain)

    @property
    def port(self) -> int:
        return int(self._sock.getsockname()[1])

    def close(self) -> None:
        """Hear nobody any more."""
        self._loop.remove_reader(self._sock.fileno())
        for task in self._tasks:
            task.cancel()
        self._sock.close()

    def _drain(self) -> None:
        """Answer what has come: plain questions here, whose answers are known; others beside."""
        started = perf_counter()
        receive, send, desk = self._sock.recvmsg, self._sock.sendmsg, self._desk
        known, allowed = desk.known, desk.allowed
        kinds = []
        for _ in range(BATCH):
            try:
                message, about, _, peer = receive(LONGEST_QUESTION, _ROOM)
            except BlockingIOError:
                break
            except OSError:
                continue  # an answer was not taken, says who was to take it
            head = _PLAIN_HEADS.get(message[2:HEADER], -1)
            prepared = None
            opt = b""
            if head >= 0 and allowed.get(peer[0]):
                if head < 2:
                    question = message[HEADER:]
                    prepared = known.get(question.lower())
                elif _is_plain_opt(message):
                    question, opt = message[HEADER:-OPT_SIZE], OPT
                    prepared = known.get(question.lower())
            # With a question and an OPT record as long as its own, an answer only adds records.
            if prepared is None or len(message) + len(prepared[0].rest) > SMALLEST_LIMIT:
                self._slowly(message, about, peer, started)
                continue
            packed, kind = prepared
            rest = packed.rest
            if packed.turns:
                rest = packed.turned(rest, int(desk.random() * packed.turns))
            try:
                parts = (message[:2], packed.heads[head], question, rest, opt)
                send(parts, _answering(about), 0, peer)
                kinds.append(kind)
            except OSError:
                desk.tally.dropped += 1
        self._tally.answered_together(kinds, perf_counter() - started)

    def _slowly(self, message: bytes, about: Ancillary, peer: Any, started: float) -> None:
        """Answer whatever it is, now or when others have answered."""
        desk = self._desk
        found: Reply | Foreign | None
        if desk.may_ask(peer[0]):
            found = desk.answer(message, is_stream=False)
        else:
            found = desk.turn_away(message)
        if isinstance(found, Foreign):
            task = self._loop.create_task(self._later(found, about, peer, started))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif found is not None:
            self._send(found, about, peer, started)
        else:
            desk.tally.dropped += 1

    async def _later(self, found: Foreign, about: Ancillary, peer: Any, started: float) -> None:
        self._send(await self._desk.ask(found), about, peer, started)

    def _send(self, reply: Reply, about: Ancillary, peer: Any, started: float) -> None:
        try:
            self._sock.sendmsg((reply.message,), _answering(about), 0, peer)
        except OSError:
            self._desk.tally.dropped += 1
        else:
            self._tally.answered(reply.kind, perf_counter() - started)


def _is_plain_opt(message: bytes) -> bool:
    """Whether it ends with an OPT record of version 0 without options.

    It does if what stands before is a question; that is seen when it is looked up.
    """
    return message[-11:-8] == b"\0\0\x29" and message[-5] == 0 and message[-2:] == b"\0\0"


def _answering(about: Ancillary) -> Ancillary:
    """What makes an answer come from the address that was asked."""
    if not about:
        return about
    level, type_, data = about[0]
    if level == socket.IPPROTO_IP and type_ == _IP_PKTINFO:
        _, local, _ = _INFO4.unpack(data)
        return [(level, type_, _INFO4.pack(0, local, b"\0\0\0\0"))]
    if level == socket.IPPROTO_IPV6 and type_ == socket.IPV6_PKTINFO:
        address, interface = _INFO6.unpack(data)
        is_link_local = address[0] == 0xFE and address[1] & 0xC0 == 0x80
        return [(level, type_, _INFO6.pack(address, interface if is_link_local else 0))]
    return []


def open_datagrams(place: Place) -> socket.socket:
    """A socket there, of one family only.

    Raises:
        OSError: it is not to be had.
    """
    is_ipv6 = ":" in place.host
    kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, kind)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        if is_ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if place.host == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        elif place.host == "0.0.0.0":  # noqa: S104 - as asked
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        sock.bind((place.host, place.port))
    except OSError:
        sock.close()
        raise
    return sock
