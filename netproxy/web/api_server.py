"""Serves an API to clients who stay: connections are kept, bodies read, streams sent, TLS spoken.

The second place that imports aiohttp to serve; ``server.py`` says what it costs.

Nobody holds a place for nothing: a connection that does not ask within ``FIRST_REQUEST_S`` is
closed, the body of somebody we know has ``BODY_S`` to arrive and may have so many bytes, and a
client who does not take what is sent is let go after ``SEND_S``, as is one that is dead.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from asyncio import sslproto
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from netproxy.log import EventLogger
from netproxy.web import Answer, ApiHandler, Inquiry, Place, Stream

FIRST_REQUEST_S = 20.0
"""From a connection to its first request."""
BODY_S = 30.0
"""From a request's head to the end of its body."""
KEEP_ALIVE_S = 120.0
"""Between two requests of a client."""
SEND_S = 60.0
"""For a client to take a piece of a stream, or anything at all, until it is let go."""
KEEPALIVE_IDLE_S, KEEPALIVE_PERIOD_S, KEEPALIVE_TRIES = 30, 10, 3
"""How the kernel asks whether a silent client is alive (``TCP_KEEPIDLE`` and its siblings)."""
MOST_CONNECTIONS = 8192
COMPRESS_FROM = 128 * 1024
"""Longer answers are compressed for who wants it, as a Kubernetes API server does (bytes)."""
_TLS_BUFFER = 16 * 1024
_HEAD_LIMIT = 32 * 1024
_CLOSING_S = 2.0
_log = EventLogger(__name__)


class Bodies(NamedTuple):
    """Which bodies are read, and what is answered to the others."""

    limit: int
    """In bytes."""
    refuse: Callable[[Inquiry], Answer | None]
    """Looks at a request that has a body before it is read; None: it is read."""
    too_long: Answer
    too_slow: Answer


