"""Words of a configuration → values. A wrong word is noted, and a harmless value stands for it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from netproxy.config.duration import DURATION_HINT, format_duration, parse_duration
from netproxy.config.problems import Problems
from netproxy.model.findings import shorten
from netproxy.model.ip import IPAddress, Prefix, parse_address, parse_prefix


class Listen(NamedTuple):
    """An address and a port to listen on."""

    host: IPAddress
    port: int


class Values:
    """Reads words of fields.

    Args:
        problems: Takes what is wrong.
    """

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def duration(self, field: str, text: str) -> float:
        """Seconds, 0 or more."""
        seconds = self._problems.attempt(field, lambda: parse_duration(text), 1.0, DURATION_HINT)
        if seconds < 0:
            self._problems.add(field, f"{text} is less than nothing", "0 or more, as 30s")
            return 1.0
        return seconds

    def positive(self, field: str, text: str) -> float:
        """Seconds, more than 0."""
        seconds = self.duration(field, text)
        if seconds == 0:
            self._problems.add(field, "must be more than 0", "for example 30s")
            return 1.0
        return seconds

    def periods(self, block: str, limit: str, least: str) -> tuple[float, float]:
        """Seconds of ``syncPeriod`` and ``minSyncPeriod``, the second of them not the longer."""
        limit_s = self.positive(f"{block}.syncPeriod", limit)
        least_s = self.duration(f"{block}.minSyncPeriod", least)
        if least_s > limit_s:
            self._problems.add(
                f"{block}.minSyncPeriod",
                f"{format_duration(least_s)} is longer than the sync period, "
                f"{format_duration(limit_s)}",
                "make it shorter, or the sync period longer",
            )
        return limit_s, least_s

    def within(self, field: str, number: int, low: int, high: int) -> int:
        """A number of a range."""
        if not low <= number <= high:
            words = f"{shorten(number)} is out of range"
            self._problems.add(field, words, f"{low} to {high}")
            return low
        return number

    def bit(self, field: str, number: int) -> int:
        """Which bit of the packet mark."""
        if not 0 <= number <= 31:
            words = f"{shorten(number)} is not a bit of a 32-bit mark"
            self._problems.add(field, words, "a number from 0 to 31")
            return 14
        return number

    def rate(self, field: str, number: float) -> float:
        """Requests per second; negative: as many as anybody likes."""
        if not math.isfinite(number):
            self._problems.add(field, f"{number} is no rate", "requests per second, such as 5")
            return 5.0
        return number

    def address(self, field: str, text: str) -> IPAddress | None:
        """An IP address; None in place of what is none."""
        hint = "for example 192.0.2.10"
        return self._problems.attempt(field, lambda: parse_address(text), None, hint)

    def prefixes(self, field: str, words: Iterable[str]) -> tuple[Prefix, ...]:
        """Prefixes, each once."""
        prefixes = []
        for word in words:
            try:
                prefixes.append(parse_prefix(word))
            except ValueError as error:
                self._problems.add(field, str(error), "for example 10.244.0.0/16 or fd00::/64")
        return tuple(dict.fromkeys(prefixes))

    def listen(self, field: str, text: str) -> Listen | None:
        """Where to listen; None: nowhere."""
        if not text:
            return None
        host, _, port = text.rpartition(":")
        try:
            address = parse_address(host.removeprefix("[").removesuffix("]"))
        except ValueError as error:
            self._problems.add(field, str(error), "for example 0.0.0.0:10256 or [::]:10256")
            return None
        if not (re.fullmatch("[0-9]{1,5}", port) and 1 <= int(port) <= 65535):
            self._problems.add(field, f"{shorten(port)} is no port", "a number from 1 to 65535")
            return None
        return Listen(address, int(port))

    def one_of(self, field: str, noun: str, word: str, words: Iterable[str], note: str = "") -> str:
        """One of some words; else the first of them."""
        known = list(words)
        if word in known:
            return word
        hint = f"one of {', '.join(known)}{note}"
        self._problems.add(field, f"there is no {noun} {shorten(word)}", hint)
        return known[0]
