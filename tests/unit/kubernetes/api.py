"""A real HTTPS server on loopback, certificates for it, kubeconfigs that lead to it, and time."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import trustme
from aiohttp import web

from netproxy.kubernetes.contract import ClientSettings

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
_Result = TypeVar("_Result")


class Authority:
    """Signs certificates for servers and clients."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.pem = self._ca.cert_pem.bytes().decode()

    def pair(
        self,
        name: str = "127.0.0.1",
        *,
        until: datetime | None = None,
        since: datetime | None = None,
    ) -> tuple[str, str]:
        """A certificate and its key, as PEM."""
        leaf = self._ca.issue_cert(name, not_after=until, not_before=since)
        return (
            "".join(blob.bytes().decode() for blob in leaf.cert_chain_pems),
            leaf.private_key_pem.bytes().decode(),
        )

    def server_context(
        self, name: str = "127.0.0.1", *, wants_client: bool = False
    ) -> ssl.SSLContext:
        """For a server of this name."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._ca.issue_cert(name).configure_cert(context)
        if wants_client:
            self._ca.configure_trust(context)
            context.verify_mode = ssl.CERT_OPTIONAL
        return context


class SkippingLoop(asyncio.SelectorEventLoop):
    """A loop whose time a test can make leap."""

    skipped = 0.0

    def time(self) -> float:
        return super().time() + self.skipped


async def skip(seconds: float) -> None:
    """Let everybody come to where they wait, then let time leap."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SkippingLoop)
    for _ in range(10):
        await asyncio.sleep(0)
    loop.skipped += seconds


def run(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """As asyncio.run, in a loop that can skip time; what fails unheard fails the test."""
    failures: list[Mapping[str, Any]] = []
    with asyncio.Runner(loop_factory=SkippingLoop) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: failures.append(context))
        result = runner.run(coroutine)
    assert failures == []
    return result


@asynccontextmanager
async def serve(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Answer on loopback for as long as the context lasts; gives the port."""
    server = web.Server(handler, access_log=None, handler_cancellation=True)
    runner = web.ServerRunner(server, shutdown_timeout=0.01)  # 0 would be for ever
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


class Peer(NamedTuple):
    """Who asked, as the server sees it."""

    authorization: str
    common_name: str
    """Of the client certificate; empty: there was none."""


def peer(request: web.BaseRequest) -> Peer:
    transport = request.transport
    assert transport is not None
    certificate = transport.get_extra_info("peercert") or {}
    names = [value for kind, value in certificate.get("subjectAltName", ())]
    return Peer(request.headers.get("Authorization", ""), next(iter(names), ""))


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def write_kubeconfig(
    directory: Path, server: str, cluster: Mapping[str, object], user: Mapping[str, object]
) -> Path:
    """One cluster, one user, one context that is current."""
    path = directory / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "stage", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "node", "user": user}],
        "contexts": [{"name": "here", "context": {"cluster": "stage", "user": "node"}}],
    }
    path.write_text(json.dumps(content))
    return path


def settings_for(
    directory: Path,
    authority: Authority,
    port: int,
    user: Mapping[str, object],
    **cluster: object,
) -> ClientSettings:
    """Settings that lead to ``serve``'s port."""
    trust = {"certificate-authority-data": b64(authority.pem)}
    path = write_kubeconfig(directory, f"https://127.0.0.1:{port}", trust | cluster, user)
    return ClientSettings(kubeconfig=str(path), qps=-1)
