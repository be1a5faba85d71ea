"""What a watch tells: the objects that are there if asked for, and then what happens."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

import msgspec

from netproxy.api.objects import Object
from netproxy.api.resources import Resource
from netproxy.api.status import StatusError
from netproxy.apiserver.pages import Matches, too_large
from netproxy.apiserver.request import ListOptions
from netproxy.apiserver.storage.stored import Event, EventKind, Stored, encode_line
from netproxy.apiserver.storage.timeline import Timeline

BOOKMARK_S = 60.0
"""How often a watcher that wants it hears how far things are."""
LONGEST_S = 1800
"""A watch that does not say how long it lasts."""
_PIECE = 128 * 1024
"""How much is sent at once, at least, in bytes: a long list does not keep others waiting, and who
does not read holds no more than this."""
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_encode = msgspec.json.Encoder().encode


class Line(Protocol):
    """Makes the line of one event, in the representation that the watcher wants."""

    def __call__(self, kind: EventKind, state: Stored, event: Event | None) -> bytes:
        """``event`` is what it comes from, unless it is one of the first objects."""
        ...


def plain_line(kind: EventKind, state: Stored, event: Event | None) -> bytes:
    """Objects as they are; made once for all watchers."""
    return encode_line(kind, state.data) if event is None else event.line(kind, state)


class Watch(NamedTuple):
    """One watcher's place and wishes."""

    resource: Resource
    timeline: Timeline
    namespace: str
    options: ListOptions
    matches: Matches | None
    """The selectors; None: everything is selected."""
    line: Line


async def stream(watch: Watch, newest: Callable[[], int]) -> AsyncIterator[bytes]:
    """The lines of a watch, in pieces, until its time is over.

    Args:
        watch: What is watched.
        newest: Tells the newest version of all resources.
    """
    asked, current = int(watch.options.version or 0), newest()
    if asked > current:
        yield _error(too_large(asked, current))
        return
    version = asked or current
    if watch.options.initial_events or (watch.options.initial_events is None and asked == 0):
        version = current
        for piece in _in_pieces(_first_lines(watch)):
            yield piece
            await asyncio.sleep(0)  # a client who reads as fast as we write would let nobody in
        if watch.options.initial_events and watch.options.bookmarks:
            yield _bookmark(watch.resource, current, is_end_of_list=True)
    async for piece in _follow(watch, version, newest):
        yield piece


async def _follow(watch: Watch, version: int, newest: Callable[[], int]) -> AsyncIterator[bytes]:
    """What happens after a version."""
    timeline = watch.timeline
    end = time.monotonic() + (watch.options.timeout_s or LONGEST_S)
    period = BOOKMARK_S if watch.options.bookmarks else math.inf
    next_bookmark = time.monotonic() + period
    is_over = False
    while not is_over:
        if version < timeline.floor:
            yield _error(_too_old(version, timeline.floor))
            return
        events = timeline.since(version)
        if events:
            version = events[-1].version
            for piece in _in_pieces(_lines(watch, events)):
                yield piece
            continue
        is_over = time.monotonic() >= end
        if watch.options.bookmarks and (is_over or time.monotonic() >= next_bookmark):
            version = max(version, newest())
            yield _bookmark(watch.resource, version)
            next_bookmark = time.monotonic() + period
        elif not is_over:
            await timeline.wait(min(end, next_bookmark) - time.monotonic())


def _first_lines(watch: Watch) -> Iterator[bytes]:
    for state in list(watch.timeline.select(watch.namespace)):
        if watch.matches is None or watch.matches(state):
            yield watch.line("ADDED", state, None)


def _lines(watch: Watch, events: Iterable[Event]) -> Iterator[bytes]:
    for kind, event in selected(events, watch.namespace, watch.matches):
        yield watch.line(kind, event.last, event)


def selected(
    events: Iterable[Event], namespace: str, matches: Matches | None
) -> Iterator[tuple[EventKind, Event]]:
    """What a watcher with selectors hears: what leaves the selection is deleted to it."""
    for event in events:
        if namespace and event.key.namespace != namespace:
            continue
        was = event.before is not None and (matches is None or matches(event.before))
        if event.after is not None and (matches is None or matches(event.after)):
            yield ("MODIFIED" if was else "ADDED"), event
        elif was:
            yield "DELETED", event


def _in_pieces(lines: Iterator[bytes]) -> Iterator[bytes]:
    piece: list[bytes] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size >= _PIECE:
            yield b"".join(piece)
            piece.clear()
            size = 0
    if piece:
        yield b"".join(piece)


def _bookmark(resource: Resource, version: int, *, is_end_of_list: bool = False) -> bytes:
    metadata: Object = {"resourceVersion": str(version)}
    if is_end_of_list:
        metadata["annotations"] = {_INITIAL_EVENTS_END: "true"}
    empty = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return encode_line("BOOKMARK", _encode(empty))


def _error(error: StatusError) -> bytes:
    return encode_line("ERROR", _encode(error.to_object()))


def _too_old(asked: int, floor: int) -> StatusError:
    return StatusError(410, "Expired", f"too old resource version: {asked} ({floor})")
