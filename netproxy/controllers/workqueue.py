"""Keys that need work: each once, failed ones later and later."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 300.0
_Key = TypeVar("_Key")


class WorkQueue(Generic[_Key]):
    """A queue of one worker.

    Args:
        clock: Seconds, which only go forward.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[_Key, None] = {}
        self._later: list[tuple[float, int, _Key]] = []
        self._count = 0
        self._failures: dict[_Key, int] = {}
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._due)

    def add(self, key: _Key) -> None:
        """This needs work now; twice is once."""
        self._due[key] = None
        self._news.set()

    def add_later(self, key: _Key, seconds: float) -> None:
        """This needs work in a while, whatever is done until then."""
        self._count += 1
        heapq.heappush(self._later, (self._clock() + seconds, self._count, key))
        self._news.set()

    def failed(self, key: _Key) -> None:
        """Work on it failed: after 0.1 s, then twice as long each time."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        self.add_later(key, min(FIRST_RETRY_S * 2**count, LONGEST_RETRY_S))

    def worked(self, key: _Key) -> None:
        """Work on it is done: the next failure is the first one."""
        self._failures.pop(key, None)

    async def take(self) -> _Key:
        """The next key, when there is one."""
        while True:
            now = self._clock()
            while self._later and self._later[0][0] <= now:
                self._due[heapq.heappop(self._later)[2]] = None
            if self._due:
                key = next(iter(self._due))
                del self._due[key]
                return key
            self._news.clear()
            wait = self._later[0][0] - now if self._later else None
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait()
            except TimeoutError:
                pass
