"""Answers HTTP. aiohttp is imported here and nowhere else where something is served.

Every connection gets one answer and is closed, whatever it asks. One that has not asked within
``LIFETIME_S`` is closed, and of too many the oldest: nobody can keep others out by holding
connections open.

aiohttp takes 0.14 s and 15 MB, so whoever may never serve imports this module only when it does.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Collection

from aiohttp import web

from netproxy.web import Handler, Place, Request

LIFETIME_S = 10.0
"""From accepting a connection to closing it."""
LINGER_S = 2.0
"""For the rest of a request's body after the answer: closed at once, it would be lost to some."""
MOST_CONNECTIONS = 256
"""Of all servers that share their visitors; well below the 1024 open files that a process usually
may have."""
LONGEST_LINE = 4096
"""Of a request's first line and of each header, in bytes."""
_BACKLOG = 64
_PAUSE_S = 1.0
"""Before asking for connections again, after the system had no more to give."""


class Visitors:
    """Open connections, oldest first; never too many, none for too long. Servers may share it."""

    def __init__(self, most: int = MOST_CONNECTIONS, lifetime_s: float = LIFETIME_S) -> None:
        self._most = most
        self._lifetime_s = lifetime_s
        self._timers: dict[asyncio.Transport, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._timers)

    def came(self, transport: asyncio.Transport) -> None:
        """A connection was accepted."""
        if len(self._timers) >= self._most:
            oldest = next(iter(self._timers))
            oldest.abort()
            self.went(oldest)
        loop = asyncio.get_running_loop()
        self._timers[transport] = loop.call_later(self._lifetime_s, transport.abort)

    def went(self, transport: asyncio.Transport) -> None:
        """It is closed; may be said twice."""
        timer = self._timers.pop(transport, None)
        if timer is not None:
            timer.cancel()


class Server:
    """Answers on any number of addresses.

    Args:
        handle: Answers one request.
        visitors: Its connections, and those of others that share the limit.
    """

    def __init__(self, handle: Handler, visitors: Visitors) -> None:
        self._handle = handle
        self._door = _Door(self._answer, visitors)
        self._listeners: dict[Place, _Listener] = {}

    def listen(self, places: Collection[Place]) -> dict[Place, OSError]:
        """Listen on exactly these; returns those on which it was not possible."""
        for place in [each for each in self._listeners if each not in places]:
            self._listeners.pop(place).close()
        failures = {}
        for place in places:
            if place not in self._listeners:
                try:
                    self._listeners[place] = _Listener(_open_socket(place), self._door)
                except OSError as error:
                    failures[place] = error
        return failures

    @property
    def ports(self) -> dict[Place, int]:
        """The ports in use; other than the places' own where those are 0."""
        return {place: listener.port for place, listener in self._listeners.items()}

    def close(self) -> None:
        """Give the ports back and close all connections; no further call is allowed."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        self._door.close()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        answer = await self._handle(Request(request.method, request.path, request.headers))
        # Without Server aiohttp would name itself and its version to everybody.
        headers = {**answer.headers, "Server": "netproxy"}
        response = web.Response(status=answer.status, headers=headers, body=answer.body)
        response.force_close()
        return response


class _Door(web.Server):
    """aiohttp's server, telling who comes and who goes."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        visitors: Visitors,
    ) -> None:
        super().__init__(
            handler,
            access_log=None,
            logger=_SILENT,
            lingering_time=LINGER_S,
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
        )
        self._visitors = visitors
        self._inside: dict[web.RequestHandler, asyncio.Transport] = {}
        self._is_closed = False

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._inside[handler] = transport
        self._visitors.came(transport)
        if self._is_closed:
            transport.abort()

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        super().connection_lost(handler, exc)
        transport = self._inside.pop(handler, None)
        if transport is not None:
            self._visitors.went(transport)

    def close(self) -> None:
        """Close all connections, whatever they are at, and those that are on their way in."""
        self._is_closed = True
        for transport in self._inside.values():
            transport.abort()


class _Listener:
    """Accepts connections on one address.

    asyncio's own server forgets a connection that it has accepted when it is closed before it has
    looked at it; the client then waits until the garbage collector comes by. Seen with 3.11.
    """

    def __init__(self, sock: socket.socket, door: _Door) -> None:
        self._sock = sock
        self._door = door
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
        except OSError:  # no file descriptors left, or no memory: ask again when there may be
            self._loop.remove_reader(self._sock.fileno())
            self._pause = self._loop.call_later(_PAUSE_S, self._resume)
            return
        connection.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._door, connection))
        self._arrivals.add(task)
        task.add_done_callback(self._arrivals.discard)


def _open_socket(place: Place) -> socket.socket:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections of a predecessor that are not quite over are no reason to refuse.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not place.is_dual)
        sock.bind((place.host, place.port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


_SILENT = logging.getLogger(__name__ + ".aiohttp")
"""What strangers send is nothing that an operator could act upon."""
_SILENT.disabled = True
