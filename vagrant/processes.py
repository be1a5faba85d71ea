"""Children that do not outlive us, and several things at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


def mortal(command: Sequence[str]) -> list[str]:
    """The command, to be killed by the kernel when whoever starts it is gone."""
    return ["setpriv", "--pdeathsig", "KILL", *command]


def in_parallel(calls: Sequence[Callable[[], None]]) -> None:
    """All calls at the same time; the first one's exception, if there is any.

    Who is interrupted while waiting does not wait for the others: they may be waiting for something
    that ends only when the session does.
    """
    pool = ThreadPoolExecutor(max(1, len(calls)))
    futures = [pool.submit(call) for call in calls]
    try:
        for future in futures:
            future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
