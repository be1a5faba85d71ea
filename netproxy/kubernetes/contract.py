"""The seam between those who speak HTTP to an API server and those who know what to ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

Query = Mapping[str, str]
"""What stands behind the ``?``; the client encodes it."""


class Answer(Protocol):
    """An API server's answer, of which the head has arrived."""

    @property
    def status(self) -> int:
        """The HTTP status, whatever it is; no status raises."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Header fields; names in any case."""
        ...

    async def body(self, limit: int) -> bytes:
        """The whole body, decompressed.

        Args:
            limit: More bytes than this are refused.

        Raises:
            SourceError: the connection was cut or went silent, or the body is too large.
        """
        ...

    def lines(self, *, silence_s: float, limit: int) -> AsyncIterator[bytes]:
        """Complete lines as they arrive, without their line feeds; a last, cut one is dropped.

        Args:
            silence_s: The stream counts as dead after so many seconds without a byte.
            limit: A longer line is refused, in bytes.

        Raises:
            SourceError: the connection was cut or went silent, or a line is too long.
        """
        ...


class ApiClient(Protocol):
    """Asks one API server, as one user."""

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        head_s: float = 30.0,
    ) -> AbstractAsyncContextManager[Answer]:
        """Ask; leaving the context gives the connection back, or closes it mid-stream.

        Args:
            method: Such as GET.
            path: Such as ``/api/v1/services``.
            query: Parameters.
            body: What is sent.
            content_type: Of the body.
            head_s: How long the answer's head may take to come, in seconds.

        Raises:
            SourceError: the server cannot be reached, is not who it should be, or does not answer.
            ConfigError: credentials can never work as they are configured.
        """
        ...

    async def close(self) -> None:
        """Give up all connections."""
        ...
