"""Whatever a server sends is an answer or a SourceError."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netproxy.errors import ConfigError, SourceError
from netproxy.kubernetes.connect import open_client
from netproxy.kubernetes.contract import Answer, ClientSettings
from tests.unit.kubernetes.api import run

HEADS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -7\r\n\r\n",
    b"HTTP/1.1 999 \xff\r\nX\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; c\r\nContent-Type: x; charset=\xff\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"",
)
CHUNKS = st.binary(max_size=40).map(lambda data: b"%x\r\n%s\r\n" % (len(data), data))
BOMB = gzip.compress(bytes(10_000_000))
BODIES = st.one_of(
    st.binary(max_size=60),
    st.lists(CHUNKS, max_size=4).map(b"".join),
    st.just(b"%x\r\n%s\r\n0\r\n\r\n" % (len(BOMB), BOMB)),
    st.just(b"line\n" * 10),
    st.just(b"a" * 10_000),
)


async def ask(sent: bytes, *, as_lines: bool) -> object:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = open_client(ClientSettings(master=f"http://127.0.0.1:{port}"), environ={})
        try:
            async with client.request("GET", "/") as answered:
                return await read(answered, as_lines=as_lines)
        except SourceError as error:
            return error
        finally:
            await client.close()


async def read(answer: Answer, *, as_lines: bool) -> object:
    if as_lines:
        return [line async for line in answer.lines(silence_s=60, limit=1000)]
    return await answer.body(1000)


@given(st.sampled_from(HEADS), BODIES, st.booleans())
@example(HEADS[1], b"%x\r\n%s\r\n0\r\n\r\n" % (len(BOMB), BOMB), False)
def test_any_bytes_are_an_answer_or_an_error(head: bytes, body: bytes, as_lines: bool) -> None:
    outcome = run(ask(head + body, as_lines=as_lines))
    if isinstance(outcome, SourceError):
        assert outcome.message.startswith("http://127.0.0.1:")
    else:
        assert isinstance(outcome, list if as_lines else bytes)


@pytest.mark.parametrize("host", ["a" * 70 + ".invalid", "a..invalid", "a b"])
def test_names_that_no_resolver_takes_are_no_names(host: str) -> None:
    with pytest.raises(ConfigError, match="--master: is not the URL"):
        open_client(ClientSettings(master=f"https://{host}:1"), environ={})
