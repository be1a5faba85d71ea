"""How long ago, in as few letters as kubectl needs."""

from __future__ import annotations

from datetime import datetime

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400


def age(since: str | None, now: datetime) -> str:
    """The time since a moment; ``<unknown>`` without one.

    Args:
        since: RFC 3339, as objects have it.
        now: In UTC.
    """
    if not since:
        return "<unknown>"
    then = datetime.fromisoformat(since.replace("Z", "+00:00"))
    return brief((now - then).total_seconds())


_STEPS = (
    (2 * _MINUTE, (1, "s"), None),
    (10 * _MINUTE, (_MINUTE, "m"), (1, "s")),
    (3 * _HOUR, (_MINUTE, "m"), None),
    (8 * _HOUR, (_HOUR, "h"), (_MINUTE, "m")),
    (2 * _DAY, (_HOUR, "h"), None),
    (8 * _DAY, (_DAY, "d"), (_HOUR, "h")),
    (2 * _YEAR, (_DAY, "d"), None),
    (8 * _YEAR, (_YEAR, "y"), (_DAY, "d")),
    (float("inf"), (_YEAR, "y"), None),
)
"""Below so many seconds: this unit, and perhaps a smaller one for the rest."""


def brief(seconds: float) -> str:
    """A duration: the two largest units where the larger is small, as Kubernetes 1.36 tells it."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    whole = max(0, whole)
    (unit, name), small = next((large, small) for limit, large, small in _STEPS if whole < limit)
    head = f"{whole // unit}{name}"
    rest = whole % unit // small[0] if small else 0
    return f"{head}{rest}{small[1]}" if small and rest else head
