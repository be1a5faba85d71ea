"""Python's cyclic garbage collector, kept out of the way of work on very many objects."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_paused_by = 0
_was_enabled = False


@contextmanager
def collector_paused(*, collect: bool) -> Iterator[None]:
    """Without the cyclic garbage collector, which would walk all objects again and again.

    Objects, plans and rules form no cycles; measured at 100,000 services, a full sync takes a third
    of the time. Pauses may overlap, also those of several threads: the last one to end counts.

    Args:
        collect: Look once afterwards for what others left in cycles, such as asyncio each of its
            connections: microseconds, but for the first load, which has made a million objects.
    """
    global _paused_by, _was_enabled  # noqa: PLW0603 - there is one collector in a process
    with _lock:
        if _paused_by == 0:
            _was_enabled = gc.isenabled()
            gc.disable()
        _paused_by += 1
    try:
        yield
    finally:
        with _lock:
            _paused_by -= 1
            if _paused_by == 0 and _was_enabled:
                if collect:
                    gc.collect()
                # What is alive now will be for long: the collector need not look at it again.
                # What dies is still freed at once, by its reference count.
                gc.freeze()
                gc.enable()
