"""After each sync stale connections are forgotten, but not for long.

Rule: to look through a large table again and again must not keep the rules waiting. What may not
be looked for now stays noted, and what comes meanwhile is looked for together with it.

Not here: which connections are stale (``core/conntrack.py``), and how the kernel is asked
(``kernel/conntrack.py``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from netproxy.contracts import Flows
from netproxy.core.conntrack import FlowBook, udp_servers
from netproxy.core.plan import FrontendKey
from netproxy.errors import DataplaneError
from netproxy.model.endpoints import EndpointSlice
from netproxy.model.ip import Family, IPAddress
from netproxy.model.names import ServiceKey
from netproxy.model.service import Service

SHARE = 0.1
"""Of all time that may be spent on looking for connections."""
MOST_SAVED_S = 1.0
"""Time that may be spent at once after quiet; single changes never wait."""


class Allowance:
    """Time that may be spent, earned by letting time pass. Has no clock."""

    def __init__(self) -> None:
        self._saved_s = MOST_SAVED_S
        self._at = float("-inf")

    def wait_s(self, now: float) -> float:
        """How long until something may be spent again; 0: now."""
        return max(0.0, -self._saved_at(now) / SHARE)

    def spend(self, started: float, ended: float) -> None:
        """So long it took; more than was saved has to be earned afterwards."""
        self._saved_s = self._saved_at(started) - (ended - started)
        self._at = ended

    def _saved_at(self, now: float) -> float:
        return min(MOST_SAVED_S, self._saved_s + (now - self._at) * SHARE)


class FlowKeeper:
    """Knows what UDP Services have, and has the kernel forget what leads elsewhere.

    Args:
        flows: The kernel's connections; None: they stay as they are.
        families: Those that are proxied.
        clock: Seconds; never goes backwards.
    """

    def __init__(
        self,
        flows: Flows | None,
        families: Iterable[Family],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._flows = flows
        self._books = {family: FlowBook(family) for family in families if flows is not None}
        self._clock = clock
        self._allowance = Allowance()
        self.took_s = 0.0
        """How long the last ``forget`` looked; 0: there was nothing to look for, or no time."""

    def note(
        self, service: Service, slices: Collection[EndpointSlice], lost: Collection[FrontendKey]
    ) -> None:
        """What a Service has from the next sync on. See ``udp_servers``."""
        for family, book in self._books.items():
            book.note(service.key, udp_servers(service, slices, family, lost))

    def note_gone(self, key: ServiceKey) -> None:
        """There is no such Service any more."""
        for book in self._books.values():
            book.note(key, {})

    def forget(
        self, family: Family, nodeport_addresses: Collection[IPAddress], *, is_complete: bool
    ) -> tuple[int, float]:
        """Now the rules are right: forget connections that only earlier ones would have made.

        Returns:
            How many, and in how many seconds to come back because it was too early; 0: no need.

        Raises:
            DataplaneError: the kernel refused; the next call tries again.
        """
        self.took_s = 0.0
        book = self._books.get(family)
        sweep = book.take(nodeport_addresses, is_complete=is_complete) if book else None
        if book is None or self._flows is None or sweep is None:
            return 0, 0.0
        started = self._clock()
        wait_s = self._allowance.wait_s(started)
        if wait_s > 0:
            book.put_back(sweep)
            return 0, wait_s
        try:
            return self._flows.forget(sweep), 0.0
        except DataplaneError:
            book.put_back(sweep)
            raise
        finally:
            ended = self._clock()
            self.took_s = ended - started
            self._allowance.spend(started, ended)
