"""Whom we trust and who trusts us: certificates, names, rotation, what is said when it fails."""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from netproxy.errors import ConfigError, SourceError
from netproxy.kubernetes.access import Cluster, KeyPair, Pem
from netproxy.kubernetes.certificate import expiry
from netproxy.kubernetes.connect import open_client
from netproxy.kubernetes.contract import ClientSettings
from netproxy.kubernetes.tls import READ_SIZE, TlsContexts, use_small_buffers
from tests.unit.kubernetes.api import (
    Authority,
    Peer,
    b64,
    peer,
    run,
    serve,
    settings_for,
    write_kubeconfig,
)

AUTHORITY = Authority()
STRANGER = Authority()
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NOW = datetime(2030, 1, 1, tzinfo=UTC)


async def get(settings: ClientSettings, environ: Mapping[str, str] | None = None) -> int:
    client = open_client(settings, environ=environ or {})
    try:
        async with client.request("GET", "/") as answer:
            return answer.status
    finally:
        await client.close()


async def ok(_: web.BaseRequest) -> web.Response:
    return web.Response(body=b"{}")


def put(path: Path, text: str) -> str:
    """Renamed into place, as everybody should."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)
    return str(path)


def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    seen: list[Peer] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(peer(request))
        return web.Response()

    async def ask() -> None:
        certificate, key = AUTHORITY.pair("node.example.com")
        inline = {"client-certificate-data": b64(certificate), "client-key-data": b64(key)}
        files = {
            "client-certificate": put(tmp_path / "crt", certificate),
            "client-key": put(tmp_path / "key", key),
        }
        async with serve(handler, AUTHORITY.server_context(wants_client=True)) as port:
            for user in (inline, files):
                assert await get(settings_for(tmp_path, AUTHORITY, port, user)) == 200

    run(ask())
    assert seen == [Peer("", "node.example.com")] * 2


def test_the_server_may_have_another_name_than_its_url(tmp_path: Path) -> None:
    async def ask() -> int:
        async with serve(ok, AUTHORITY.server_context("kubernetes")) as port:
            named = {"tls-server-name": "kubernetes"}
            return await get(settings_for(tmp_path, AUTHORITY, port, {}, **named))

    assert run(ask()) == 200


def test_insecure_means_whoever_answers(tmp_path: Path) -> None:
    async def ask() -> int:
        async with serve(ok, STRANGER.server_context("somebody")) as port:
            insecure = {"insecure-skip-tls-verify": True}
            path = write_kubeconfig(tmp_path, f"https://127.0.0.1:{port}", insecure, {})
            return await get(ClientSettings(kubeconfig=str(path)))

    assert run(ask()) == 200


def test_a_servers_own_certificate_is_authority_enough(tmp_path: Path) -> None:
    """As in Go: what is in certificate-authority is trusted, also if it signs nothing."""

    async def ask() -> int:
        async with serve(ok, (context := AUTHORITY.server_context())) as port:
            assert context is not None
            pem = await asyncio.to_thread(_certificate_of, port)
            data = {"certificate-authority-data": b64(pem)}
            path = write_kubeconfig(tmp_path, f"https://127.0.0.1:{port}", data, {})
            return await get(ClientSettings(kubeconfig=str(path)))

    assert run(ask()) == 200


def _certificate_of(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port))


@pytest.mark.parametrize(
    ("server", "words", "remedy"),
    [
        (STRANGER.server_context(), "signed by nobody in", "certificate-authority"),
        (AUTHORITY.server_context("elsewhere"), "for somebody else", "tls-server-name"),
        (AUTHORITY.server_context("127.0.0.2"), "for somebody else", "tls-server-name"),
    ],
    ids=["authority", "name", "address"],
)
def test_a_server_that_is_not_who_it_should_be(
    server: Any, words: str, remedy: str, tmp_path: Path
) -> None:
    async def ask() -> None:
        async with serve(ok, server) as port:
            await get(settings_for(tmp_path, AUTHORITY, port, {"token": "t0ps3cret"}))

    with pytest.raises(SourceError, match=words) as caught:
        run(ask())
    assert remedy in (caught.value.hint or "")
    assert "t0ps3cret" not in caught.value.message


def test_a_client_certificate_that_the_server_does_not_trust(tmp_path: Path) -> None:
    certificate, key = STRANGER.pair("stranger.example.com")
    user = {"client-certificate-data": b64(certificate), "client-key-data": b64(key)}

    context = AUTHORITY.server_context(wants_client=True)

    def accept_two(listener: socket.socket) -> None:  # a GET is tried twice
        for _ in range(2):
            connection, _ = listener.accept()
            with connection.dup() as rest:
                with pytest.raises(ssl.SSLCertVerificationError):
                    context.wrap_socket(connection, server_side=True)
                while rest.recv(65536):  # closed at once, it might be reset before it is heard
                    pass

    # Not asyncio's server: it does not say why it leaves.

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:
        serving = pool.submit(accept_two, listener)
        with pytest.raises(SourceError, match="does not accept our client certificate") as caught:
            run(get(settings_for(tmp_path, AUTHORITY, listener.getsockname()[1], user)))
        serving.result()
    assert "signed by an authority" in (caught.value.hint or "")


def test_a_port_that_does_not_speak_tls(tmp_path: Path) -> None:
    async def ask() -> None:
        async with serve(ok) as port:
            await get(settings_for(tmp_path, AUTHORITY, port, {}))

    with pytest.raises(SourceError, match="does not speak TLS"):
        run(ask())


def test_a_port_that_does_not_speak_http() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()
        writer.close()

    async def ask() -> None:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            await get(ClientSettings(master=f"http://127.0.0.1:{port}"))

    with pytest.raises(SourceError, match="does not speak HTTP"):
        run(ask())


def test_nobody_listens() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # taken, but no one accepts
        port = sock.getsockname()[1]
        with pytest.raises(SourceError, match=f"127.0.0.1:{port}: connection refused") as caught:
            run(get(ClientSettings(master=f"https://127.0.0.1:{port}")))
    assert "firewall" in (caught.value.hint or "")


def test_no_such_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: object, **__: object) -> None:  # rather than ask the world
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(SourceError, match="the name is not found") as caught:
        run(get(ClientSettings(master="https://no-such-host.invalid:6443")))
    assert "--master" in (caught.value.hint or "")


def test_certificates_that_rotate_are_used_for_new_connections(tmp_path: Path) -> None:
    """Also in the moments in which files do not fit, or are not there."""
    seen: list[Peer] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        seen.append(peer(request))
        return web.Response(headers={"Connection": "close"})

    crt, key, ca = tmp_path / "crt", tmp_path / "key", tmp_path / "ca"

    async def ask() -> None:
        server = AUTHORITY.server_context(wants_client=True)
        async with serve(handler, server) as port:
            old, new = AUTHORITY.pair("old.example.com"), AUTHORITY.pair("new.example.com")
            user = {
                "client-certificate": put(crt, old[0]),
                "client-key": put(key, old[1]),
            }
            cluster = {"certificate-authority": put(ca, AUTHORITY.pem)}
            path = write_kubeconfig(tmp_path, f"https://127.0.0.1:{port}", cluster, user)
            client = open_client(ClientSettings(kubeconfig=str(path), qps=-1), environ={})

            async def one() -> None:
                async with client.request("GET", "/") as answer:
                    assert answer.status == 200

            await one()
            put(crt, new[0])  # its key is still to come
            await one()
            key.unlink()
            await one()
            put(key, new[1])
            await one()
            put(ca, "nothing yet")
            await one()
            put(ca, STRANGER.pem)
            with pytest.raises(SourceError, match="signed by nobody"):
                await one()
            await client.close()

    run(ask())
    names = [each.common_name.partition(".")[0] for each in seen]
    assert names == ["old", "old", "old", "new", "new"]


def test_a_context_is_the_same_until_something_changes(tmp_path: Path) -> None:
    ca = tmp_path / "ca"
    contexts = TlsContexts(
        Cluster("s", "https://h", ca=Pem("c", Path(put(ca, AUTHORITY.pem)))), NOW.timestamp
    )
    first = contexts.get(None)
    assert contexts.get(None) is first
    put(ca, AUTHORITY.pem + STRANGER.pem)
    assert contexts.get(None) is not first


def encrypted(key: str) -> str:
    private = serialization.load_pem_private_key(key.encode(), None)
    return private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    ).decode()


CERTIFICATE, KEY = AUTHORITY.pair("node.example.com")
EXPIRED, EXPIRED_KEY = AUTHORITY.pair(
    "old.example.com", since=LONG_AGO, until=LONG_AGO + timedelta(days=1)
)
BAD_PAIRS: dict[str, tuple[str, str, str, str]] = {
    "another key": (CERTIFICATE, AUTHORITY.pair("b.example.com")[1], "client-key", "not belong"),
    "no key": (CERTIFICATE, "hello", "client-key", "no private key"),
    "encrypted": (CERTIFICATE, encrypted(KEY), "client-key", "the key is encrypted"),
    "no certificate": ("hello", KEY, "client-certificate", "no certificate"),
    "cut": (
        CERTIFICATE[:200] + "\n-----END CERTIFICATE-----\n",
        KEY,
        "client-certificate",
        "no whole",
    ),
    "expired": (EXPIRED, EXPIRED_KEY, "client-certificate", "expired at 2020-01-02T00:00:00Z"),
}


@pytest.mark.parametrize("name", BAD_PAIRS)
def test_bad_client_certificates_are_named(name: str, tmp_path: Path) -> None:
    certificate, key, field, words = BAD_PAIRS[name]
    user = {
        "client-certificate": put(tmp_path / "crt", certificate),
        "client-key": put(tmp_path / "key", key),
    }
    with pytest.raises(ConfigError, match=words) as caught:
        open_client(settings_for(tmp_path, AUTHORITY, 6443, user), environ={})
    assert f"{tmp_path / 'kubeconfig'}: users[node].{field}" in caught.value.message
    assert KEY[40:80] not in caught.value.message


MISSING: dict[str, Callable[[Path], tuple[dict[str, str], dict[str, str]]]] = {
    "clusters[stage].certificate-authority": lambda _: ({"certificate-authority": "gone"}, {}),
    "users[node].client-certificate": lambda directory: (
        {},
        {"client-certificate": "gone", "client-key": put(directory / "key", KEY)},
    ),
    "users[node].client-key": lambda directory: (
        {},
        {"client-certificate": put(directory / "crt", CERTIFICATE), "client-key": "gone"},
    ),
    "users[node].tokenFile": lambda _: ({}, {"tokenFile": "gone"}),
}


@pytest.mark.parametrize("field", MISSING)
def test_missing_files_are_named(field: str, tmp_path: Path) -> None:
    cluster, user = MISSING[field](tmp_path)
    path = write_kubeconfig(tmp_path, "https://127.0.0.1:1", cluster, user)
    with pytest.raises(ConfigError, match="cannot be read: No such file") as caught:
        open_client(ClientSettings(kubeconfig=str(path)), environ={})
    assert f"{path}: {field} ({tmp_path / 'gone'})" in caught.value.message
    assert caught.value.hint


def test_an_authority_that_is_none_is_named(tmp_path: Path) -> None:
    cluster = {"certificate-authority": put(tmp_path / "ca", "hello")}
    path = write_kubeconfig(tmp_path, "https://127.0.0.1:1", cluster, {})
    with pytest.raises(ConfigError, match="has no certificate in it"):
        open_client(ClientSettings(kubeconfig=str(path)), environ={})


def test_a_pod_without_its_authority_is_told(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    (tmp_path / "token").write_text("t0ps3cret")
    with pytest.raises(ConfigError, match=f"service account.*{tmp_path}/ca.crt"):
        open_client(ClientSettings(), environ=environ, service_account=tmp_path)


@pytest.mark.parametrize("year", [2031, 2049, 2050, 2123])
def test_expiry_is_what_a_library_reads(year: int) -> None:
    """2050 is where the form of the date changes."""
    until = datetime(year, 3, 4, 5, 6, 7, tzinfo=UTC)
    pem, _ = AUTHORITY.pair("a.example.com", until=until)
    assert expiry("something before\n" + pem) == until
    assert x509.load_pem_x509_certificate(pem.encode()).not_valid_after_utc == until


def test_no_bytes_make_expiry_fail_in_another_way() -> None:
    der = ssl.PEM_cert_to_DER_cert(
        CERTIFICATE.partition("-----END")[0] + "-----END CERTIFICATE-----\n"
    )
    whole = expiry(CERTIFICATE)
    for end in range(1, len(der)):
        try:
            assert expiry(ssl.DER_cert_to_PEM_cert(der[:end])) == whole
        except ValueError as error:
            assert "certificate" in str(error)  # noqa: PT017 - both outcomes are right


def test_keys_given_inline_never_touch_a_disk(tmp_path: Path) -> None:
    cluster = Cluster("s", "https://h", is_insecure=True)
    from netproxy.kubernetes.access import Secret

    pair = KeyPair(Pem("c", None, Secret(CERTIFICATE)), Pem("k", None, Secret(KEY)))
    before = len(os.listdir("/proc/self/fd"))
    TlsContexts(cluster, lambda: 0.0).get(pair)
    assert len(os.listdir("/proc/self/fd")) == before


def test_tls_buffers_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The attribute is asyncio's own affair: if this fails, look for where it has gone."""
    protocol = asyncio.sslproto.SSLProtocol
    assert isinstance(protocol.max_size, int)
    # Whatever another server in this process has made of it.
    monkeypatch.setattr(protocol, "max_size", 256 * 1024)
    use_small_buffers()
    assert asyncio.sslproto.SSLProtocol.max_size == READ_SIZE


def test_tls_buffers_are_left_alone_where_they_are_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(asyncio.sslproto.SSLProtocol, "max_size")
    use_small_buffers()
    assert not hasattr(asyncio.sslproto.SSLProtocol, "max_size")
