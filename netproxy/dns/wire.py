"""Messages as bytes (RFC 1035, section 4): questions are read; the shortest answers are written."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from netproxy.dns.names import LONGEST_LABEL, end_of_name
from netproxy.dns.records import Rcode, RecordType

HEADER: Final = 12
SMALLEST_LIMIT: Final = 512
"""Bytes of an answer over UDP that everybody takes (RFC 1035, 2.3.4)."""
LARGEST_LIMIT: Final = 1232
"""What is sent at most to those who take more, so that it is never cut into fragments.

Source: DNS flag day 2020.
"""
LONGEST_MESSAGE: Final = 65535
OPT_SIZE: Final = 11
IN: Final = 1
RESPONSE: Final = 0x8000
AUTHORITATIVE: Final = 0x0400
TRUNCATED: Final = 0x0200
DESIRED: Final = 0x0100
"""Recursion is."""
AVAILABLE: Final = 0x0080
"""Recursion is."""
COUNTS: Final = struct.Struct(">5H")
"""What stands behind a message's number: flags, and the records of each section."""
FIXED: Final = struct.Struct(">HHIH")
"""What stands behind a record's name: type, class, time to live, length of its data."""
_PAIR = struct.Struct(">HH")


class Query(NamedTuple):
    """A question, well formed."""

    number: bytes
    """The message's own, to be repeated."""
    question: bytes
    """Name, type and class, as they were spelled."""
    name: bytes
    """In lower case."""
    type: int
    class_: int
    is_recursive: bool
    """Wants to know what others know, too."""
    limit: int
    """Bytes that an answer over UDP may have."""
    edns: int | None
    """The version of EDNS that it speaks; None: none."""

    @property
    def head(self) -> int:
        """Which of a packed answer's heads belongs to it."""
        return self.is_recursive + (2 if self.edns is not None else 0)


def read_query(message: bytes) -> Query:
    """Read a message of at least a header.

    Raises:
        ValueError: it is malformed, or has not exactly one question.
    """
    _, flags, questions, *others = struct.unpack_from(">6H", message)
    if questions != 1:
        raise ValueError("not exactly one question")
    at = end_of_name(message, HEADER)
    if at + 4 > len(message):
        raise ValueError("the question does not end")
    type_, class_ = _PAIR.unpack_from(message, at)
    size, version = _extension(message, at + 4, sum(others[:2]), others[2])
    return Query(
        number=message[:2],
        question=message[HEADER : at + 4],
        name=message[HEADER:at].lower(),
        type=type_,
        class_=class_,
        is_recursive=bool(flags & DESIRED),
        limit=max(SMALLEST_LIMIT, min(size, LARGEST_LIMIT)),
        edns=version,
    )


def _extension(message: bytes, at: int, before: int, additional: int) -> tuple[int, int | None]:
    """Size and version of the OPT record; other records mean nothing in a question."""
    found: tuple[int, int | None] = (0, None)
    for number in range(before + additional):
        name, at = at, skip_name(message, at)
        if at + 10 > len(message):
            raise ValueError("a record does not end")
        type_, size, rest, length = FIXED.unpack_from(message, at)
        at += 10 + length
        if type_ == RecordType.OPT:
            if number < before or message[name] or found[1] is not None:
                raise ValueError("an OPT record where none may be")
            found = (size, rest >> 16 & 0xFF)
    if at != len(message):
        raise ValueError("the message does not end where its records do")
    return found


def skip_name(message: bytes, at: int) -> int:
    """Where a name ends that may be compressed. Pointers are not followed."""
    try:
        while length := message[at]:
            if length >= 0xC0:
                return at + 2
            if length > LONGEST_LABEL:
                raise ValueError("a label of an unknown kind")
            at += length + 1
    except IndexError:
        raise ValueError("a name does not end") from None
    return at + 1


def opt_record(rcode: int = 0) -> bytes:
    """What we say of ourselves to who speaks EDNS (RFC 6891, 6.1)."""
    upper = (rcode >> 4) << 24
    return b"\0" + FIXED.pack(RecordType.OPT, LARGEST_LIMIT, upper, 0)


OPT: Final = opt_record()


def bare_answer(message: bytes, rcode: Rcode) -> bytes:
    """A header that says only how it went, for a message that cannot be read."""
    flags = RESPONSE | (message[2] & 0x79) << 8 | rcode
    return message[:2] + COUNTS.pack(flags, 0, 0, 0, 0)


def plain_answer(query: Query, rcode: Rcode) -> bytes:
    """The question and how it went, and nothing else."""
    has_opt = query.edns is not None
    flags = RESPONSE | AVAILABLE | (DESIRED if query.is_recursive else 0) | rcode & 15
    counts = COUNTS.pack(flags, 1, 0, 0, has_opt)
    return query.number + counts + query.question + (opt_record(rcode) if has_opt else b"")


def write_query(number: bytes, question: bytes, *, has_edns: bool) -> bytes:
    """A question to somebody who knows more.

    Args:
        number: Two bytes that nobody can guess.
        question: Name, type and class.
        has_edns: Say how much we take; some servers refuse to read that.
    """
    counts = COUNTS.pack(DESIRED, 1, 0, 0, has_edns)
    return number + counts + question + (OPT if has_edns else b"")


def is_answer(message: bytes, number: bytes, question: bytes) -> bool:
    """Whether a message answers the question, or says in a bare header that it cannot be read."""
    if len(message) < HEADER or message[:2] != number or not message[2] & 0x80:
        return False
    if len(message) == HEADER:
        return message[3] & 0x0F != Rcode.NOERROR
    end = HEADER + len(question)
    asked = message[HEADER:end]
    return message[4:6] == b"\0\1" and asked[:-4].lower() + asked[-4:] == question


def is_cut(message: bytes) -> bool:
    """Whether an answer says that it is not all of it."""
    return bool(message[2] & (TRUNCATED >> 8))
