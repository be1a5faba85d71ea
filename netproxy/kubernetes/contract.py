"""The seam between those who speak HTTP to an API server and those who know what to ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

Query = Mapping[str, str]
"""What stands behind the ``?``; the client encodes it."""


class ClientSettings(NamedTuple):
    """Which API server to ask, as whom, and how often; kube-proxy's flags of these names."""

    kubeconfig: str = ""
    """A file, or several joined by colons as in ``KUBECONFIG``."""
    master: str = ""
    """The server's URL, instead of the kubeconfig's. Neither: the cluster that this pod runs in."""
    context: str = ""
    """A context of the kubeconfig; empty: its current one."""
    qps: float = 5.0
    """Requests per second in the long run; negative: as many as anybody likes."""
    burst: int = 10
    """Requests at once."""


class Answer(Protocol):
    """An API server's answer, of which the head has arrived."""

    @property
    def status(self) -> int:
        """The HTTP status, whatever it is but for 401, which ``request`` raises."""
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
            SourceError: the server cannot be reached, is not who it should be, does not answer,
                or knows us no more (401), also with credentials that were renewed; or there are no
                credentials to show just now. All of that may pass.
        """
        ...

    async def close(self) -> None:
        """Give up all connections."""
        ...


class ObserveRequest(Protocol):
    """Is told of each request, to count it."""

    def __call__(self, method: str, host: str, status: int | None, seconds: float) -> None:
        """The head of an answer came, or never will.

        Args:
            method: Such as GET.
            host: The server's, with its port if it was named.
            status: The HTTP status; None: there was no answer.
            seconds: From the request to then.
        """
        ...


class OpenClient(Protocol):
    """What ``connect.open_client`` is; a test may have another."""

    def __call__(self, settings: ClientSettings) -> ApiClient:
        """Read the credentials; nothing is sent yet.

        Raises:
            ConfigError: the settings, or the files that they name, can never work.
        """
        ...
