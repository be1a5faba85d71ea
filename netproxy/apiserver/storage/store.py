"""The API's objects: decided upon one after the other, durable together, read by anybody.

A write is *accepted* at once and in order: the next decision builds on it. Readers and watchers
see it when it is *durable*, and only then its writer hears that it worked. If the disk refuses, all
that was accepted and is not durable is lost together, and their writers hear that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from netproxy.api.objects import Key, Object
from netproxy.api.resources import Resource
from netproxy.api.status import StatusError
from netproxy.apiserver.contract import Write
from netproxy.apiserver.storage.database import Batch, Database, Row
from netproxy.apiserver.storage.stored import Event, Stored, decode_state, encode_state
from netproxy.apiserver.storage.timeline import Timeline
from netproxy.log import EventLogger

OnLoss: TypeAlias = Callable[[], None]
_log = EventLogger(__name__)


def stored_name(resource: Resource) -> str:
    """The name under which a resource's objects are kept."""
    return resource.stored_as or resource.qualified


class Accepted(NamedTuple):
    """Writes that have their place; ``durable`` is done when they are on the disk."""

    writes: Sequence[Write]
    """With their resourceVersions."""
    durable: asyncio.Future[None]
    """Raises ``StatusError`` (500): they are lost."""


class _Pending(NamedTuple):
    """What was accepted of an object and is not durable yet."""

    version: int
    state: Stored | None


class Store:
    """All objects of one file. Everything but the writing happens in the loop's thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._timelines: dict[str, Timeline] = {}
        self._floor = 0
        self._pending: dict[tuple[str, Key], _Pending] = {}
        self._losses = 0
        self._accepted_version = 0
        self._on_loss: list[OnLoss] = []
        self.version = 0
        """Of the last write that is durable, of whatever resource."""

    def load(self) -> None:
        """Read everything; blocks, so do it before serving.

        Raises:
            ConfigError: the file cannot be read.
        """
        states: dict[str, list[Stored]] = {}
        for row in self._database.states():
            key = Key(row.namespace, row.name)
            states.setdefault(row.resource, []).append(decode_state(key, row.version, row.data))
        events = [_event_of(each) for each in self._database.history()]
        self._floor = events[0].version - 1 if events else 0
        for name, listed in states.items():
            self._timeline(name).load(listed)
        for event in events:
            self._timeline(event.resource).remember([event])
        self.version = self._accepted_version = events[-1].version if events else 0

    def start(self) -> None:
        """Begin to take writes; in the loop that is to serve."""
        self._database.start()

    def close(self) -> None:
        """What was accepted is written; nothing is accepted any more."""
        self._database.close()

    def timeline(self, resource: Resource) -> Timeline:
        """What readers see of a resource."""
        return self._timeline(stored_name(resource))

    def _timeline(self, name: str) -> Timeline:
        timeline = self._timelines.get(name)
        if timeline is None:
            timeline = self._timelines[name] = Timeline(self._floor)
        return timeline

    def get(self, resource: Resource, key: Key) -> Object | None:
        """One object as the next write finds it (``contract.View``)."""
        state = self._accepted_state(stored_name(resource), key)
        return None if state is None else state.object

    def _accepted_state(self, name: str, key: Key) -> Stored | None:
        pending = self._pending.get((name, key))
        return self._timeline(name).get(key) if pending is None else pending.state

    def list(self, resource: Resource, namespace: str = "") -> Iterator[Object]:
        """All objects as the next write finds them (``contract.View``)."""
        name = stored_name(resource)
        waiting = {key: each.state for (kept, key), each in self._pending.items() if kept == name}
        for state in self._timeline(name).select(namespace):
            if state.key not in waiting:
                yield state.object
        for key, pending in waiting.items():
            if pending is not None and (not namespace or key.namespace == namespace):
                yield pending.object

    def accept(self, writes: Iterable[Write]) -> Accepted:
        """Give writes their versions and their place in the queue to the disk."""
        loop = asyncio.get_running_loop()
        durable: asyncio.Future[None] = loop.create_future()
        events: list[Event] = []
        versioned: list[Write] = []
        for write in writes:
            event, accepted = self._next_event(write)
            events.append(event)
            versioned.append(accepted)
        if not events:
            durable.set_result(None)
            return Accepted(versioned, durable)

        losses = self._losses

        def done(error: BaseException | None) -> None:
            if error is None:
                loop.call_soon_threadsafe(self._publish, events, durable)
            else:
                loop.call_soon_threadsafe(self._lose, losses, durable, error)

        self._database.write(Batch([_row_of(each) for each in events], done))
        return Accepted(versioned, durable)

    def _next_event(self, write: Write) -> tuple[Event, Write]:
        name, key = stored_name(write.resource), write.key
        before = self._accepted_state(name, key)
        self._accepted_version += 1
        version = self._accepted_version
        if write.object is None:
            if before is None:
                raise ValueError(f"{write.resource.qualified} {key} goes, and is not there")
            last, _ = encode_state(key, version, before.object)
            self._pending[name, key] = _Pending(version, None)
            return Event(name, version, before, None, last), write
        state, versioned = encode_state(key, version, write.object)
        self._pending[name, key] = _Pending(version, state)
        return Event(name, version, before, state, state), write._replace(object=versioned)

    def _publish(self, events: Sequence[Event], durable: asyncio.Future[None]) -> None:
        for event in events:
            timeline = self._timeline(event.resource)
            timeline.add(event)
            timeline.wake()
            pending = self._pending.get((event.resource, event.key))
            if pending is not None and pending.version == event.version:
                del self._pending[event.resource, event.key]
        self.version = events[-1].version
        if not durable.done():
            durable.set_result(None)

    def _lose(self, losses: int, durable: asyncio.Future[None], error: BaseException) -> None:
        """The first of the batches that are lost together takes what is pending with it.

        Args:
            losses: How many there had been when the batch was accepted.
            durable: Is told.
            error: What the disk said.
        """
        if losses == self._losses:
            self._losses += 1
            _log.error("writes are lost", error=str(error), count=len(self._pending))
            self._pending.clear()
            self._database.resume()
            for on_loss in self._on_loss:
                on_loss()
        if not durable.done():
            durable.set_exception(_not_stored(error))

    def on_loss(self, call: OnLoss) -> None:
        """Have this called when writes that were accepted are lost."""
        self._on_loss.append(call)


def _not_stored(error: BaseException) -> StatusError:
    return StatusError(500, "InternalError", f"Internal error occurred: not stored: {error}")


def _row_of(event: Event) -> Row:
    return Row(
        version=event.version,
        resource=event.resource,
        namespace=event.key.namespace,
        name=event.key.name,
        before=event.before.data if event.before else None,
        last=event.last.data,
        is_deletion=int(event.after is None),
    )


def _event_of(row: Row) -> Event:
    key = Key(row.namespace, row.name)
    last = decode_state(key, row.version, row.last)
    before = None
    if row.before is not None:
        version = int(decode_state(key, 0, row.before).object["metadata"]["resourceVersion"])
        before = decode_state(key, version, row.before)
    return Event(row.resource, row.version, before, None if row.is_deletion else last, last)
