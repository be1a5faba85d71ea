"""Which events are to be written, and what is one event that happened again.

Source: client-go's recorder of events.k8s.io/v1 events: what has the same regarding object, type,
reason and action is one event; its repetitions are a series, which is over after six quiet
minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal, NamedTuple

EventType = Literal["Normal", "Warning"]

QUIET_S = 360.0
"""What has not happened for so many seconds begins anew when it happens again."""
REFRESH_S = 1800.0
"""A series that goes on is written again after so many seconds."""
LONGEST_NOTE = 1024
"""In bytes. Source: the API server's validation, as of the next two."""
LONGEST_INSTANCE = 128
_LONGEST_NAME = 253
_NAMESPACE_OF_THE_REST = "default"
"""Where events about objects without a namespace are."""


class Regarding(NamedTuple):
    """The object that an event is about."""

    api_version: str
    kind: str
    namespace: str
    """Empty: the object has none."""
    name: str
    uid: str = ""
    """Empty: not known."""


class EventKey(NamedTuple):
    """What makes two events the same."""

    regarding: Regarding
    type: EventType
    reason: str
    action: str


class Happening:
    """An event and how often it happened.

    Args:
        key: What happened.
        note: In words.
        at: When it happened first, in seconds since 1970.
    """

    def __init__(self, key: EventKey, note: str, at: float) -> None:
        self.key = key
        self.note = note
        self.count = 1
        self.first_at = self.last_at = at
        self.written_count = 0
        """What was written; 0: nothing yet."""
        self.written_at = at

    def settle(self, count: int, at: float) -> None:
        """Nothing more is to be done about the first ``count`` times."""
        self.written_count, self.written_at = count, at

    @property
    def namespace(self) -> str:
        return self.key.regarding.namespace or _NAMESPACE_OF_THE_REST

    @property
    def name(self) -> str:
        """Of the Event object: its subject's and a time, which nobody else's has."""
        suffix = f".{int(self.first_at * 1e9):x}"
        return self.key.regarding.name[: _LONGEST_NAME - len(suffix)].rstrip("-.") + suffix

    def to_event(self, controller: str, instance: str) -> dict[str, object]:
        """The Event object.

        Args:
            controller: The kind of program that reports.
            instance: Which of them.
        """
        regarding = self.key.regarding
        event: dict[str, object] = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "eventTime": micro_time(self.first_at),
            "reportingController": controller,
            "reportingInstance": instance[:LONGEST_INSTANCE],
            "action": self.key.action,
            "reason": self.key.reason,
            "regarding": {
                "apiVersion": regarding.api_version,
                "kind": regarding.kind,
                **({"namespace": regarding.namespace} if regarding.namespace else {}),
                "name": regarding.name,
                **({"uid": regarding.uid} if regarding.uid else {}),
            },
            "note": self.note.encode()[:LONGEST_NOTE].decode(errors="ignore"),
            "type": self.key.type,
        }
        return event | (self.to_series() if self.count > 1 else {})

    def to_series(self) -> dict[str, object]:
        """What of the Event object changes when it happens again."""
        return {"series": {"count": self.count, "lastObservedTime": micro_time(self.last_at)}}


class EventSeries:
    """What happened lately. Never more than so much.

    Args:
        most: How many different events to remember.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._happenings: dict[EventKey, Happening] = {}
        self._due: dict[EventKey, None] = {}

    def note(self, key: EventKey, note: str, at: float) -> bool:
        """Something happened. Returns whether there was room for it.

        Args:
            key: What.
            note: In words; those of the first time count.
            at: Seconds since 1970.
        """
        known = self._happenings.get(key)
        if known is not None and (known.written_count == 0 or at - known.last_at < QUIET_S):
            known.count += 1
            known.last_at = at
            if known.count == 2:
                self._due[key] = None
            return True
        if known is None and len(self._happenings) >= self._most and not self._make_room():
            return False
        # A new one takes its place at the end, also if there was one before.
        self._happenings.pop(key, None)
        self._happenings[key] = Happening(key, note, at)
        self._due[key] = None
        return True

    def take(self, at: float) -> Happening | None:
        """The next that has to be written; it is not given twice unless it happens again."""
        for key in list(self._over(at)):
            happening = self._happenings[key]
            if happening.count > happening.written_count:
                self._due[key] = None
            elif key not in self._due:
                del self._happenings[key]
        if not self._due:
            return None
        key = next(iter(self._due))
        del self._due[key]
        return self._happenings[key]

    def wait_s(self, at: float) -> float | None:
        """In how many seconds there may be something to write; None: when something happens."""
        if self._due:
            return 0.0
        ends = [self._end(each) for each in self._happenings.values()]
        return max(0.0, min(ends) - at) if ends else None

    def _over(self, at: float) -> Iterator[EventKey]:
        return (key for key, each in self._happenings.items() if self._end(each) <= at)

    def _end(self, happening: Happening) -> float:
        """When to look at it again."""
        quiet = happening.last_at + QUIET_S
        if happening.count > happening.written_count:
            return min(quiet, happening.written_at + REFRESH_S)
        return quiet

    def _make_room(self) -> bool:
        """Forget the oldest about which nothing is to be done; false: there is none."""
        for key, each in self._happenings.items():
            if each.written_count == each.count and key not in self._due:
                del self._happenings[key]
                return True
        return False


def micro_time(at: float) -> str:
    """A time as the API has it.

    Example:
        >>> micro_time(1700000000.25)
        '2023-11-14T22:13:20.250000Z'
    """
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
