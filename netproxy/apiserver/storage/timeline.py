"""One resource's objects as they are for readers, and what happened to them lately.

Readers and watchers see what is durable, nothing else. A watcher is no more than a place on the
timeline: it holds no queue that could overflow, and if it is so slow that its place is forgotten,
it hears that it is (410) and lists again.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge

from netproxy.api.objects import Key
from netproxy.apiserver.storage.stored import Event, Stored

REMEMBERED = 10_000
"""Events of a resource that watchers can come back to."""
REMEMBERED_BYTES = 64 * 1024 * 1024
"""What their objects may come to, in bytes: of long ones fewer are remembered."""


class Timeline:
    """One resource.

    Args:
        floor: Nothing before this version is remembered.
        remembered: How many events are kept.
        remembered_bytes: How long all their objects may be together.
    """

    def __init__(
        self,
        floor: int = 0,
        remembered: int = REMEMBERED,
        remembered_bytes: int = REMEMBERED_BYTES,
    ) -> None:
        self.floor = floor
        """Watches and old lists can begin at this version or later ones."""
        self.version = floor
        """Of the last event."""
        self._states: dict[Key, Stored] = {}
        self._keys: list[Key] = []
        self._events: deque[Event] = deque()
        self._remembered = remembered
        self._remembered_bytes = remembered_bytes
        self._bytes = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key: Key) -> Stored | None:
        """One object's state."""
        return self._states.get(key)

    def load(self, states: Iterable[Stored]) -> None:
        """Begin with these objects."""
        self._states = {each.key: each for each in states}
        self._keys = sorted(self._states)

    def remember(self, events: Iterable[Event]) -> None:
        """Begin with this past, which has led to the objects that were loaded; oldest first."""
        for event in events:
            self._keep(event)

    def add(self, event: Event) -> None:
        """This is durable now; ``wake`` tells the watchers of one or many."""
        key, state = event.key, event.after
        if state is None:
            if self._states.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]
        else:
            if key not in self._states:
                insort(self._keys, key)
            self._states[key] = state
        self._keep(event)

    def _keep(self, event: Event) -> None:
        self._events.append(event)
        self._bytes += len(event.last.data)
        self.version = event.version
        while len(self._events) > self._remembered or self._bytes > self._remembered_bytes:
            forgotten = self._events.popleft()
            self._bytes -= len(forgotten.last.data)
            self.floor = forgotten.version

    def select(self, namespace: str = "", after: Key | None = None) -> Iterator[Stored]:
        """All objects, or those of a namespace, in the order of their keys; behind ``after``."""
        keys, states = self._keys, self._states
        return (states[keys[each]] for each in self._span(namespace, after))

    def count(self, namespace: str = "", after: Key | None = None) -> int:
        """How many objects there are."""
        return len(self._span(namespace, after))

    def _span(self, namespace: str, after: Key | None) -> range:
        """Where they are among the keys."""
        keys = self._keys
        start, end = 0, len(keys)
        if namespace:
            start = bisect_left(keys, Key(namespace, ""))
            end = bisect_left(keys, Key(namespace + "\0", ""))
        if after is not None:
            start = max(start, bisect_right(keys, after))
        return range(start, end)

    def as_of(
        self, version: int, namespace: str = "", after: Key | None = None
    ) -> Iterator[Stored]:
        """The objects as they were at an earlier version that is remembered, in order."""
        undone = self._undone(version, namespace, after)
        states = self.select(namespace, after)
        if not undone:
            return states
        unchanged = (each for each in states if each.key not in undone)
        others = sorted(filter(None, undone.values()), key=_key)
        return merge(unchanged, others, key=_key)

    def count_as_of(self, version: int, namespace: str = "", after: Key | None = None) -> int:
        """How many ``as_of`` has, without looking at each."""
        undone = self._undone(version, namespace, after)
        were_there = sum(each is not None for each in undone.values())
        are_there = sum(each in self._states for each in undone)
        return self.count(namespace, after) + were_there - are_there

    def _undone(self, version: int, namespace: str, after: Key | None) -> dict[Key, Stored | None]:
        """What changed after a version, as it was: of each object its first event counts."""
        undone: dict[Key, Stored | None] = {}
        for event in self.since(version):
            key = event.key
            if (not namespace or key.namespace == namespace) and (after is None or key > after):
                undone.setdefault(key, event.before)
        return undone

    def since(self, version: int) -> Sequence[Event]:
        """What happened after that version, oldest first."""
        if version >= self.version:
            return ()
        found: list[Event] = []
        for event in reversed(self._events):
            if event.version <= version:
                break
            found.append(event)
        found.reverse()
        return found

    def wake(self) -> None:
        """Something was added: all who wait look again."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def wait(self, timeout_s: float) -> None:
        """Until something is added, or the time is over."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(future)


def _key(state: Stored) -> Key:
    return state.key
