"""What was heard and not yet handed on. Of each object only the last word waits.

Whoever reads from the server never waits for whoever takes from here: a server gives up on clients
that read slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from netproxy.inbox import Inbox
from netproxy.model.diagnostic import Diagnostic
from netproxy.model.events import Event, ObjectKey

MOST_TRIGGER_TIMES = 10_000
"""More are forgotten: they are for a histogram."""


class Batch(NamedTuple):
    """What changed since the batch before."""

    events: tuple[Event, ...]
    diagnostics: tuple[Diagnostic, ...] = ()
    """Those of the objects that changed."""
    trigger_times: tuple[float, ...] = ()
    """When those changes happened that made somebody write these EndpointSlices, in seconds since
    1970. Not of objects that were there when the source began."""


class Outbox:
    """Takes in at any pace, gives all at once.

    Args:
        wake: Called when there is something to take.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        """There may be something to take, or to conclude."""
        self._events = Inbox()
        self._diagnostics: dict[ObjectKey, tuple[Diagnostic, ...]] = {}
        self._trigger_times: list[float] = []

    def put(
        self,
        key: ObjectKey,
        event: Event | None,
        diagnostics: tuple[Diagnostic, ...] = (),
        triggered: float = 0.0,
    ) -> None:
        """Something about one object.

        Args:
            key: Which one.
            event: What is the matter with it; None: nothing that counts.
            diagnostics: What is wrong with it now.
            triggered: When the cause of this happened; 0: not known.
        """
        if event is not None:
            self._events.put((event,))
        if diagnostics:
            self._diagnostics[key] = diagnostics
        elif self._diagnostics:
            self._diagnostics.pop(key, None)
        if triggered and len(self._trigger_times) < MOST_TRIGGER_TIMES:
            self._trigger_times.append(triggered)
        self.wake()

    def take(self) -> Batch:
        """Everything that waits; nothing waits afterwards."""
        diagnostics = tuple(d for found in self._diagnostics.values() for d in found)
        batch = Batch(tuple(self._events.take()), diagnostics, tuple(self._trigger_times))
        self._diagnostics, self._trigger_times = {}, []
        return batch
