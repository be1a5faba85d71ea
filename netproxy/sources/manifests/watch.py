"""Notice that manifests changed: inotify for speed, a slow look round for deaf file systems."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence

from asyncinotify import Event, Inotify, Mask

from netproxy.sources.manifests.shelf import Batch, Shelf, first_events, next_events

LOOK_ROUND_S = 10.0
"""inotify hears nothing on some network file systems, and nothing of what a symlink points to."""
_QUIET_S, _PATIENCE_S = 0.005, 0.1
"""A burst of events is taken as one change: after so much silence, or when it goes on so long."""
_SETTLED_S = 1.0
"""A file that was written to this lately, without a word that it is closed, is left to itself."""
_MASK = (
    Mask.CLOSE_WRITE
    | Mask.CREATE
    | Mask.MOVED_TO
    | Mask.MOVED_FROM
    | Mask.DELETE
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
)


async def watch_manifests(
    paths: Sequence[str], *, look_round_s: float = LOOK_ROUND_S
) -> AsyncIterator[Batch]:
    """Everything the manifests say, then every change, for ever.

    Args:
        paths: Files, directories, or ``-`` for standard input, which is read once.
        look_round_s: Seconds after which all files are looked at even if nothing was heard.

    Yields:
        First all objects and ``Listed``; later only what changed. Never an empty batch.
    """
    shelf = Shelf(paths)
    with Inotify() as inotify:
        watched = _Watched(inotify)
        # Listening comes before reading, so that no change falls between the two.
        watched.follow(shelf.directories())
        yield await asyncio.to_thread(first_events, shelf)
        while True:
            was_heard = await _wait_for_change(inotify, look_round_s)
            watched.follow(shelf.directories())
            batch = await asyncio.to_thread(
                next_events,
                shelf,
                was_complete=shelf.complete,
                settled_s=0.0 if was_heard else min(_SETTLED_S, look_round_s / 2),
            )
            if batch.events or batch.diagnostics:
                yield batch


class _Watched:
    """The directories that inotify listens to."""

    def __init__(self, inotify: Inotify) -> None:
        self._inotify = inotify
        self._inodes: dict[str, int] = {}

    def follow(self, directories: set[str]) -> None:
        """Listen to these; again to one that was replaced; to the parent of one that is gone."""
        for directory in directories:
            there = directory
            while not os.path.isdir(there) and there not in ("", "/"):
                there = os.path.dirname(there)
            with contextlib.suppress(OSError):
                inode = os.stat(there or ".").st_ino
                if self._inodes.get(there) != inode:
                    self._inotify.add_watch(there or ".", _MASK)
                    self._inodes[there] = inode


async def _wait_for_change(inotify: Inotify, look_round_s: float) -> bool:
    """Return when something changed and the burst is over, or after the look-round interval.

    Returns:
        Whether anything was heard.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + look_round_s
    while True:
        event = await _next_event(inotify, deadline - loop.time())
        if event is None:
            return False
        if _matters(event):
            break
    until = loop.time() + _PATIENCE_S
    while (left := min(_QUIET_S, until - loop.time())) > 0:
        if await _next_event(inotify, left) is None:
            break
    return True


async def _next_event(inotify: Inotify, timeout_s: float) -> Event | None:
    try:
        return await asyncio.wait_for(inotify.get(), timeout_s)
    except TimeoutError:
        return None


def _matters(event: Event) -> bool:
    """A regular file that has just been made is still being written; its closing will be heard."""
    if event.mask & Mask.CREATE and not event.mask & Mask.ISDIR:
        return event.path is not None and os.path.islink(event.path)
    return True
