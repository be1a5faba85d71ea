"""A server that knows what others know, and misbehaves when it is told to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

from netproxy.dns.upstreams import Upstream
from netproxy.model.ip import IPAddress

Answering = Callable[[dns.message.Message, bool], dns.message.Message | bytes | None]
"""A question, and whether it came over TCP → what is sent; None: nothing."""


def records(*lines: str) -> Answering:
    """Answers every question with these records, as a zone file has them."""

    def answer(asked: dns.message.Message, is_tcp: bool) -> dns.message.Message:
        said = reply(asked)
        for line in lines:
            name, ttl, type_, data = line.split(None, 3)
            rrset = dns.rrset.from_text(name, int(ttl), "IN", type_, data)
            section = said.authority if type_ == "SOA" else said.answer
            known = said.find_rrset(section, rrset.name, rrset.rdclass, rrset.rdtype, create=True)
            for each in rrset:
                known.add(each, rrset.ttl)
        return said

    return answer


def reply(asked: dns.message.Message, rcode: int = 0) -> dns.message.Message:
    """An answer without records."""
    said: dns.message.Message = dns.message.make_response(asked, recursion_available=True)
    said.set_rcode(dns.rcode.Rcode(rcode))
    return said


class UpstreamServer:
    """Answers over UDP and TCP at one port of loopback."""

    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        self.asked: list[str] = []
        """Names and types, with ``tcp`` behind those that came so."""
        self.place = Upstream(IPAddress("127.0.0.1"), 0)

    def _respond(self, wire: bytes, *, is_tcp: bool) -> bytes | None:
        asked = dns.message.from_wire(wire)
        question = asked.question[0]
        words = [str(question.name), dns.rdatatype.to_text(question.rdtype)]
        self.asked.append(" ".join([*words, "tcp"] if is_tcp else words))
        said = self.answer(asked, is_tcp)
        return said.to_wire(max_size=65535) if isinstance(said, dns.message.Message) else said

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            length = int.from_bytes(await reader.readexactly(2), "big")
            said = self._respond(await reader.readexactly(length), is_tcp=True)
            if said is not None:
                writer.write(len(said).to_bytes(2, "big") + said)
                await writer.drain()
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: UpstreamServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        said = self._server._respond(data, is_tcp=False)
        if said is not None:
            self._transport.sendto(said, addr)


@asynccontextmanager
async def upstream_server(answer: Answering) -> AsyncIterator[UpstreamServer]:
    """One that is there as long as the context."""
    loop = asyncio.get_running_loop()
    made = UpstreamServer(answer)
    listener = await asyncio.start_server(made._serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    made.place = made.place._replace(port=port)
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(made), local_addr=("127.0.0.1", port)
    )
    try:
        yield made
    finally:
        transport.close()
        listener.close()
        await listener.wait_closed()


def closed_place() -> Upstream:
    """Where nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return Upstream(IPAddress("127.0.0.1"), sock.getsockname()[1])
