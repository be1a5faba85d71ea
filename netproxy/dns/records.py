"""Records and answers, before they are bytes."""

from __future__ import annotations

import enum
from typing import NamedTuple


class RecordType(enum.IntEnum):
    """The types that mean something here (RFC 1035, 2782, 3596, 6891, 8482)."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    HINFO = 13
    TXT = 16
    AAAA = 28
    SRV = 33
    OPT = 41
    ANY = 255


class Rcode(enum.IntEnum):
    """How it went (RFC 1035, 6891)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class Record(NamedTuple):
    """One record of class IN; the time to live is the zone's."""

    name: bytes
    """Whose it is; lower case."""
    type: int
    data: bytes
    """What stands before the name that the data end with, or all of it."""
    target: bytes = b""
    """The name that the data end with: of a CNAME, PTR, NS or SRV record."""


class Answer(NamedTuple):
    """What the cluster's own names have to say to one question."""

    rcode: Rcode = Rcode.NOERROR
    records: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    apex: bytes | None = None
    """Nothing was found (NXDOMAIN, or no record of that type): of which zone that is true."""
    elsewhere: bytes | None = None
    """The last record is a CNAME to this name, which others know."""


def address_record(name: bytes, packed: bytes) -> Record:
    """A or AAAA."""
    return Record(name, RecordType.A if len(packed) == 4 else RecordType.AAAA, packed)


def service_record(name: bytes, port: int, target: bytes) -> Record:
    """SRV; as CoreDNS has it, all targets are of the same priority and weight."""
    return Record(name, RecordType.SRV, b"\0\0\0\x64" + port.to_bytes(2, "big"), target)


def text_record(name: bytes, text: bytes) -> Record:
    """TXT of one string."""
    return Record(name, RecordType.TXT, bytes((len(text),)) + text)


def least_answer(name: bytes) -> Answer:
    """To who asks for all types: that nobody tells them (RFC 8482, 4.2)."""
    return Answer(records=(Record(name, RecordType.HINFO, b"\7RFC8482\0"),))
