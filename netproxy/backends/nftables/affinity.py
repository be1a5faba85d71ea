"""Session affinity: tickets, the numbers by which rules remember where they sent a client.

A ticket is an address that nobody has: its first bytes are the number of a service port, its last
two that of one of its endpoints, its *seat*. Rules keep tickets in the packet's destination for
the moment before it is rewritten (see ``layout``), and remember (client, service port) → ticket.
All frontends of a service port have the same tickets, so they share what is remembered.

A ticket leads to an endpoint that the service port has *now*, or nowhere: whatever is remembered
can be outdated, but not wrong. So nobody has to look for the entries of an endpoint that is gone.
Numbers of those who left are given again as late as can be: whoever remembers them is to get any
endpoint, not the one that has come instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from netproxy.model.ip import Family
from netproxy.nft.expr import DADDR_HEAD_BYTES, address_bytes

SEATS = 1 << 16
"""How many endpoints of a service port can have tickets."""
NUMBERS = {family: 1 << 8 * DADDR_HEAD_BYTES[family] for family in Family}
"""How many service ports can have tickets. 0 is not given: the tickets of 0.0.0.0/16 would look
like the unspecified address."""


def head(number: int, family: Family) -> bytes:
    """What all tickets of a service port begin with."""
    return number.to_bytes(DADDR_HEAD_BYTES[family], "big")


def tail(seat: int, family: Family) -> bytes:
    """What all tickets for this seat end with."""
    tails = _TAILS[family]
    return tails[seat] if seat < len(tails) else _pack_tail(seat, family)


def _pack_tail(seat: int, family: Family) -> bytes:
    return seat.to_bytes(address_bytes(family) - DADDR_HEAD_BYTES[family], "big")


_TAILS = {family: [_pack_tail(seat, family) for seat in range(64)] for family in Family}
"""Nearly all service ports have fewer endpoints than this."""


def number_of(ticket: bytes, family: Family) -> int:
    """The service port's number in a ticket."""
    return int.from_bytes(ticket[: DADDR_HEAD_BYTES[family]], "big")


def seat_of(ticket: bytes, family: Family) -> int:
    """The endpoint's number in a ticket."""
    return int.from_bytes(ticket[DADDR_HEAD_BYTES[family] :], "big")


_GAP = 1024
"""So many numbers that a predecessor may have given, of which nothing is known, are left out."""


class Seating(NamedTuple):
    """Who of a service port's endpoints has which seat."""

    seats: Mapping[bytes, int]
    """By packed endpoint."""
    next: int
    """Where to look for a free one."""


NOBODY = Seating({}, 0)


def take_seats(before: Seating, wanted: Iterable[bytes]) -> Seating:
    """Give every endpoint a seat. Who had one keeps it; others sit down behind the last.

    Example:
        >>> take_seats(Seating({b"a": 0, b"b": 1}, 5), [b"b", b"c"])
        Seating(seats={b'b': 1, b'c': 5}, next=6)
    """
    if before is NOBODY:
        seats = {endpoint: seat for seat, endpoint in enumerate(wanted)}
        return Seating(seats, len(seats))
    seats = {endpoint: before.seats[endpoint] for endpoint in wanted if endpoint in before.seats}
    following = before.next
    free = _round_trip(following, 0, SEATS, set(seats.values()))
    for endpoint in wanted:
        if endpoint not in seats:
            seats[endpoint] = seat = next(free)
            following = seat + 1
    return Seating(seats, following)


def after_restart(seats: Mapping[bytes, int]) -> Seating:
    """As a predecessor left it. Some of those who left may have sat behind the last."""
    return Seating(seats, _behind(seats.values(), SEATS))


class Numbers:
    """Gives numbers to service ports. One that was given back is given again as late as can be."""

    def __init__(self, family: Family) -> None:
        self._taken: set[int] = set()
        self._end = NUMBERS[family]
        self._next = 1

    def take(self) -> int | None:
        """A number that nobody has; None when there is none left."""
        number = next(_round_trip(self._next, 1, self._end, self._taken), None)
        if number is not None:
            self._taken.add(number)
            self._next = number + 1
        return number

    def give_back(self, number: int) -> None:
        """Somebody does without."""
        self._taken.discard(number)

    def reserve(self, numbers: Collection[int]) -> None:
        """These, and no others, are taken: a predecessor gave them."""
        self._taken = set(numbers)
        self._next = max(_behind(numbers, self._end), 1)


def _behind(taken: Collection[int], end: int) -> int:
    """A place far enough behind the last that was taken; 0 if that is behind the end."""
    place = max(taken, default=-_GAP) + _GAP
    return place if place < end else 0


def _round_trip(start: int, first: int, end: int, taken: Collection[int]) -> Iterator[int]:
    """From ``start`` to ``end`` and then from ``first`` on, without those that are taken."""
    return (n for n in chain(range(start, end), range(first, min(start, end))) if n not in taken)
