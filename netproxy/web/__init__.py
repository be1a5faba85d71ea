"""Answering HTTP: what is asked and answered.

Who does it is heavy: ``server.py`` answers short questions of strangers about us, ``api_server.py``
those of clients who stay, send bodies and follow streams.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import NamedTuple

from netproxy.model.ip import IPAddress


class Place(NamedTuple):
    """Where to listen."""

    host: IPAddress
    port: int
    """0: any that is free."""
    is_dual: bool = False
    """Hear IPv4 as well; for ``::``."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Request(NamedTuple):
    """What is asked. A body is never looked at."""

    method: str
    path: str
    """Without the query, percent signs decoded."""
    headers: Mapping[str, str]
    """Names in any case."""


class Answer(NamedTuple):
    """What is answered."""

    status: int
    body: bytes
    headers: Mapping[str, str]


Handler = Callable[[Request], Awaitable[Answer]]
"""Must not raise."""


class Inquiry(NamedTuple):
    """What a client of an API asks."""

    method: str
    path: str
    """Without its query; still quoted."""
    query: str
    headers: Mapping[str, str]
    """Names in lower case; of one that comes twice the last."""
    body: bytes
    is_local: bool = False
    """It came through a socket of the file system, whose mode says who may."""
    certificate: tuple[tuple[str, str], ...] = ()
    """The client certificate's subject, name by name (``commonName``); empty: none was shown."""


class Stream(NamedTuple):
    """An answer that goes on until its chunks end, or the client goes."""

    chunks: AsyncIterator[bytes]
    headers: Mapping[str, str]


ApiHandler = Callable[[Inquiry], Awaitable[Answer | Stream]]
"""Must not raise."""
