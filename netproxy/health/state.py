"""How a node's proxy is: what ``/healthz``, ``/livez`` and ``/readyz`` are answered from.

The daemon tells what happens, per IP family; whoever serves asks. All in the loop's thread.

Source: kube-proxy 1.36, pkg/proxy/healthcheck. A family counts as unhealthy when an update has
waited for twice the sync period; unlike there, also when none of its syncs has ever worked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from netproxy.health.freshness import Freshness
from netproxy.model.ip import Family


class FamilyHealth(NamedTuple):
    """How one family is."""

    last_synced: float | None
    """When its rules were last brought in step, in seconds since 1970; None: never."""
    is_healthy: bool
    """Nothing has waited for too long."""


class HealthState:
    """Remembers what the answers depend on.

    Args:
        clock: Seconds; never goes backwards.
        wall: Seconds since 1970.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._wall = wall
        self._fresh: dict[Family, Freshness] = {}
        self._last_synced: dict[Family, float] = {}
        self.is_node_eligible = True
        """False when our Node is gone or about to go."""

    def begin(self, families: Collection[Family], limit_s: float) -> None:
        """A proxy begins, maybe instead of another one: nothing of its rules is in place yet.

        Args:
            families: Those that it proxies.
            limit_s: An update that waits so long makes the proxy unhealthy.
        """
        self._fresh = {family: Freshness(limit_s) for family in families}
        self._last_synced = {}

    def queued(self) -> None:
        """Objects changed, and a sync may happen."""
        for fresh in self._fresh.values():
            fresh.queued(self._clock())

    def sync_started(self) -> None:
        """A sync begins; it takes everything along that waits."""
        for fresh in self._fresh.values():
            fresh.started(self._clock())

    def sync_ended(self, worked: Collection[Family]) -> None:
        """The sync has ended, and worked in these families."""
        for family, fresh in self._fresh.items():
            fresh.finished(ok=family in worked)
            if family in worked:
                self._last_synced[family] = self._wall()

    @property
    def is_healthy(self) -> bool:
        """Whether rules keep up with objects, in every family."""
        return all(health.is_healthy for health in self.families().values())

    @property
    def now(self) -> float:
        """Seconds since 1970."""
        return self._wall()

    def families(self) -> Mapping[Family, FamilyHealth]:
        """How each family is that is proxied."""
        now = self._clock()
        return {
            family: FamilyHealth(self._last_synced.get(family), fresh.is_healthy(now))
            for family, fresh in self._fresh.items()
        }
