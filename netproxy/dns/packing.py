"""Answers as bytes: packed once, copied for each question.

Only the question's number, one of its flags and its spelling are put in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

from netproxy.dns.records import Answer, Rcode, Record, RecordType
from netproxy.dns.wire import (
    AUTHORITATIVE,
    AVAILABLE,
    COUNTS,
    DESIRED,
    FIXED,
    HEADER,
    IN,
    OPT,
    RESPONSE,
    TRUNCATED,
    Query,
)

_POINTER = 0xC000
_FURTHEST = 0x3FFF
_ADDRESSES = (RecordType.A, RecordType.AAAA)


class Part(NamedTuple):
    """Records of one section, packed."""

    content: bytes = b""
    ends: tuple[int, ...] = ()
    """Where in it each record ends."""


NOTHING: Final = Part()


class Packed:
    """An answer without the question that it belongs to.

    Args:
        rcode: How it went.
        answers: The answer section.
        turns: How many of the last answers may stand in any order; they are of equal length.
        authority: The authority section.
        additional: The additional section; left out where there is no room.
        is_authoritative: We are who knows.
    """

    __slots__ = ("_additional", "_answers", "_flags", "_unit", "heads", "rcode", "rest", "turns")

    def __init__(
        self,
        rcode: Rcode,
        answers: Part = NOTHING,
        *,
        turns: int = 0,
        authority: Part = NOTHING,
        additional: Part = NOTHING,
        is_authoritative: bool = True,
    ) -> None:
        self.rcode = rcode
        self.rest = answers.content + authority.content + additional.content
        """Everything behind the question."""
        self.turns = turns if turns > 1 else 0
        """How many orders the answers have; 0: they have but one."""
        self._answers = answers.ends
        self._additional = additional
        self._unit = answers.ends[-1] - answers.ends[-2] if turns > 1 else 0
        self._flags = RESPONSE | AVAILABLE | (AUTHORITATIVE * is_authoritative) | rcode
        counts = (len(answers.ends), len(authority.ends), len(additional.ends))
        self.heads = tuple(
            COUNTS.pack(self._flags | desired, 1, *counts[:2], counts[2] + has_opt)
            for has_opt in (0, 1)
            for desired in (0, DESIRED)
        )
        """Flags and counts, by ``Query.head``."""

    def turned(self, rest: bytes, turn: int) -> bytes:
        """What stands behind the question, with another answer first."""
        end = self._answers[-1]
        start = end - self.turns * self._unit
        middle = start + turn * self._unit
        return rest[:start] + rest[middle:end] + rest[start:middle] + rest[end:]

    def reply(self, query: Query, rest: bytes, limit: int) -> bytes:
        """The whole message, as much of it as the limit allows.

        Args:
            query: To whom.
            rest: What to put behind the question; ``self.rest``, maybe turned.
            limit: Bytes.
        """
        opt = OPT if query.edns is not None else b""
        room = limit - HEADER - len(query.question) - len(opt)
        if len(rest) <= room:
            return b"".join((query.number, self.heads[query.head], query.question, rest, opt))
        without = len(rest) - len(self._additional.content)
        flags = self._flags | (DESIRED if query.is_recursive else 0)
        count = len(self._answers)
        if without > room or not self._additional.ends:
            # Some records rather than none: resolvers without TCP are better off.
            flags |= TRUNCATED
            count = bisect_right(self._answers, room)
            without = self._answers[count - 1] if count else 0
        counts = COUNTS.pack(flags, 1, count, 0, len(opt) > 0)
        return b"".join((query.number, counts, query.question, rest[:without], opt))


class Packer:
    """Packs the answers of one zone.

    Args:
        ttl_s: Of every record.
        start_of_authority: The zone's SOA record.
    """

    def __init__(self, ttl_s: int, start_of_authority: Record) -> None:
        self._ttl_s = ttl_s
        self._apex = start_of_authority.name
        ttl = min(ttl_s, int.from_bytes(start_of_authority.data[-4:], "big"))
        data = start_of_authority.data
        self._authority = FIXED.pack(RecordType.SOA, IN, ttl, len(data)) + data
        self._nothing: dict[tuple[Rcode, int], Packed] = {}

    def nothing(self, rcode: Rcode, name: bytes) -> Packed:
        """That there is no record of a type, or no such name in the zone.

        Names of equal length have it in common: it only points to where the zone begins in them.
        """
        known = self._nothing.get((rcode, len(name)))
        if known is None:
            at = HEADER + len(name) - len(self._apex)
            known = Packed(rcode, authority=self._soa(_pointer(at)))
            self._nothing[rcode, len(name)] = known
        return known

    def pack(self, name: bytes, answer: Answer, turn: int = 0) -> Packed:
        """Any answer, to the question for a name.

        Args:
            name: In lower case.
            answer: To be packed.
            turn: Which record of several comes first.
        """
        if not answer.records and answer.apex == self._apex:
            return self.nothing(answer.rcode, name)
        names = _Names(name)
        records = answer.records[turn:] + answer.records[:turn]
        answers = self._part(names, records)
        authority = NOTHING
        if answer.apex is not None:
            authority = self._soa(names.write(answer.apex, names.at))
        additional = self._part(names, answer.additional)
        turns = count_turns([each[:2] for each in records], answers.ends)
        return Packed(
            answer.rcode, answers, turns=turns, authority=authority, additional=additional
        )

    def _soa(self, owner: bytes) -> Part:
        content = owner + self._authority
        return Part(content, (len(content),))

    def _part(self, names: _Names, records: Sequence[Record]) -> Part:
        start = names.at
        parts: list[bytes] = []
        ends = []
        for each in records:
            owner = names.write(each.name, names.at)
            at = names.at + len(owner) + FIXED.size
            # Targets of SRV records are not compressed (RFC 2782), but may be pointed to.
            target = names.write(
                each.target, at + len(each.data), is_whole=each.type == RecordType.SRV
            )
            length = len(each.data) + len(target)
            parts += (owner, FIXED.pack(each.type, IN, self._ttl_s, length), each.data, target)
            names.at = at + length
            ends.append(names.at - start)
        return Part(b"".join(parts), tuple(ends))


class _Names:
    """Where in a message which names stand.

    Args:
        question: The name that is asked for.
    """

    def __init__(self, question: bytes) -> None:
        self.at = HEADER + len(question) + 4
        """Where the next record will stand."""
        self._known: dict[bytes, int] = {}
        self._learn(question, HEADER)

    def write(self, name: bytes, at: int, *, is_whole: bool = False) -> bytes:
        """A name as it is to be written there: as much of it as needed, and a pointer."""
        if not name:
            return b""
        start = 0
        while length := name[start]:
            known = self._known.get(name[start:])
            if known is not None:
                break
            start += length + 1
        else:
            known = None
        self._learn(name, at)
        if is_whole or known is None:
            return name
        return name[:start] + _pointer(known)

    def _learn(self, name: bytes, at: int) -> None:
        start = 0
        while length := name[start]:
            if at + start > _FURTHEST:
                return
            if self._known.setdefault(name[start:], at + start) != at + start:
                return
            start += length + 1


def _pointer(at: int) -> bytes:
    return (_POINTER | at).to_bytes(2, "big")


def count_turns(keys: Sequence[tuple[object, int]], ends: Sequence[int]) -> int:
    """How many records at the end are addresses of one name, packed to equal length.

    Args:
        keys: Name and type of each record.
        ends: Where each ends.
    """
    turns = unit = 0
    for number in range(len(keys) - 1, -1, -1):
        length = ends[number] - (ends[number - 1] if number else 0)
        unit = unit or length
        if keys[number] != keys[-1] or keys[-1][1] not in _ADDRESSES or length != unit:
            break
        turns += 1
    return turns
