"""Whether the rules keep up with the objects: arithmetic on times, without a clock.

Source: kube-proxy 1.36: a proxy is healthy unless an update has waited for twice its sync period.
Unlike there, a sync that fails while nothing waits counts as an update that waits: the kernel may
hold anything then.
"""

from __future__ import annotations


class Freshness:
    """How long the oldest update has been waiting to get into the kernel.

    Args:
        limit_s: An update that waits so long makes the proxy unhealthy. In seconds.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._waiting_since: float | None = None
        self._working_since: float | None = None
        """Since when the oldest update waits of those that the running sync takes along."""

    def queued(self, now: float) -> None:
        """Objects changed."""
        if self._waiting_since is None:
            self._waiting_since = now

    def started(self, now: float) -> None:
        """A sync begins; it takes everything along that waits."""
        self._working_since = now if self._waiting_since is None else self._waiting_since
        self._waiting_since = None

    def finished(self, *, ok: bool) -> None:
        """The sync has ended; when it failed, all goes on waiting."""
        if not ok:
            self._waiting_since = self._working_since
        self._working_since = None

    def is_healthy(self, now: float) -> bool:
        """Whether nothing has waited for too long."""
        since = [t for t in (self._working_since, self._waiting_since) if t is not None]
        return not since or now - min(since) < self._limit_s
