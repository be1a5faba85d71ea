"""Answers of other servers: read, checked, and packed anew. dnspython is imported here only.

Nothing that a stranger sent is passed on: what leaves here was parsed, what does not belong to
the question was left out, and names were compressed by us.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from netproxy.dns.cache import Heard
from netproxy.dns.packing import NOTHING, Packed, Part, count_turns
from netproxy.dns.records import Rcode, Record
from netproxy.dns.wire import FIXED, HEADER, LONGEST_MESSAGE, skip_name

_LONGEST_CHAIN = 16
_FAILURES = (dns.exception.DNSException, ValueError, IndexError, struct.error)
_QUERY = struct.Struct(">HH")
_Rrsets = list[dns.rrset.RRset]


class Useless(Exception):
    """An answer from which nothing is to be learned; another server may know more."""

    def __init__(self, rcode: str) -> None:
        super().__init__(rcode)
        self.rcode = rcode
        """How it went: an rcode's name, or ``MALFORMED``."""


def read_answer(message: bytes, question: bytes) -> Heard:
    """An answer to a question.

    Args:
        message: What came: a whole answer to it, by its header and its question.
        question: The name in lower case, type and class: what was asked.

    Raises:
        Useless: it is malformed, or says that it failed.
    """
    try:
        said = dns.message.from_wire(message)
        rcode = said.rcode()
        if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise Useless(dns.rcode.to_text(rcode))
        chain, end = _chain(said.answer, question)
        authority = [] if chain and chain[-1].rdtype == _type(question) else _soa(said, end)
        return _heard(question, Rcode(rcode), chain, authority)
    except _FAILURES as error:
        raise Useless("MALFORMED") from error


def join_answers(
    question: bytes,
    before: Sequence[Record],
    ttl_s: int,
    *,
    asked: bytes,
    heard: Heard,
    age_s: int,
) -> Heard:
    """An answer of others, behind the aliases of ours that lead to it.

    Args:
        question: The name in lower case, type and class.
        before: CNAME records, the first of them the question's own.
        ttl_s: Of these.
        asked: The question that the others answered.
        heard: What they said.
        age_s: How long ago.
    """
    packed = heard.packed
    said = dns.message.from_wire(b"\0\0" + packed.heads[0] + asked + heard.rest(age_s))
    aliases = []
    for each in before:
        data = dns.rdata.from_wire(
            dns.rdataclass.IN, dns.rdatatype.CNAME, each.target, 0, len(each.target)
        )
        aliases.append(dns.rrset.from_rdata(_name(each.name), ttl_s, data))
    return _heard(question, packed.rcode, aliases + said.answer, said.authority)


def _name(wire: bytes) -> dns.name.Name:
    return dns.name.from_wire(wire, 0)[0]


def _type(question: bytes) -> int:
    return int.from_bytes(question[-4:-2], "big")


def _chain(answers: _Rrsets, question: bytes) -> tuple[_Rrsets, dns.name.Name]:
    """The records that lead from the question to its answer, and the name where they end."""
    by_name = {(each.name, each.rdtype): each for each in answers if each.rdclass == 1}
    at, type_ = _name(question[:-4]), _type(question)
    chain: _Rrsets = []
    while len(chain) < _LONGEST_CHAIN:
        found = by_name.get((at, dns.rdatatype.RdataType.make(type_)))
        if found is not None:
            return [*chain, found], at
        alias = by_name.get((at, dns.rdatatype.CNAME))
        if alias is None:
            return chain, at
        chain.append(alias)
        at = alias[0].target
    raise ValueError("names that stand for each other")


def _soa(said: dns.message.Message, name: dns.name.Name) -> _Rrsets:
    """What the zone of a name says about itself."""
    return [
        each
        for each in said.authority
        if each.rdtype == dns.rdatatype.SOA and name.is_subdomain(each.name)
    ][:1]


def _heard(question: bytes, rcode: Rcode, answer: _Rrsets, authority: _Rrsets) -> Heard:
    message = dns.message.QueryMessage(id=0)
    message.flags |= dns.flags.QR
    type_, class_ = _QUERY.unpack(question[-4:])
    message.question = [dns.rrset.RRset(_name(question[:-4]), class_, type_)]
    message.answer, message.authority = answer, authority
    rest = message.to_wire(max_size=LONGEST_MESSAGE)[HEADER + len(question) :]
    keys = [(each.name, each.rdtype) for each in answer for _ in each]
    ttl_at, ends = _walk(rest)
    middle = ends[len(keys) - 1] if keys else 0
    answers = Part(rest[:middle], tuple(ends[: len(keys)]))
    about = NOTHING
    if authority:
        about = Part(rest[middle:], tuple(each - middle for each in ends[len(keys) :]))
    packed = Packed(
        rcode,
        answers,
        turns=count_turns(keys, answers.ends),
        authority=about,
        is_authoritative=False,
    )
    is_found = bool(answer) and answer[-1].rdtype == type_ and rcode == Rcode.NOERROR
    ttls = [each.ttl for each in answer]
    if not is_found:
        # RFC 2308: without a SOA record nobody knows for how long there is nothing.
        ttls += [min(each.ttl, each[0].minimum) for each in authority] or [0]
    return Heard(packed, tuple(ttl_at), min(ttls), "success" if is_found else "denial")


def _walk(rest: bytes) -> tuple[list[int], list[int]]:
    """Where times to live stand, and where records end."""
    at, ttl_at, ends = 0, [], []
    while at < len(rest):
        at = skip_name(rest, at)
        ttl_at.append(at + 4)
        at += FIXED.size + FIXED.unpack_from(rest, at)[3]
        ends.append(at)
    return ttl_at, ends
