"""Who is told what a daemon does, to count it or to pass it on."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from netproxy.core.config import ProxyMode
from netproxy.model.events import Event
from netproxy.model.ip import Family
from netproxy.proxier import FamilySync, SyncReport


class Observer:
    """Is told of everything, in its order, and never waits. This one takes no notice.

    Called in the loop's thread.
    """

    def began(self, mode: ProxyMode | None, families: Collection[Family]) -> None:
        """A proxy begins, maybe instead of another one, of which nothing waits any more."""

    def queued(
        self, events: Sequence[Event], triggers: Sequence[float], waiting: Mapping[str, int]
    ) -> None:
        """A source has told of changes.

        Args:
            events: What it told.
            triggers: When those changes happened because of which somebody wrote these
                EndpointSlices, in seconds since 1970.
            waiting: How many changes of objects wait for a sync now, by kind of object.
        """

    def reloading(self) -> None:
        """Everything is read again, by another configuration or the same one."""

    def sync_started(self) -> None:
        """A sync takes along all that waits."""

    def families_synced(self, syncs: Sequence[FamilySync], *, is_repair: bool) -> None:
        """How it went in each family, or how the deletion of unused things did.

        Args:
            syncs: Families that it did not come to are left out.
            is_repair: It happened because somebody else had changed our rules.
        """

    def synced(self, report: SyncReport, *, is_repair: bool) -> None:
        """It has worked in all families."""

    def sync_failed(self) -> None:
        """It has not, at least in one family."""

    def sync_crashed(self) -> None:
        """It met a bug of ours. Comes after ``sync_failed``."""


class FirstSync(Observer):
    """For who needs the rules of Services and has to wait for them.

    Attributes:
        done: Set once the kernel has had the rules of all Services.
    """

    def __init__(self) -> None:
        self.done = asyncio.Event()

    def synced(self, report: SyncReport, *, is_repair: bool) -> None:  # noqa: ARG002 - an Observer
        """See ``Observer``."""
        self.done.set()