class ApiServer:
    """Answers on any number of addresses and sockets.

    Args:
        handle: Answers one request.
        bodies: Which are read.
    """

    def __init__(self, handle: ApiHandler, bodies: Bodies) -> None:
        self._handle = handle
        self._bodies = bodies
        self._door = _Door(self._answer)
        self._streams: set[asyncio.Task[object]] = set()
        self._is_closing = False
        self._servers: list[asyncio.Server] = []
        self._paths: list[Path] = []
        # asyncio gives each TLS connection 256 KiB for reading; with hundreds of watchers that is
        # most of what the process has. 16 KiB is TLS's own longest record.
        sslproto.SSLProtocol.max_size = _TLS_BUFFER

    async def listen(self, place: Place, context: ssl.SSLContext) -> int:
        """Listen with TLS; returns the port. ``OSError``: the address is not to be had."""
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
        server = await loop.create_server(
            self._door,
            place.host,
            place.port,
            family=family,
            ssl=context,
            ssl_handshake_timeout=FIRST_REQUEST_S,
            backlog=512,
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def listen_locally(self, path: Path) -> None:
        """Listen on a socket of the file system that only our own user may use."""
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        sock = socket.socket(socket.AF_UNIX)
        previous = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(previous)
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_unix_server(self._door, sock=sock))
        self._paths.append(path)

    async def close(self) -> None:
        """Listen no more; answers under way have a moment, streams are ended as streams are."""
        self._is_closing = True
        for server in self._servers:
            server.close()
        for path in self._paths:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        streams = set(self._streams)
        for stream in streams:
            stream.cancel()
        if streams:
            await asyncio.wait(streams, timeout=_CLOSING_S)
        await self._door.shutdown(_CLOSING_S)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._door.asked(request)
        inquiry = _inquiry(request)
        if request.body_exists:
            body = await self._read(request, inquiry)
            if isinstance(body, Answer):
                response = _response(request, body)
                response.force_close()
                return response
            inquiry = inquiry._replace(body=body)
        answer = await self._handle(inquiry)
        if isinstance(answer, Stream):
            return await self._send_stream(request, answer)
        return _response(request, answer)

    async def _read(self, request: web.BaseRequest, inquiry: Inquiry) -> bytes | Answer:
        """The body, or why it is not read."""
        refusal = self._bodies.refuse(inquiry)
        if refusal is not None:
            return refusal
        if (request.content_length or 0) > self._bodies.limit:
            return self._bodies.too_long
        if "100-continue" in request.headers.get("Expect", "").lower() and request.transport:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_S):
                async for piece in request.content.iter_any():
                    size += len(piece)
                    if size > self._bodies.limit:
                        return self._bodies.too_long
                    pieces.append(piece)
        except TimeoutError:
            return self._bodies.too_slow
        return b"".join(pieces)

    async def _send_stream(self, request: web.BaseRequest, stream: Stream) -> web.StreamResponse:
        response = web.StreamResponse(headers={**stream.headers, "Server": "netproxy"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        try:
            await _send_chunks(response, stream)
        except asyncio.CancelledError:
            if not self._is_closing:
                raise  # the client has gone
            task.uncancel()
        except ConnectionError:
            return response  # the client has gone, which ends what was made for it
        except TimeoutError:
            _log.info("a client who does not take its stream is let go", path=request.path)
            if request.transport is not None:
                request.transport.abort()
            return response
        finally:
            self._streams.discard(task)
            aclose = getattr(stream.chunks, "aclose", None)
            if aclose is not None:
                await aclose()
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(_CLOSING_S):
                await response.write_eof()
        return response


class _Door(web.Server):
    """aiohttp's server, closing connections that never ask and those beyond what we can bear."""

    def __init__(self, handler: Any) -> None:
        super().__init__(
            handler,
            access_log=None,
            logger=_SILENT,
            keepalive_timeout=KEEP_ALIVE_S,
            handler_cancellation=True,
            max_line_size=_HEAD_LIMIT,
            max_field_size=_HEAD_LIMIT,
        )
        self._timers: dict[object, asyncio.TimerHandle] = {}
        self._count = 0

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._count += 1
        if self._count > MOST_CONNECTIONS:
            _log.warning("too many connections", most=MOST_CONNECTIONS)
            transport.abort()
        _give_up_early(transport.get_extra_info("socket"))
        loop = asyncio.get_running_loop()
        self._timers[transport] = loop.call_later(FIRST_REQUEST_S, transport.abort)

    def asked(self, request: web.BaseRequest) -> None:
        """A request has come: the connection is worth keeping."""
        timer = self._timers.pop(request.transport, None)
        if timer is not None:
            timer.cancel()

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        self._count -= 1
        timer = self._timers.pop(handler.transport, None)
        if timer is not None:
            timer.cancel()
        super().connection_lost(handler, exc)


def _give_up_early(connection: socket.socket) -> None:
    """Have the kernel end a connection whose other side is dead, or never reads.

    ``TCP_USER_TIMEOUT`` counts for a closed window, too (Linux 5.11).
    """
    if connection.family == socket.AF_UNIX:
        return
    for option, value in (
        (socket.TCP_USER_TIMEOUT, int(SEND_S * 1000)),
        (socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S),
        (socket.TCP_KEEPINTVL, KEEPALIVE_PERIOD_S),
        (socket.TCP_KEEPCNT, KEEPALIVE_TRIES),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _inquiry(request: web.BaseRequest) -> Inquiry:
    """Without its body."""
    path, _, query = request.raw_path.partition("?")
    transport = request.transport
    subject: tuple[tuple[str, str], ...] = ()
    is_local = False
    if transport is not None:
        shown = transport.get_extra_info("peercert")
        if shown:
            subject = tuple(pair for name in shown["subject"] for pair in name)
        is_local = transport.get_extra_info("socket").family == socket.AF_UNIX
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Inquiry(request.method, path, query, headers, b"", is_local, subject)


def _response(request: web.BaseRequest, answer: Answer) -> web.Response:
    response = web.Response(
        status=answer.status, body=answer.body, headers={**answer.headers, "Server": "netproxy"}
    )
    if len(answer.body) >= COMPRESS_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
        response.enable_compression(web.ContentCoding.gzip)
    return response


async def _send_chunks(response: web.StreamResponse, stream: Stream) -> None:
    """All of it; ``TimeoutError``: the client does not take it."""
    async for chunk in stream.chunks:
        async with asyncio.timeout(SEND_S):
            await response.write(chunk)


_SILENT = logging.getLogger(__name__ + ".aiohttp")
"""What is no HTTP is nothing that an operator could act upon."""
_SILENT.disabled = True
