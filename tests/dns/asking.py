"""Asks a responder as a client does, and reads answers with dnspython."""

from __future__ import annotations

from typing import NamedTuple

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from netproxy.dns.responder import Foreign, Reply, Responder


class Said(NamedTuple):
    """An answer in words."""

    rcode: str
    answers: list[str]
    """Type and data of each, in order."""
    soa: str
    """The zone that says that there is nothing; empty: none does."""
    additional: list[str]
    """Name, type and data of each."""
    message: dns.message.Message


def query(name: str, type_: str = "A", *, edns: int | None = None) -> dns.message.Message:
    """A question; recursion is desired.

    Args:
        name: Without the zone's last dot is fine.
        type_: Of records.
        edns: The size that is offered; None: no EDNS.
    """
    extra = {} if edns is None else {"use_edns": 0, "payload": edns}
    made: dns.message.Message = dns.message.make_query(name, type_, **extra)  # type: ignore[arg-type]
    return made


def ask(
    responder: Responder,
    name: str,
    type_: str = "A",
    *,
    edns: int | None = None,
    is_stream: bool = False,
) -> Said:
    """What it says, which must be an answer."""
    asked = query(name, type_, edns=edns)
    reply = responder.respond(asked.to_wire(), is_stream=is_stream)
    assert isinstance(reply, Reply), reply
    return read(asked, reply.message)


def ask_elsewhere(responder: Responder, name: str, type_: str = "A") -> Foreign:
    """What it hands back, as others must be asked."""
    found = responder.respond(query(name, type_).to_wire(), is_stream=False)
    assert isinstance(found, Foreign), found
    return found


def read(asked: dns.message.Message, wire: bytes) -> Said:
    """An answer; it must be one to the question, by all that every answer must be."""
    message = dns.message.from_wire(wire)
    assert asked.is_response(message)
    assert message.question[0].name.labels == asked.question[0].name.labels, "respelled"
    assert (message.flags ^ asked.flags) & dns.flags.RD == 0
    assert message.flags & dns.flags.RA
    assert (asked.edns >= 0) == (message.edns >= 0)
    return words(message)


def words(message: dns.message.Message) -> Said:
    """Any answer in words."""
    answers = [
        f"{dns.rdatatype.to_text(rrset.rdtype)} {data}"
        for rrset in message.answer
        for data in rrset
    ]
    soa = [str(rrset.name) for rrset in message.authority if rrset.rdtype == dns.rdatatype.SOA]
    additional = [
        f"{rrset.name} {dns.rdatatype.to_text(rrset.rdtype)} {data}"
        for rrset in message.additional
        for data in rrset
    ]
    rcode = dns.rcode.to_text(message.rcode())
    return Said(rcode, answers, "".join(soa), additional, message)
