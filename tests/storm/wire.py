"""HTTP/1.1 as bytes on a connection: what a polite library would not say can be said here."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

LONGEST_LINE = 64 * 1024 * 1024


class Closed(Exception):
    """The connection ended in the middle."""


class Access(NamedTuple):
    """How a server is reached, and as whom."""

    host: str
    port: int
    context: ssl.SSLContext
    token: str

    @classmethod
    def read(cls, kubeconfig: Path) -> Access:
        """From a kubeconfig that the server has written."""
        said = json.loads(kubeconfig.read_bytes())
        cluster = said["clusters"][0]["cluster"]
        place = urlsplit(cluster["server"])
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        assert place.hostname is not None
        assert place.port is not None
        return cls(place.hostname, place.port, context, said["users"][0]["user"]["token"])


class Reply(NamedTuple):
    """An answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def object(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection; requests are answered in their order."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str = ""
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.token = token

    def say(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a request and do not wait for its answer; a body is made JSON unless it is bytes."""
        raw = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        said = {"Host": "localhost", "Content-Length": str(len(raw)), **(headers or {})}
        if self.token:
            said.setdefault("Authorization", f"Bearer {self.token}")
        if raw:
            said.setdefault("Content-Type", "application/json")
        head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + raw)

    async def hear(self) -> Reply:
        """The next answer, whole."""
        status, headers = await self.head()
        try:
            if headers.get("transfer-encoding") == "chunked":
                return Reply(status, headers, b"".join([each async for each in self.pieces()]))
            length = int(headers.get("content-length", "0"))
            return Reply(status, headers, await self.reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Closed(str(error)) from error

    async def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """A request and its answer."""
        self.say(method, path, body, headers)
        return await self.hear()

    async def head(self) -> tuple[int, dict[str, str]]:
        """The status and the headers of the next answer."""
        try:
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Closed(str(error)) from error
        first, *lines = text.split("\r\n")
        pairs = (line.partition(":") for line in lines if line)
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def pieces(self) -> AsyncIterator[bytes]:
        """The chunks of an answer until it ends.

        Raises:
            Closed: the connection ended before it did.
        """
        try:
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                yield (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readexactly(2)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise Closed(str(error)) from error

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The events of a watch whose answer has begun; ``Closed``: it ends in the middle."""
        rest = b""
        async for piece in self.pieces():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield json.loads(line)

    async def watch(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """Ask for a watch and follow it."""
        self.say("GET", path)
        status, _ = await self.head()
        assert status == 200, path
        async for event in self.events():
            yield event


@asynccontextmanager
async def connect(access: Access, context: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    """A connection over TLS, with the token of the kubeconfig."""
    reader, writer = await asyncio.open_connection(
        access.host, access.port, ssl=context or access.context, limit=LONGEST_LINE
    )
    try:
        yield Wire(reader, writer, access.token)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def connect_locally(path: Path) -> AsyncIterator[Wire]:
    """A connection through a socket of the file system."""
    reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST_LINE)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()
