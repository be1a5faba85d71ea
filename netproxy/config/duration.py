"""Durations as Go writes them: ``1m30s``. Source: Go, time.ParseDuration and Duration.String."""

from __future__ import annotations

import re

DURATION_HINT = "for example 100ms, 1m30s"
_UNIT_S = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_LONGEST_S = 9_223_372_036.0
"""Go counts nanoseconds in 64 bits: 292 years."""
_MOST_LETTERS = 64


def parse_duration(text: str) -> float:
    """Seconds.

    Raises:
        ValueError: the text is no duration; the message says so in words.

    Example:
        >>> parse_duration("1m30s"), parse_duration("100ms"), parse_duration("0")
        (90.0, 0.1, 0.0)
    """
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    parts = _PART.findall(rest) if len(rest) <= _MOST_LETTERS else []
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        raise ValueError(f"{text[:_MOST_LETTERS]!r} is not a duration")
    seconds = sum(float(number) * _UNIT_S[unit] for number, unit in parts)
    if seconds > _LONGEST_S:
        raise ValueError(f"{text!r} is longer than 292 years")
    return sign * seconds


def format_duration(seconds: float) -> str:
    """The way Go prints it.

    Example:
        >>> format_duration(90), format_duration(0.1), format_duration(86400), format_duration(0)
        ('1m30s', '100ms', '24h0m0s', '0s')
    """
    if seconds < 0:
        return "-" + format_duration(-seconds)
    nanoseconds = round(seconds * 1e9)
    if nanoseconds == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if nanoseconds < size * 1000:
            return _trim(nanoseconds, size) + unit
    minutes, rest = divmod(nanoseconds, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    words = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{words}{_trim(rest, 10**9)}s"


def _trim(count: int, size: int) -> str:
    whole, rest = divmod(count, size)
    if not rest:
        return str(whole)
    return f"{whole}.{rest:0{len(str(size)) - 1}d}".rstrip("0")
