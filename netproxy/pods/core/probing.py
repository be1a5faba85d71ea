"""When a probe's results count: thresholds, without any clock or network.

Source: core/v1 Probe and its defaults.
"""

from __future__ import annotations

from typing import NamedTuple

from netproxy.api.objects import Object


class Timing(NamedTuple):
    """A probe's times, in seconds, and how many results in a row it takes."""

    delay_s: float
    period_s: float
    timeout_s: float
    successes: int
    failures: int


def timing_of(probe: Object) -> Timing:
    """As the probe has it, with the API's defaults."""
    return Timing(
        float(probe.get("initialDelaySeconds") or 0),
        float(probe.get("periodSeconds") or 10),
        float(probe.get("timeoutSeconds") or 1),
        int(probe.get("successThreshold") or 1),
        int(probe.get("failureThreshold") or 3),
    )


class Tally:
    """Results of one probe in a row.

    Args:
        timing: Of the probe.
    """

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._last: bool | None = None
        self._count = 0

    def take(self, is_good: bool) -> bool | None:
        """A result; returns what the probe says from now on, None: that cannot be said yet.

        Example:
            >>> tally = Tally(Timing(0, 1, 1, successes=1, failures=2))
            >>> [tally.take(each) for each in (False, False, True)]
            [None, False, True]
        """
        self._count = self._count + 1 if is_good is self._last else 1
        self._last = is_good
        needed = self._timing.successes if is_good else self._timing.failures
        return is_good if self._count >= needed else None

    def forget(self) -> None:
        """Begin anew: what is counted has been acted upon."""
        self._last, self._count = None, 0
