"""Connections to each Service, for scrapes: read from the kernel when somebody asks, not oftener.

Reading takes as long as there are services: milliseconds for ten thousand in nftables mode, about a
second in iptables mode. It happens between two syncs, and who scrapes does not wait for long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from netproxy.errors import NetproxyError
from netproxy.log import EventLogger
from netproxy.metrics.registry import Looked
from netproxy.model.ip import Family
from netproxy.model.names import ServicePortName

Counts = Mapping[Family, Mapping[ServicePortName, int]]

FRESH_S = 5.0
"""What was read is good for so long."""
PATIENCE_S = 2.0
"""A scrape that had to wait longer gets what was read before."""
LABELS = ("namespace", "service", "port", "protocol", "ip_family")

log = EventLogger(__name__)


class ConnectionCounts:
    """What the kernel has counted, as of the last time somebody asked.

    Args:
        read: Reads the kernel; in the loop's thread, when no sync is running.
        clock: Seconds; never goes backwards.
    """

    def __init__(
        self, read: Callable[[], Awaitable[Counts]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._clock = clock
        self._counts: Counts = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._last_error = ""

    @property
    def looked(self) -> Looked:
        """For the metrics."""
        return Looked(
            "netproxy_service_connections_total",
            "New connections to a service port, answered or not, as the kernel counts them.",
            self._values,
            LABELS,
            is_counter=True,
        )

    async def refresh(self) -> None:
        """Read again, unless that was done a moment ago. Raises nothing."""
        if self._reading is None or self._reading.done():
            if self._clock() - self._read_at < FRESH_S:
                return
            self._reading = asyncio.create_task(self._read_now())
        # Whoever is tired of waiting must not take the reading along.
        await asyncio.wait([self._reading], timeout=PATIENCE_S)

    def close(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()

    async def _read_now(self) -> None:
        try:
            self._counts = await self._read()
        except NetproxyError as error:
            say = log.debug if error.message == self._last_error else log.warning
            self._last_error = error.message
            say("cannot read counts of connections", error=error.message, hint=error.hint)
        else:
            self._last_error = ""
        self._read_at = self._clock()

    def _values(self) -> Iterable[tuple[Sequence[str], float]]:
        for family, counts in self._counts.items():
            for name, count in counts.items():
                yield (name.namespace, name.name, name.port, name.protocol, family.label), count
