"""Answers one message. Pure: what it does not know it hands back to who can ask others."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from netproxy.api.objects import Key, Object
from netproxy.api.resources import Resource
from netproxy.dns.index import Origin
from netproxy.dns.names import labels_of
from netproxy.dns.packing import Packed, Packer
from netproxy.dns.records import Answer, Rcode, Record, RecordType, least_answer
from netproxy.dns.tally import Source, kind_of
from netproxy.dns.wire import (
    HEADER,
    IN,
    LONGEST_MESSAGE,
    Query,
    bare_answer,
    plain_answer,
    read_query,
)
from netproxy.dns.zone import Zone

_KEPT_TYPES = frozenset(RecordType) - {RecordType.OPT}
_FEW = 8
"""Orders in which an answer is kept whose records cannot be turned as bytes."""
_QUESTIONS_ABOUT_MESSAGES = range(128, 255)
"""Types that are no data: zone transfers, signatures of messages (RFC 6895, 3.1)."""
_REVERSE = ([b"in-addr", b"arpa"], [b"ip6", b"arpa"])


class Reply(NamedTuple):
    """A message to be sent."""

    message: bytes
    kind: int
    """As what it counts."""


class Foreign(NamedTuple):
    """A question that others know the answer to."""

    query: Query
    target: bytes
    """The name to ask for: the query's, or the one that its own stands for."""
    before: tuple[Record, ...]
    """What we know of it: the aliases that lead to the target."""


class Prepared(NamedTuple):
    """An answer that is kept."""

    packed: Packed
    kind: int


class Responder:
    """Answers from a zone, and keeps what it has packed until something changes.

    Args:
        zone: Knows the cluster's names; changed through here only.
        random: From 0 up to 1; chooses which of several addresses comes first.
        is_ready: False: the zone does not have everything yet, and says so.
    """

    def __init__(self, zone: Zone, random: Callable[[], float], *, is_ready: bool = True) -> None:
        self.is_ready = is_ready
        self.known: dict[bytes, Prepared] = {}
        """Answers by question: name in lower case, type and class. Bounded by what the zone has."""
        self._varied: dict[bytes, list[Prepared | None]] = {}
        """Those of which there are several: one for each record that comes first."""
        self._questions: dict[Origin, list[bytes]] = {}
        """What is kept that depends on something."""
        self._zone = zone
        self.random = random
        self._packer = Packer(zone.settings.ttl_s, zone.start_of_authority(zone.apex))

    def change(self, resource: Resource, key: Key, new: Object | None) -> None:
        """An object came or changed, or (None) went."""
        for origin in self._zone.change(resource, key, new):
            for question in self._questions.pop(origin, ()):
                self.known.pop(question, None)
                self._varied.pop(question, None)

    def respond(self, message: bytes, *, is_stream: bool) -> Reply | Foreign | None:
        """Answer; None: it is not worth one.

        Args:
            message: Whatever came.
            is_stream: Over TCP, where answers may have any length.
        """
        if len(message) < HEADER or message[2] & 0x80:
            return None
        if message[2] & 0x78:
            return Reply(bare_answer(message, Rcode.NOTIMP), _kind(None, Rcode.NOTIMP))
        try:
            query = read_query(message)
        except ValueError:
            return Reply(bare_answer(message, Rcode.FORMERR), _kind(None, Rcode.FORMERR))
        if is_stream:
            query = query._replace(limit=LONGEST_MESSAGE)
        if query.edns:
            return refusal(query, Rcode.BADVERS)
        if query.class_ != IN or query.type in _QUESTIONS_ABOUT_MESSAGES:
            return refusal(query, Rcode.REFUSED)
        return self._answer(query)

    def _answer(self, query: Query) -> Reply | Foreign:
        question = query.name + query.question[-4:]
        prepared = self.known.get(question)
        if prepared is None:
            found = self._find(query, question)
            if not isinstance(found, Prepared):
                return found
            prepared = found
        packed = prepared.packed
        rest = packed.rest
        if packed.turns:
            rest = packed.turned(rest, int(self.random() * packed.turns))
        return Reply(packed.reply(query, rest, query.limit), prepared.kind)

    def _find(self, query: Query, question: bytes) -> Prepared | Reply | Foreign:
        varied = self._varied.get(question)
        if varied is not None:
            turn = int(self.random() * len(varied))
            if (kept := varied[turn]) is not None:
                return kept
        if not self.is_ready and self._is_ours(query.name):
            return refusal(query, Rcode.SERVFAIL)
        found = self._zone.lookup(query.name, query.type)
        if found is None:
            return self._foreign(query, query.name, ())
        answer = found.answer
        if answer.elsewhere is not None:
            return self._foreign(query, answer.elsewhere, answer.records)
        is_kept = found.origin is not None and query.type in _KEPT_TYPES
        if not _has_variants(answer):
            prepared = self._pack(query, answer)
            if is_kept:
                self.known[question] = prepared
                self._depends(found.origin, question)
            return prepared
        if not is_kept:
            return self._pack(query, answer, int(self.random() * len(answer.records)))
        if varied is None:
            varied = self._varied[question] = [None] * min(_FEW, len(answer.records))
            self._depends(found.origin, question)
        turn = int(self.random() * len(varied))
        prepared = self._pack(query, answer, turn * len(answer.records) // len(varied))
        varied[turn] = prepared
        return prepared

    def _pack(self, query: Query, answer: Answer, turn: int = 0) -> Prepared:
        packed = self._packer.pack(query.name, answer, turn)
        return Prepared(packed, kind_of(query.type, answer.rcode, Source.CLUSTER))

    def _depends(self, origin: Origin | None, question: bytes) -> None:
        if origin is not None:
            self._questions.setdefault(origin, []).append(question)

    def _foreign(
        self, query: Query, target: bytes, before: tuple[Record, ...]
    ) -> Prepared | Reply | Foreign:
        if query.is_recursive and query.type != RecordType.ANY:
            return Foreign(query, target, before)
        if before:
            return self._pack(query, Answer(records=before))
        if query.type == RecordType.ANY:
            return self._pack(query, least_answer(query.name))
        return refusal(query, Rcode.REFUSED)

    def _is_ours(self, name: bytes) -> bool:
        """Whether it could be: whose an address is, is not known before all Services are."""
        labels = labels_of(name)
        return self._zone.contains(labels) or labels[-2:] in _REVERSE


def refusal(query: Query, rcode: Rcode) -> Reply:
    """The question, and that there is no answer."""
    return Reply(plain_answer(query, rcode), _kind(query.type, rcode))


def _kind(type_: int | None, rcode: Rcode) -> int:
    return kind_of(type_, rcode, Source.NOBODY)


def _has_variants(answer: Answer) -> bool:
    """Whether several records may come first that are no addresses."""
    first = answer.records[:1]
    return len(answer.records) > 1 and first[0].type in (RecordType.SRV, RecordType.PTR)
