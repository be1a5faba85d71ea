"""What others have answered, for as long as they said it is true."""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Final, Literal, NamedTuple, TypeAlias

from netproxy.dns.packing import Packed
from netproxy.dns.tally import Tally

LONGEST_S: Final = 3600
"""For which anything is kept, whatever its owner says."""
LONGEST_DENIAL_S: Final = 1800
"""For which it is kept that there is nothing. Both are CoreDNS's."""
_FIXED_BYTES = 600
"""What an entry costs besides its content; measured."""
_TTL = struct.Struct(">I")

Verdict: TypeAlias = Literal["success", "denial"]


class Heard(NamedTuple):
    """An answer of others, checked and packed anew."""

    packed: Packed
    ttl_at: tuple[int, ...]
    """Where in ``packed.rest`` the times to live stand."""
    ttl_s: int
    """For how long all of it is true; 0: it must not be kept."""
    verdict: Verdict

    def rest(self, age_s: int) -> bytes:
        """What stands behind the question, so many seconds later."""
        if age_s <= 0:
            return self.packed.rest
        rest = bytearray(self.packed.rest)
        for at in self.ttl_at:
            (ttl,) = _TTL.unpack_from(rest, at)
            _TTL.pack_into(rest, at, max(0, ttl - age_s))
        return bytes(rest)


class Cached(NamedTuple):
    """An answer that was kept."""

    heard: Heard
    since: float
    """When it was heard, in seconds of the caller's clock."""
    until: float


class Cache:
    """Keeps answers by question; when it is full, what was asked for longest ago goes.

    Args:
        most: Answers.
        most_bytes: Memory for all of them, about.
        tally: Counts.
    """

    def __init__(self, most: int, most_bytes: int, tally: Tally) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._tally = tally
        self._entries: OrderedDict[bytes, Cached] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def count(self, verdict: Verdict) -> int:
        """How many entries say so; some of them may be out of date."""
        return sum(each.heard.verdict == verdict for each in list(self._entries.values()))

    def get(self, question: bytes, now: float) -> Cached | None:
        """What was answered, if it still is true.

        Args:
            question: Name in lower case, type, class.
            now: Seconds of the caller's clock.
        """
        self._tally.cache_requests += 1
        entry = self._entries.get(question)
        if entry is None:
            return None
        if now >= entry.until:
            self._drop(question)
            return None
        self._entries.move_to_end(question)
        self._tally.cache_hits[entry.heard.verdict] += 1
        return entry

    def put(self, question: bytes, heard: Heard, now: float) -> Cached:
        """Keep an answer, if it may be kept; returns it with its time."""
        longest = LONGEST_S if heard.verdict == "success" else LONGEST_DENIAL_S
        entry = Cached(heard, now, now + min(heard.ttl_s, longest))
        self._drop(question)
        if heard.ttl_s > 0:
            self._entries[question] = entry
            self._bytes += _size(question, entry)
        while len(self._entries) > self._most or self._bytes > self._most_bytes:
            oldest = next(iter(self._entries))
            self._tally.cache_evictions[self._entries[oldest].heard.verdict] += 1
            self._drop(oldest)
        return entry

    def _drop(self, question: bytes) -> None:
        entry = self._entries.pop(question, None)
        if entry is not None:
            self._bytes -= _size(question, entry)


def _size(question: bytes, entry: Cached) -> int:
    return _FIXED_BYTES + len(question) + 2 * len(entry.heard.packed.rest)
