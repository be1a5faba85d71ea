"""Speaks HTTP to an API server. aiohttp is imported here and nowhere else in ``kubernetes``."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import aiohttp

from netproxy import __version__
from netproxy.errors import ConfigError, SourceError
from netproxy.kubernetes import trouble
from netproxy.kubernetes.access import Cluster, Secret
from netproxy.kubernetes.contract import Answer, ObserveRequest, Query
from netproxy.kubernetes.credentials import Credentials, Proof
from netproxy.kubernetes.host_platform import platform_name
from netproxy.kubernetes.lines import LineSplitter, LineTooLongError
from netproxy.kubernetes.throttle import TokenBucket
from netproxy.kubernetes.tls import TlsContexts

CONNECT_S = 10.0
"""From asking for a connection to having one, TLS and proxy included, in seconds."""
BODY_SILENCE_S = 30.0
"""A body that is not followed counts as cut after so many seconds without a byte."""
KEEP_ALIVE_S = 60.0
"""For how long a connection that nobody uses is kept, in seconds."""
_PROBES = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
"""A peer that is gone without a word is noticed after 45 s, as kube-proxy does by pings of HTTP/2;
a quiet watch would not notice for minutes."""


class Clock(NamedTuple):
    """Time as the client sees it; tests have another."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class _Call(NamedTuple):
    """One request, which may be sent twice."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None
    head_s: float


class _Shown(NamedTuple):
    """Who asks, and over what kind of connection."""

    proof: Proof
    context: ssl.SSLContext | None


class HttpAnswer:
    """See ``contract.Answer``."""

    def __init__(self, cluster: Cluster, response: aiohttp.ClientResponse) -> None:
        self._cluster = cluster
        self._response = response

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    async def body(self, limit: int) -> bytes:
        read = bytearray()
        while piece := await self._read(BODY_SILENCE_S):
            read += piece
            if len(read) > limit:
                raise SourceError(f"{self._cluster.server}: answers more than {limit} bytes")
        return bytes(read)

    async def lines(self, *, silence_s: float, limit: int) -> AsyncIterator[bytes]:
        splitter = LineSplitter(limit)
        while piece := await self._read(silence_s):
            try:
                for line in splitter.feed(piece):
                    yield line
            except LineTooLongError:
                problem = f"sends a line of more than {limit} bytes"
                raise SourceError(f"{self._cluster.server}: {problem}") from None

    async def _read(self, silence_s: float) -> bytes:
        try:
            async with asyncio.timeout(silence_s):
                return await self._response.content.readany()
        except TimeoutError as error:
            problem = f"nothing was heard for {silence_s:.0f} s"
            raise trouble.silent(self._cluster, problem) from error
        except (aiohttp.ClientError, OSError) as error:
            raise trouble.unreachable(self._cluster, _cause(error)) from error


class HttpClient:
    """See ``contract.ApiClient``. Its first request has to happen in the loop of all others.

    Args:
        cluster: Whom to ask.
        credentials: Who asks.
        contexts: For HTTPS.
        proxy: The URL of the proxy between; None: there is none.
        bucket: How often to ask.
        clock: Time.
        observe: Is told of each request.
    """

    def __init__(
        self,
        cluster: Cluster,
        credentials: Credentials,
        contexts: TlsContexts,
        *,
        proxy: Secret | None,
        bucket: TokenBucket,
        clock: Clock,
        observe: ObserveRequest | None = None,
    ) -> None:
        self._cluster = cluster
        self._credentials = credentials
        self._contexts = contexts
        self._proxy = proxy
        self._bucket = bucket
        self._clock = clock
        self._observe = observe
        self._host = urlsplit(cluster.server).netloc.rpartition("@")[2]
        self._has_tls = cluster.server.startswith("https:")
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        head_s: float = 30.0,
    ) -> AsyncIterator[Answer]:
        url = self._cluster.server + path + (f"?{urlencode(query)}" if query else "")
        headers = [("Content-Type", content_type)] if body is not None else []
        headers += self._credentials.user.impersonation
        call = _Call(method, url, tuple(headers), body, head_s)
        if (wait := self._bucket.take(self._clock.monotonic())) > 0:
            await self._clock.sleep(wait)
        response = await self._ask(call)
        _probe(response)
        try:
            yield HttpAnswer(self._cluster, response)
        finally:
            response.release()  # to be used again, or closed if there is more to come

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _ask(self, call: _Call) -> aiohttp.ClientResponse:
        shown = await self._show()
        response = await self._send(call, shown)
        if response.status != 401:
            return response
        response.release()
        self._credentials.refuse(shown.proof)
        again = await self._show()
        if again != shown:
            response = await self._send(call, again)
            if response.status != 401:
                return response
            response.release()
        expired = self._contexts.expired() if self._has_tls else None
        raise trouble.refused(self._cluster, self._credentials.user, expired)

    async def _show(self) -> _Shown:
        proof = Proof()
        try:
            proof = await self._credentials.get()
            return _Shown(proof, self._contexts.get(proof.pair) if self._has_tls else None)
        except ConfigError as error:  # it was good when we started: it may become good again
            self._credentials.refuse(proof)
            raise SourceError(error.message, hint=error.hint) from error

    async def _send(self, call: _Call, shown: _Shown) -> aiohttp.ClientResponse:
        started = self._clock.monotonic()
        status = None
        try:
            response = await self._send_unseen(call, shown)
            status = response.status
            return response
        finally:
            if self._observe is not None:
                took_s = self._clock.monotonic() - started
                self._observe(call.method, self._host, status, took_s)

    async def _send_unseen(self, call: _Call, shown: _Shown) -> aiohttp.ClientResponse:
        authorization = shown.proof.authorization
        headers = list(call.headers)
        if authorization is not None:
            headers.append(("Authorization", authorization.reveal()))
        try:
            async with asyncio.timeout(call.head_s):
                return await self._get_session().request(
                    call.method,
                    call.url,
                    headers=headers,
                    data=call.body,
                    allow_redirects=False,
                    proxy=None if self._proxy is None else self._proxy.reveal(),
                    ssl=True if shown.context is None else shown.context,
                    server_hostname=self._cluster.tls_server_name or None,
                )
        except aiohttp.ConnectionTimeoutError as error:
            problem = f"no connection within {CONNECT_S:.0f} s"
            raise trouble.silent(self._cluster, problem) from error
        except TimeoutError as error:
            problem = f"no answer within {call.head_s:.0f} s"
            raise trouble.silent(self._cluster, problem) from error
        except (aiohttp.ClientError, OSError) as error:
            raise trouble.unreachable(self._cluster, _cause(error)) from error

    def _get_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S),
                headers={
                    "Accept": "application/json",
                    "Accept-Encoding": "identity" if self._cluster.disable_compression else "gzip",
                    "User-Agent": user_agent(),
                },
            )
        return self._session


def _probe(response: aiohttp.ClientResponse) -> None:
    """Let the kernel ask the peer of a connection now and then whether it is there."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        sock = connection.transport.get_extra_info("socket")
        for level, option, value in _PROBES:
            sock.setsockopt(level, option, value)


def user_agent() -> str:
    """How audit logs of the API server name us."""
    return f"netproxy/{__version__} ({platform_name()}) kubernetes"


def _cause(error: BaseException) -> BaseException:
    """What is below the HTTP library's own words."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return error.certificate_error
        case aiohttp.ClientHttpProxyError():
            return ConnectionError(f"the proxy answers {error.status} {error.message}")
        case aiohttp.ClientProxyConnectionError():
            return ConnectionError(f"the proxy is not reached: {_words(error.os_error)}")
        case aiohttp.ClientConnectorError():
            return error.os_error
        case aiohttp.ClientOSError(__cause__=OSError() as cause):
            return cause  # what TLS says has no number that means anything
    plain = next((words for kind, words in _PLAIN.items() if isinstance(error, kind)), None)
    return error if plain is None else ConnectionError(plain)


_PLAIN: dict[type[BaseException], str] = {
    aiohttp.ServerDisconnectedError: "closed the connection",
    aiohttp.ClientPayloadError: "the answer was cut short",
    aiohttp.ClientResponseError: "does not speak HTTP",
}


def _words(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
