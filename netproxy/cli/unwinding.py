"""Ctrl-C and SIGTERM as exceptions, for commands that have something to put away."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Meanwhile a signal raises ``SystemExit(128 + number)`` in the main thread.

    The stack unwinds, and everything that must be put away is put away on the way.
    """

    def unwind(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, unwind) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """From now on nothing interrupts: what is being put away is put away to the end."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
