"""Who is let in, and how everybody else is turned away."""

from __future__ import annotations

import asyncio
import base64
import datetime
import socket
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from netproxy.apiserver.instance import Instance
from netproxy.apiserver.pki import ensure_certificates
from tests.storm.inside import with_server
from tests.storm.wire import Access, Closed, Wire, connect, connect_locally

_SERVICES = "/api/v1/namespaces/default/services"
_REQUESTS = [
    ("GET", "/"),
    ("GET", "/version"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/healthz"),
    ("GET", "/api"),
    ("GET", "/apis"),
    ("GET", "/api/v1"),
    ("GET", "/apis/discovery.k8s.io/v1"),
    ("GET", "/openapi/v2"),
    ("GET", "/openapi/v3"),
    ("GET", "/nowhere"),
    ("GET", "/../api"),
    ("GET", f"{_SERVICES}?watch=true"),
    ("HEAD", _SERVICES),
    ("GET", f"{_SERVICES}/kubernetes"),
    ("POST", _SERVICES),
    ("PUT", f"{_SERVICES}/kubernetes"),
    ("PATCH", f"{_SERVICES}/kubernetes"),
    ("DELETE", f"{_SERVICES}/kubernetes"),
    ("DELETE", _SERVICES),
    ("OPTIONS", "/api"),
    ("TRACE", "/api"),
]
_WRONG = {
    "nothing": {},
    "another token": {"Authorization": "Bearer abc"},
    "no token": {"Authorization": "Bearer "},
    "a password": {"Authorization": "Basic " + base64.b64encode(b"admin:admin").decode()},
    "a name": {"X-Remote-User": "kubernetes-admin", "Impersonate-User": "kubernetes-admin"},
    "no letters": {"Authorization": "Bearer \x80\xff"},
}


@pytest.mark.parametrize("headers", _WRONG.values(), ids=_WRONG)
def test_nobody_whom_we_do_not_know_is_let_in(tmp_path: Path, headers: dict[str, str]) -> None:
    async def work(instance: Instance, access: Access) -> None:
        del instance
        async with connect(access._replace(token="")) as wire:
            for method, path in _REQUESTS:
                wire.say(method, path, None, headers)
                if method == "HEAD":
                    status, _ = await wire.head()
                    assert status == 401
                    continue
                reply = await wire.hear()
                assert reply.status == 401, (method, path)
                assert reply.object["reason"] == "Unauthorized"
                assert reply.headers["www-authenticate"].startswith("Bearer")
            reply = await wire.ask(
                "GET", "/version", None, {"Authorization": f"Bearer {access.token}"}
            )
            assert reply.status == 200

    with_server(tmp_path, work)


def test_who_is_not_known_need_not_send_a_body(tmp_path: Path) -> None:
    """The answer comes at once; otherwise strangers could have us hold their bodies."""

    async def work(instance: Instance, access: Access) -> None:
        del instance
        async with connect(access._replace(token="")) as wire:
            wire.say("POST", _SERVICES, None, {"Content-Length": "1000000"})
            assert (await wire.hear()).status == 401

    with_server(tmp_path, work)


def test_nodes_have_a_token_of_their_own(tmp_path: Path) -> None:
    async def work(instance: Instance, access: Access) -> None:
        nodes = Access.read(instance.node_config)
        assert nodes.token != access.token
        async with connect(nodes) as wire:
            assert (await wire.ask("GET", "/api/v1/nodes")).status == 200

    with_server(tmp_path, work)


def test_tokens_and_certificates_outlive_the_process(tmp_path: Path) -> None:
    seen: list[Access] = []

    async def work(instance: Instance, access: Access) -> None:
        del instance
        seen.append(access)
        old = seen[0]._replace(port=access.port)
        async with connect(old) as wire:
            assert (await wire.ask("GET", "/version")).status == 200

    with_server(tmp_path, work)
    with_server(tmp_path, work)
    assert seen[0].token == seen[1].token


def test_what_is_secret_is_read_by_nobody_else(tmp_path: Path) -> None:
    async def work(instance: Instance, access: Access) -> None:
        del access
        files = [each for each in (tmp_path / "data").rglob("*") if not each.is_dir()]
        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in files}
        secret = {"admin.conf", "node.conf", "tokens.json", "objects.db", "ca.key", "server.pem"}
        assert secret <= set(modes)
        assert {name: mode for name, mode in modes.items() if mode & 0o077} == {"ca.crt": 0o644}
        assert stat.S_ISSOCK(instance.socket.stat().st_mode)
        assert modes[instance.socket.name] == 0o600
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "data" / "pki").stat().st_mode) == 0o700

    with_server(tmp_path / "data", work)


