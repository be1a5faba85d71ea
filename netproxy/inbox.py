"""Events that wait for the next sync. Of each object only the last word counts.

The inbox never fills up: it holds at most one event for each object between two marks (``Reset``,
``Listed``), however long syncs fail and however fast objects change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from netproxy.model.events import Delete, Event, Listed, ObjectKey, Reset, Upsert, key_of


class Inbox:
    """Takes events at any pace; gives them all at once, in an order that means the same."""

    def __init__(self) -> None:
        self._closed: list[Event] = []
        """Up to the last mark, and including it."""
        self._open: dict[ObjectKey, Event] = {}
        self.waiting: Counter[str] = Counter()
        """How many changes of objects there are, by kind."""

    def __len__(self) -> int:
        return len(self._closed) + len(self._open)

    def put(self, events: Iterable[Event]) -> None:
        """Take events in, the oldest first."""
        for event in events:
            match event:
                case Upsert(object=obj):
                    self._note(key_of(obj), event)
                case Delete(key=key):
                    self._note(key, event)
                case Reset() | Listed():
                    self._closed += self._open.values()
                    self._closed.append(event)
                    self._open = {}

    def take(self) -> list[Event]:
        """Everything that waits; nothing waits afterwards."""
        events = [*self._closed, *self._open.values()]
        self._closed, self._open = [], {}
        self.waiting = Counter()
        return events

    def _note(self, key: ObjectKey, event: Event) -> None:
        if key not in self._open:
            self.waiting[key[0]] += 1
        self._open[key] = event
