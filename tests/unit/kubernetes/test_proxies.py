"""Requests through proxies: whose, when, and what is said when they fail."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from netproxy.errors import ConfigError, SourceError
from netproxy.kubernetes.connect import open_client
from netproxy.kubernetes.contract import ClientSettings
from netproxy.kubernetes.proxies import is_excluded, proxy_of
from tests.unit.kubernetes.api import Authority, run, serve, settings_for

AUTHORITY = Authority()


class Proxy:
    """Understands CONNECT and nothing else; leads everybody to one port of loopback."""

    def __init__(self, *, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self.heads: list[str] = []
        self.target = 0
        self._answer = answer

    @asynccontextmanager
    async def listen(self, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(self._answer)
        if b" 200 " in self._answer:
            upstream = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(_pump(reader, upstream[1]), _pump(upstream[0], writer))
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


async def ok(_: web.BaseRequest) -> web.Response:
    return web.Response(body=b"{}")


async def get(settings: ClientSettings, environ: dict[str, str]) -> int:
    client = open_client(settings, environ=environ)
    try:
        async with client.request("GET", "/api") as answer:
            return answer.status
    finally:
        await client.close()


def test_proxy_url_leads_through_a_proxy(tmp_path: Path) -> None:
    """Also to this host, which the environment's proxies are not asked for."""
    proxy = Proxy()

    async def ask() -> int:
        async with serve(ok, AUTHORITY.server_context()) as port, proxy.listen() as proxy_port:
            proxy.target = port
            url = {"proxy-url": f"http://me:s3cret@127.0.0.1:{proxy_port}"}
            environ = {"HTTPS_PROXY": "http://127.0.0.1:1"}
            return await get(settings_for(tmp_path, AUTHORITY, port, {}, **url), environ)

    assert run(ask()) == 200
    [head] = proxy.heads
    assert head.startswith("CONNECT 127.0.0.1:")
    assert base64.b64encode(b"me:s3cret").decode() in head


def test_a_proxy_may_speak_tls_itself(tmp_path: Path) -> None:
    """It is recognised by the cluster's authority, as kubectl does it."""
    proxy = Proxy()

    async def ask() -> int:
        async with (
            serve(ok, AUTHORITY.server_context("kubernetes")) as port,
            proxy.listen(AUTHORITY.server_context()) as proxy_port,
        ):
            proxy.target = port
            cluster = {
                "proxy-url": f"https://127.0.0.1:{proxy_port}",
                "tls-server-name": "kubernetes",
            }
            return await get(settings_for(tmp_path, AUTHORITY, port, {}, **cluster), {})

    assert run(ask()) == 200
    assert len(proxy.heads) == 1


def test_the_environment_may_name_a_proxy(tmp_path: Path) -> None:
    proxy = Proxy()

    async def ask() -> int:
        async with (
            serve(ok, AUTHORITY.server_context("api.example.com")) as port,
            proxy.listen() as proxy_port,
        ):
            proxy.target = port
            settings = settings_for(tmp_path, AUTHORITY, port, {})
            settings = settings._replace(master=f"https://api.example.com:{port}")
            return await get(settings, {"https_proxy": f"127.0.0.1:{proxy_port}"})

    assert run(ask()) == 200
    assert proxy.heads[0].startswith("CONNECT api.example.com:")


def test_without_tls_the_proxy_is_asked_itself() -> None:
    seen = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(str(request.url))
        return web.Response()

    async def ask() -> int:
        async with serve(handler) as port:
            environ = {"HTTP_PROXY": f"http://127.0.0.1:{port}"}
            return await get(ClientSettings(master="http://api.example.com:8080"), environ)

    assert run(ask()) == 200
    assert seen == ["http://api.example.com:8080/api"]


def test_a_proxy_that_refuses_is_named_without_its_password(tmp_path: Path) -> None:
    proxy = Proxy(answer=b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")

    async def ask() -> None:
        async with proxy.listen() as port:
            url = {"proxy-url": f"http://me:s3cret@127.0.0.1:{port}"}
            await get(settings_for(tmp_path, AUTHORITY, 6443, {}, **url), {})

    with pytest.raises(SourceError, match="the proxy answers 407") as caught:
        run(ask())
    assert "s3cret" not in f"{caught.value.message} {caught.value.hint}"


def test_a_proxy_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    url = {"proxy-url": "http://me:s3cret@127.0.0.1:1"}
    with pytest.raises(SourceError, match="the proxy is not reached: connection ref") as caught:
        run(get(settings_for(tmp_path, AUTHORITY, 6443, {}, **url), {}))
    assert "s3cret" not in f"{caught.value.message} {caught.value.hint}"


def test_a_variable_without_a_proxys_url_is_named() -> None:
    for value in ("socks5://host:1", "http://host:port", "http://"):
        with pytest.raises(ConfigError, match="HTTPS_PROXY: is not the URL") as caught:
            proxy_of("https://api.example.com", {"HTTPS_PROXY": value})
        assert "NO_PROXY" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"HTTPS_PROXY": "p:1", "https_proxy": "q:1"}, "http://p:1"),
        ({"HTTPS_PROXY": "", "https_proxy": "https://q"}, "https://q"),
        ({"HTTPS_PROXY": "p:1", "no_proxy": "example.com"}, None),
        ({"HTTPS_PROXY": "p:1", "no_proxy": "example.org"}, "http://p:1"),
    ],
)
def test_variables_are_read_as_go_reads_them(environ: dict[str, str], expected: str | None) -> None:
    found = proxy_of("https://api.example.com:6443", environ)
    assert (found.reveal() if found else None) == expected


@pytest.mark.parametrize(
    ("host", "rules", "expected"),
    [
        ("localhost", "", True),
        ("127.8.9.1", "", True),
        ("::1", "", True),
        ("10.1.2.3", "", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "11.0.0.0/8, fd00::/8", False),
        ("fd00::1", "11.0.0.0/8 , fd00::/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:6443", True),
        ("10.1.2.3", "10.1.2.3:443", False),
        ("fd00::1", "[fd00::1]:6443", True),
        ("fd00::1", "fd00:0::1", True),
        ("a.example.com", "example.com", True),
        ("example.com", "example.com", True),
        ("example.com", ".example.com", False),
        ("a.example.com", ".EXAMPLE.com", True),
        ("a.example.com", "*.example.com", True),
        ("example.com", "*.example.com", False),
        ("myexample.com", "example.com", False),
        ("a.example.com", "example.com:6443", True),
        ("a.example.com", "example.com:80", False),
        ("anything", "x,*", True),
        ("anything", ",, ", False),
        ("10.1.2.3", "10.0.0.0/99", False),
    ],
)
def test_who_is_asked_without_a_proxy(host: str, rules: str, expected: bool) -> None:
    assert is_excluded(host, 6443, rules) is expected
