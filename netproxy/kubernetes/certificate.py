"""Until when a certificate is valid: the one thing that ``ssl`` does not tell of our own.

Source: RFC 5280, section 4.1: Certificate, TBSCertificate, Validity.
"""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from typing import NamedTuple

_PEM = re.compile(
    r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", re.ASCII | re.DOTALL
)
_SEQUENCE = 0x30
_EXPLICIT_VERSION = 0xA0
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18


class _Value(NamedTuple):
    """One tagged value of DER and where it lies."""

    tag: int
    start: int
    end: int


def expiry(pem: str) -> datetime:
    """When the first certificate of a text ends.

    Raises:
        ValueError: there is no certificate in it, or one that is cut short.
    """
    found = _PEM.search(pem)
    if found is None:
        raise ValueError("no certificate")
    try:
        return _expiry(ssl.PEM_cert_to_DER_cert(found.group()))
    except (IndexError, ValueError):
        raise ValueError("no whole certificate") from None


def _expiry(der: bytes) -> datetime:
    certificate = _value(der, 0, _SEQUENCE)
    fields = _value(der, certificate.start, _SEQUENCE)
    field = _value(der, fields.start)
    skipped = 4 if field.tag == _EXPLICIT_VERSION else 3
    for _ in range(skipped):  # version, serial number, signature algorithm, issuer
        field = _value(der, field.end)
    begin = _value(der, field.start)
    return _time(der, _value(der, begin.end))


def _value(der: bytes, offset: int, tag: int | None = None) -> _Value:
    found, length, start = der[offset], der[offset + 1], offset + 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(der[start : start + size], "big")
        start += size
    if tag is not None and found != tag:
        raise ValueError("another type")
    return _Value(found, start, start + length)


def _time(der: bytes, value: _Value) -> datetime:
    text = der[value.start : value.end].decode("ascii")
    if value.tag == _UTC_TIME:  # two digits of the year, 1950 to 2049
        text = ("19" if text[:2] >= "50" else "20") + text
    elif value.tag != _GENERALIZED_TIME:
        raise ValueError("another type")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
