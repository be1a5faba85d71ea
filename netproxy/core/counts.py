"""Connections to each service port, as totals that never go down.

The kernel counts by frontend, and forgets when a frontend goes, or when rules are made anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from netproxy.model.names import ServicePortName

_Place = TypeVar("_Place")


class ConnectionTotals(Generic[_Place]):
    """Adds up what successive readings show to be new."""

    def __init__(self) -> None:
        self._last: dict[tuple[ServicePortName, _Place], int] = {}
        self.totals: dict[ServicePortName, int] = {}
        """Of the service ports that the last reading knew."""

    def read(self, counts: Mapping[tuple[ServicePortName, _Place], int]) -> None:
        """Take in what the kernel says now.

        Args:
            counts: By service port and frontend; a count that is lower than the last one began
                anew from nothing.

        Example:
            >>> totals = ConnectionTotals()
            >>> port = ServicePortName("default", "web", "http", "TCP")
            >>> for counts in ({(port, "a"): 5, (port, "b"): 2}, {(port, "a"): 1}):
            ...     totals.read(counts)
            >>> totals.totals[port]
            8
        """
        totals = {name: self.totals.get(name, 0) for name, _ in counts}
        for where, count in counts.items():
            last = self._last.get(where, 0)
            totals[where[0]] += count - last if count >= last else count
        self._last = dict(counts)
        self.totals = totals
