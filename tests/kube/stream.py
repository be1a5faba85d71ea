"""One answer on its way out, with the fault that it has; and the watch, which never ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from aiohttp import web

from tests.kube.faults import EXPIRED_EVENT, Cut, Fault, Preface, Silence, Slow
from tests.kube.storage import Expired, Kind, Selection, Storage, bookmark

_BLOCK_BYTES = 256 << 10


class Stream:
    """Writes an answer's body as the fault wants it.

    Args:
        request: What is answered.
        headers: Of the answer.
        fault: How it goes wrong; None: it does not.
    """

    def __init__(
        self, request: web.BaseRequest, headers: dict[str, str], fault: Fault | None
    ) -> None:
        self._request = request
        self._fault = fault
        self._response = web.StreamResponse(headers=headers)
        self._written = 0

    async def begin(self) -> web.StreamResponse:
        """Send the head."""
        if "Content-Length" not in self._response.headers:
            self._response.enable_chunked_encoding()
        await self._response.prepare(self._request)
        if isinstance(self._fault, Preface):
            await self._response.write(self._fault.data)
        return self._response

    async def write(self, data: bytes) -> None:
        """Send more of the body."""
        match self._fault:
            case Cut(after_bytes=limit) if self._written + len(data) > limit:
                await self._response.write(data[: limit - self._written])
                self.cut()
                await asyncio.Event().wait()  # until this handler is ended with its connection
            case Silence(after_bytes=limit) if self._written + len(data) > limit:
                await self._response.write(data[: limit - self._written])
                await asyncio.Event().wait()
            case Slow(piece_bytes=size, pause_s=pause_s):
                for start in range(0, len(data), size):
                    await self._response.write(data[start : start + size])
                    await asyncio.sleep(pause_s)
            case _:
                await self._response.write(data)
        self._written += len(data)

    def cut(self) -> None:
        """Close the connection as it is."""
        if self._request.transport is not None:
            self._request.transport.close()


class WatchOptions(NamedTuple):
    """What a watcher asked for."""

    kind: Kind
    selected: Selection
    version: int | None
    """From where on; None: from what exists now, which is told first."""
    ends_initial_events: bool
    """Say when all that exists was told."""
    wants_bookmarks: bool
    timeout_s: float


class Watch:
    """Tells one client what happens to objects of one kind."""

    def __init__(self, options: WatchOptions, storage: Storage, stream: Stream) -> None:
        self.plural = options.kind.plural
        self._options = options
        self._storage = storage
        self._stream = stream
        self._is_awake = asyncio.Event()
        self._said: list[bytes] = []
        self._is_hushed = False
        self._position = options.version or 0

    def wake(self) -> None:
        """Something happened."""
        self._is_awake.set()

    def say(self, data: bytes) -> None:
        """Send this, whatever it is."""
        self._said.append(data)
        self.wake()

    def say_bookmark(self) -> None:
        """Tell how far it is, if the client wants to know."""
        if self._options.wants_bookmarks:
            self.say(bookmark(self._options.kind, self._storage.version))

    def cut(self) -> None:
        """Close the connection, maybe in the middle of a line."""
        self._stream.cut()

    def hush(self) -> None:
        """Keep the connection, but send nothing any more."""
        self._is_hushed = True

    async def run(self) -> None:
        """Until the client's time is over, or it is too far behind."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.timeout_s
        try:
            await self._tell_what_exists()
            while (left := deadline - loop.time()) > 0:
                await self._tell_changes()
                try:
                    await asyncio.wait_for(self._is_awake.wait(), left)
                except TimeoutError:
                    break
                self._is_awake.clear()
            self.say_bookmark()
            await self._tell_changes()
        except Expired:
            await self._stream.write(EXPIRED_EVENT)

    async def _tell_what_exists(self) -> None:
        if self._options.version is not None:
            return
        kind = self._options.kind
        self._position, objects = self._storage.snapshot(kind.plural, self._options.selected)
        await self._write(each.added for each in objects)
        if self._options.ends_initial_events:
            await self._stream.write(bookmark(kind, self._position, ends_initial_events=True))

    async def _tell_changes(self) -> None:
        changes = self._storage.changes_after(self.plural, self._position)
        if self._is_hushed:
            return
        said, self._said = self._said, []
        lines = (change.line(self._options.selected) for change in changes)
        await self._write(line for line in (*lines, *said) if line is not None)
        if changes:
            self._position = changes[-1].version

    async def _write(self, lines: Iterable[bytes]) -> None:
        block: list[bytes] = []
        size = 0
        for line in lines:
            block.append(line)
            size += len(line)
            if size >= _BLOCK_BYTES:
                await self._stream.write(b"".join(block))
                block, size = [], 0
        if block:
            await self._stream.write(b"".join(block))
