"""Answering HTTP: what is asked and answered. Who does it is in ``server.py``, which is heavy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
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
