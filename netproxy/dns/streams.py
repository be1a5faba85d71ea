"""Questions over TCP (RFC 7766): many on one connection, answered as answers are found."""

from __future__ import annotations

import asyncio
import socket
from time import perf_counter
from typing import Final, cast

from netproxy.dns.desk import Desk
from netproxy.dns.responder import Foreign, Reply
from netproxy.dns.tally import TransportTally
from netproxy.log import EventLogger
from netproxy.web import Place

MOST_CONNECTIONS: Final = 256
"""At all addresses together. One more ends the one that has been silent for longest."""
IDLE_S: Final = 10.0
"""For which a client may ask nothing, or not take its answers."""
BATCH: Final = 64
"""Questions of one connection that are answered before others have their turn."""
MOST_AT_ONCE: Final = 32
"""Questions of one connection that wait for others; no more are read meanwhile."""
MOST_UNSENT: Final = 256 * 1024
"""Bytes of answers that a client may leave unread before no more questions are."""
_BACKLOG: Final = 128
_PAUSE_S: Final = 1.0
"""Before asking for connections again, after the system had no more to give."""

log = EventLogger(__name__)


class Connections:
    """Those that are open, the one that was heard from last at the end."""

    def __init__(self, most: int = MOST_CONNECTIONS) -> None:
        self._most = most
        self._open: dict[Stream, None] = {}
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._open)

    def heard(self, stream: Stream) -> None:
        """It is new, or has asked something."""
        if self._is_closed:
            stream.abort()
            return
        self._open.pop(stream, None)
        if len(self._open) >= self._most:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.abort()
        self._open[stream] = None

    def closed(self, stream: Stream) -> None:
        """It is gone; may be said twice."""
        self._open.pop(stream, None)

    def close(self) -> None:
        """End them all, and those that are on their way in."""
        self._is_closed = True
        for stream in list(self._open):
            stream.abort()
        self._open.clear()


class Stream(asyncio.Protocol):
    """One connection.

    Args:
        desk: Answers.
        tally: Of this family.
        connections: Those that share a limit with it.
    """

    def __init__(self, desk: Desk, tally: TransportTally, connections: Connections) -> None:
        self._desk = desk
        self._tally = tally
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_full = False
        """The client does not take its answers."""
        self._is_over = False
        """The client asks no more."""
        self._turn: asyncio.Handle | None = None
        """When there is more to be done, after others have had their turn."""
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Source: asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=MOST_UNSENT)
        peer = transport.get_extra_info("peername")
        if peer is None or not self._desk.may_ask(peer[0]):
            self._transport.abort()
            return
        self._heard()

    def data_received(self, data: bytes) -> None:
        """Source: asyncio.Protocol."""
        self._buffer += data
        self._work()

    def eof_received(self) -> bool:
        """What was asked is answered. Source: asyncio.Protocol."""
        self._is_over = True
        self._work()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it is over
        """Source: asyncio.Protocol."""
        self._connections.closed(self)
        for handle in (self._deadline, self._turn):
            if handle is not None:
                handle.cancel()
        for task in self._tasks:
            task.cancel()

    def pause_writing(self) -> None:
        """Source: asyncio.Protocol."""
        self._is_full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Source: asyncio.Protocol."""
        self._is_full = False
        self._work()

    def abort(self) -> None:
        """End it, whatever it is at."""
        self._transport.abort()

    def _heard(self) -> None:
        """The client has done something sensible: it may be silent again for a while."""
        self._connections.heard(self)
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._loop.call_later(IDLE_S, self._expire)

    def _expire(self) -> None:
        if self._tasks and not self._is_full:
            self._heard()  # we are the one who keeps the other waiting
        else:
            self._transport.abort()

    def _work(self) -> None:
        """Answer questions that are complete, as long as answers find their way out."""
        at = 0
        for _ in range(BATCH):
            message = None if self._must_wait() else self._message_at(at)
            if message is None:
                break
            at += 2 + len(message)
            self._answer(message)
        del self._buffer[:at]
        if at:
            self._heard()
        if self._must_wait():
            self._transport.pause_reading()
        elif self._message_at(0) is not None:
            self._transport.pause_reading()
            self._turn = self._loop.call_soon(self._work)
        elif self._is_over:
            if not self._tasks:
                self._transport.close()
        else:
            self._transport.resume_reading()

    def _must_wait(self) -> bool:
        return self._is_full or len(self._tasks) >= MOST_AT_ONCE or self._transport.is_closing()

    def _message_at(self, at: int) -> bytes | None:
        """The message whose length stands there; None: it is not complete."""
        if len(self._buffer) < at + 2:
            return None
        end = at + 2 + int.from_bytes(self._buffer[at : at + 2], "big")
        return bytes(self._buffer[at + 2 : end]) if end <= len(self._buffer) else None

    def _answer(self, message: bytes) -> None:
        started = perf_counter()
        found = self._desk.answer(message, is_stream=True)
        if isinstance(found, Foreign):
            task = self._loop.create_task(self._later(found, started))
            self._tasks.add(task)
            task.add_done_callback(self._done)
        elif found is not None:
            self._send(found, started)
        else:
            self._desk.tally.dropped += 1
            self._transport.abort()  # no client sends that

    async def _later(self, found: Foreign, started: float) -> None:
        self._send(await self._desk.ask(found), started)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._transport.is_closing():
            self._work()

    def _send(self, reply: Reply, started: float) -> None:
        if not self._transport.is_closing():
            self._transport.write(len(reply.message).to_bytes(2, "big") + reply.message)
            self._tally.answered(reply.kind, perf_counter() - started)


class Listener:
    """Accepts connections at one socket, which listens and does not block.

    Args:
        sock: The socket.
        desk: Answers.
        tally: Of this family.
        connections: Those that share a limit.
    """

    def __init__(
        self,
        sock: socket.socket,
        desk: Desk,
        tally: TransportTally,
        connections: Connections,
    ) -> None:
        self._sock = sock
        self._make = lambda: Stream(desk, tally, connections)
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._arrivals: set[asyncio.Task[object]] = set()
        self._resume()

    @property
    def port(self) -> int:
        return int(self._sock.getsockname()[1])

    def close(self) -> None:
        """Listen no more."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:  # no descriptors left, or no memory: there may be some later
            log.warning("cannot accept", server="dns", error=str(error))
            self._loop.remove_reader(self._sock.fileno())
            self._pause = self._loop.call_later(_PAUSE_S, self._resume)
            return
        connection.setblocking(False)
        arrival = self._loop.connect_accepted_socket(self._make, connection)
        task = self._loop.create_task(arrival)
        self._arrivals.add(task)
        task.add_done_callback(self._arrivals.discard)


def open_listener(place: Place) -> socket.socket:
    """A listening socket there, of one family only.

    Raises:
        OSError: it is not to be had.
    """
    is_ipv6 = ":" in place.host
    kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
    sock = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, kind)
    try:
        # Connections of a predecessor that are not quite over are no reason to refuse.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((place.host, place.port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
