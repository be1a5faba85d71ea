"""What is counted: plain numbers, which cost next to nothing; metrics are made of them later."""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from netproxy.dns.records import Rcode

BOUNDS = tuple(0.00025 * 2**n for n in range(16))
"""Upper bounds of durations in seconds, without the infinite one; CoreDNS's."""
_TYPES = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV",
    43: "DS", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 50: "NSEC3", 65: "HTTPS", 251: "IXFR",
    252: "AXFR", 255: "ANY",
}  # fmt: skip
"""Those that CoreDNS counts by name."""
_OTHER = "other"
_TYPE_NAMES = (*_TYPES.values(), _OTHER)
_TYPE_INDEX = {type_: number for number, type_ in enumerate(_TYPES)}
_RCODES = tuple(Rcode)
_RCODE_INDEX = {rcode: number for number, rcode in enumerate(_RCODES)}


class Source(enum.Enum):
    """Who knew the answer; the names are those of CoreDNS's plugins."""

    NOBODY = ""
    """It was refused, malformed, or went wrong."""
    CLUSTER = "kubernetes"
    FORWARD = "forward"
    CACHE = "cache"


_SOURCES = tuple(Source)
_SOURCE_INDEX = {source: number for number, source in enumerate(_SOURCES)}
KINDS = len(_TYPE_NAMES) * len(_RCODES) * len(_SOURCES)


def kind_of(type_: int | None, rcode: Rcode, source: Source) -> int:
    """A number for all answers that are counted together.

    Args:
        type_: Which was asked for; None: nobody knows.
        rcode: How it went.
        source: Who knew.
    """
    index = _TYPE_INDEX.get(type_, len(_TYPES)) if type_ is not None else len(_TYPES)
    return (index * len(_RCODES) + _RCODE_INDEX[rcode]) * len(_SOURCES) + _SOURCE_INDEX[source]


class Kind(NamedTuple):
    """What a number of ``kind_of`` stands for."""

    type: str
    rcode: Rcode
    source: Source


def _kind(number: int) -> Kind:
    rest, source = divmod(number, len(_SOURCES))
    type_, rcode = divmod(rest, len(_RCODES))
    return Kind(_TYPE_NAMES[type_], _RCODES[rcode], _SOURCES[source])


class TransportTally:
    """Answers over one protocol in one family."""

    def __init__(self) -> None:
        self.counts = [[0] * KINDS for _ in range(len(BOUNDS) + 1)]
        """By duration (see ``BOUNDS``), then by kind."""
        self.seconds = [0.0] * KINDS

    def answered(self, kind: int, seconds: float) -> None:
        """One answer, and how long it took."""
        self.counts[bisect_left(BOUNDS, seconds)][kind] += 1
        self.seconds[kind] += seconds

    def answered_together(self, kinds: Sequence[int], seconds: float) -> None:
        """Several answers, and how long they took together: each took its share."""
        if kinds:
            share = seconds / len(kinds)
            row = self.counts[bisect_left(BOUNDS, share)]
            for kind in kinds:
                row[kind] += 1
                self.seconds[kind] += share

    def read(self) -> Iterator[tuple[Kind, list[int], float]]:
        """Every kind that was seen: answers by duration, and seconds altogether."""
        for number in range(KINDS):
            by_duration = [row[number] for row in self.counts]
            if any(by_duration):
                yield _kind(number), by_duration, self.seconds[number]


class UpstreamTally:
    """Answers of one upstream."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        """By how it went (an rcode's name; empty: there was no answer), then by duration."""
        self._seconds: dict[str, float] = {}

    def answered(self, rcode: str, seconds: float) -> None:
        """One answer, or none."""
        counts = self._counts.setdefault(rcode, [0] * (len(BOUNDS) + 1))
        counts[bisect_left(BOUNDS, seconds)] += 1
        self._seconds[rcode] = self._seconds.get(rcode, 0.0) + seconds

    def read(self) -> Iterator[tuple[str, tuple[list[int], float]]]:
        """How it went: answers by duration, and seconds altogether."""
        for rcode, counts in list(self._counts.items()):
            yield rcode, (list(counts), self._seconds.get(rcode, 0.0))


class Tally:
    """Everything that is counted."""

    def __init__(self) -> None:
        self.transports = {
            (protocol, family): TransportTally() for protocol in ("udp", "tcp") for family in (4, 6)
        }
        self.upstreams: dict[str, UpstreamTally] = {}
        """By address and port."""
        self.cache_requests = 0
        self.cache_hits = Counter[str]()
        """By what was found: ``success`` or ``denial``."""
        self.cache_evictions = Counter[str]()
        self.dropped = 0
        """Messages that got no answer: too short, answers themselves, or nobody would take it."""
        self.too_many = 0
        """Questions that were refused, as too many others waited for upstreams."""
        self.crashes = 0
        """Questions that met a bug of netproxy."""
