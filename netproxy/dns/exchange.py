"""Asks one server one question: over UDP, and over TCP when the answer does not fit."""

from __future__ import annotations

import asyncio
import secrets
import socket
from contextlib import suppress

from netproxy.dns.upstreams import Upstream
from netproxy.dns.wire import LONGEST_MESSAGE, is_answer, is_cut, write_query

TIMEOUT_S = 2.0
"""For one question to one server. Source: CoreDNS's forward."""


async def exchange(upstream: Upstream, question: bytes, *, has_edns: bool = True) -> bytes:
    """The server's whole answer, which is one by its number and question.

    Every question has a port and a number of its own, so that nobody can guess both.

    Raises:
        OSError: it cannot be reached.
        TimeoutError: it does not answer.
    """
    async with asyncio.timeout(TIMEOUT_S):
        answer = await _over_udp(upstream, question, has_edns=has_edns)
    if is_cut(answer):
        async with asyncio.timeout(TIMEOUT_S):
            answer = await _over_tcp(upstream, question, has_edns=has_edns)
    return answer


async def _over_udp(upstream: Upstream, question: bytes, *, has_edns: bool) -> bytes:
    loop = asyncio.get_running_loop()
    number = secrets.token_bytes(2)
    family = socket.AF_INET6 if ":" in upstream.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        # Connected, it hears this server only, and that nobody listens there.
        sock.connect(_address(upstream))
        sock.send(write_query(number, question, has_edns=has_edns))
        while True:
            answer = await loop.sock_recv(sock, LONGEST_MESSAGE)
            if is_answer(answer, number, question):
                return answer


async def _over_tcp(upstream: Upstream, question: bytes, *, has_edns: bool) -> bytes:
    number = secrets.token_bytes(2)
    message = write_query(number, question, has_edns=has_edns)
    host = f"{upstream.host}%{upstream.scope}" if upstream.scope else upstream.host
    reader, writer = await asyncio.open_connection(host, upstream.port)
    try:
        writer.write(len(message).to_bytes(2, "big") + message)
        length = int.from_bytes(await reader.readexactly(2), "big")
        answer = await reader.readexactly(length)
    except asyncio.IncompleteReadError as error:
        raise ConnectionError("the connection ended before the answer did") from error
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    if not is_answer(answer, number, question):
        raise ConnectionError("the answer is one to something else")
    return answer


def _address(upstream: Upstream) -> tuple[str, int] | tuple[str, int, int, int]:
    if ":" not in upstream.host:
        return upstream.host, upstream.port
    scope = socket.if_nametoindex(upstream.scope) if upstream.scope else 0
    return upstream.host, upstream.port, 0, scope
