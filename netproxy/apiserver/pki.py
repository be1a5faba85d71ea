"""The server's certificates: an authority of its own, made at the first start.

The one door to ``cryptography``, which takes 0.1 s and is imported only when something is to be
made. Keys are elliptic (P-256), as every client of Kubernetes knows them.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

AUTHORITY_DAYS = 3650
SERVER_DAYS = 365
RENEW_DAYS = 90
"""The server's certificate is made anew when less than this is left."""
_SKEW = datetime.timedelta(hours=1)


class Certificates(NamedTuple):
    """Where they are."""

    authority: Path
    """Clients trust this one."""
    authority_key: Path
    server: Path
    """Certificate and key together: they are never of different age."""

    def context(self) -> ssl.SSLContext:
        """For serving; clients may show a certificate that the authority has signed."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self.server)
        context.load_verify_locations(self.authority)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context


def ensure_certificates(
    directory: Path, names: Collection[str], now: datetime.datetime
) -> Certificates:
    """Make what is missing, will soon be over, or is not for these names.

    Args:
        directory: Made with mode 0700.
        names: DNS names and addresses by which clients call the server.
        now: In UTC.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: a file is there and is no certificate or key.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = Certificates(*(directory / each for each in ("ca.crt", "ca.key", "server.pem")))
    if not found.authority.exists() or not found.authority_key.exists():
        _make_authority(found, now)
    if not _is_current(found, names, now):
        _make_server(found, names, now)
    return found


def _make_authority(found: Certificates, now: datetime.datetime) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("netproxy")
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        _builder(name, name, now, AUTHORITY_DAYS)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    # Without its certificate a key counts for nothing, so there is no moment with a wrong pair.
    found.authority.unlink(missing_ok=True)
    write_private(found.authority_key, _pem_of_key(key))
    write_private(found.authority, _pem(certificate), mode=0o644)


def _make_server(found: Certificates, names: Collection[str], now: datetime.datetime) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    authority = x509.load_pem_x509_certificate(found.authority.read_bytes())
    signer = serialization.load_pem_private_key(found.authority_key.read_bytes(), None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{found.authority_key}: is no elliptic key")
    key = ec.generate_private_key(ec.SECP256R1())
    alternative = x509.SubjectAlternativeName([_general_name(each) for each in sorted(set(names))])
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    public = signer.public_key()
    certificate = (
        _builder(_name("kube-apiserver"), authority.subject, now, SERVER_DAYS)
        .public_key(key.public_key())
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(signer, hashes.SHA256())
    )
    write_private(found.server, _pem(certificate) + _pem_of_key(key))


def _is_current(found: Certificates, names: Collection[str], now: datetime.datetime) -> bool:
    if not found.server.exists():
        return False
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(found.server.read_bytes())
    authority = x509.load_pem_x509_certificate(found.authority.read_bytes())
    if certificate.not_valid_after_utc - now < datetime.timedelta(days=RENEW_DAYS):
        return False
    alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    known = {str(each.value) for each in alternative}
    return known >= set(names) and _is_signed(certificate, authority)


def _is_signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _builder(
    subject: x509.Name, issuer: x509.Name, now: datetime.datetime, days: int
) -> x509.CertificateBuilder:
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _name(common_name: str) -> x509.Name:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def write_private(path: Path, text: bytes, mode: int = 0o600) -> None:
    """Put a file into place in one step, readable by nobody else from its first moment."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