def test_whoever_may_use_the_socket_is_the_administrator(tmp_path: Path) -> None:
    async def work(instance: Instance, access: Access) -> None:
        del access
        async with connect_locally(instance.socket) as wire:
            assert (await wire.ask("GET", _SERVICES)).status == 200

    with_server(tmp_path, work)
    assert not (tmp_path / "api.sock").exists()


def test_a_socket_that_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "api.sock"))
    left.close()

    async def work(instance: Instance, access: Access) -> None:
        del access
        async with connect_locally(instance.socket) as wire:
            assert (await wire.ask("GET", "/version")).status == 200

    with_server(tmp_path, work)


def test_clients_who_verify_find_out_who_is_not_the_server(tmp_path: Path) -> None:
    async def work(instance: Instance, access: Access) -> None:
        del instance
        with pytest.raises(ssl.SSLCertVerificationError):
            async with connect(access, ssl.create_default_context()):
                pass
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await asyncio.open_connection(
                access.host, access.port, ssl=access.context, server_hostname="example.com"
            )
        for name in ("localhost", "kubernetes", "kubernetes.default.svc.cluster.local"):
            _, writer = await asyncio.open_connection(
                access.host, access.port, ssl=access.context, server_hostname=name
            )
            writer.transport.abort()

    with_server(tmp_path, work)


def _certificate(
    directory: Path, purpose: x509.ObjectIdentifier, *, stranger: bool = False
) -> Path:
    """For CN=alice, signed by the server's authority, or by one that only calls itself so."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .sign(ec.generate_private_key(ec.SECP256R1()) if stranger else signer, hashes.SHA256())
    )
    path = directory / "client.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


async def _status_with(access: Access, certificate: Path, token: str = "") -> int:
    context = ssl.create_default_context(cafile=str(certificate.parent / "ca.crt"))
    context.load_cert_chain(certificate)
    try:
        async with connect(access._replace(token=token), context) as wire:
            return (await wire.ask("GET", "/version")).status
    except (ssl.SSLError, Closed):
        return 0  # TLS 1.3 tells a client of a bad certificate after its handshake


def test_a_client_certificate_of_our_authority_is_let_in(tmp_path: Path) -> None:
    async def work(instance: Instance, access: Access) -> None:
        del instance
        pki = tmp_path / "pki"
        client = _certificate(pki, ExtendedKeyUsageOID.CLIENT_AUTH)
        assert await _status_with(access, client) == 200
        assert await _status_with(access, client, "wrong") == 401
        assert await _status_with(access, _certificate(pki, ExtendedKeyUsageOID.SERVER_AUTH)) == 0
        assert await _status_with(access, pki / "server.pem") == 0
        stranger = _certificate(pki, ExtendedKeyUsageOID.CLIENT_AUTH, stranger=True)
        assert await _status_with(access, stranger) == 0

    with_server(tmp_path, work)


def test_old_tls_is_refused(tmp_path: Path) -> None:
    names = {"localhost"}
    found = ensure_certificates(tmp_path, names, datetime.datetime.now(datetime.UTC))
    assert found.context().minimum_version == ssl.TLSVersion.TLSv1_2


def test_plain_http_finds_nobody(tmp_path: Path) -> None:
    async def work(instance: Instance, access: Access) -> None:
        del instance
        reader, writer = await asyncio.open_connection(access.host, access.port)
        wire = Wire(reader, writer, access.token)
        with pytest.raises(Closed):
            await wire.ask("GET", "/version")
        writer.transport.abort()

    with_server(tmp_path, work)
