"""Keeps a copy of the selected objects of a resource, and tells of every change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from netproxy.api.client import EVERYTHING, ObjectClient, ObjectList, Selection
from netproxy.api.objects import Key, Object, key_of
from netproxy.api.resources import Resource
from netproxy.api.status import StatusError
from netproxy.errors import SourceError
from netproxy.log import EventLogger

FIRST_RETRY_S = 0.2
LONGEST_RETRY_S = 10.0

_log = EventLogger(__name__)


class OnChange(Protocol):
    """Is told of one change; quick, and without waiting: it puts a key into a queue."""

    def __call__(self, key: Key, old: Object | None, new: Object | None) -> None:
        """An object came (no old), changed, or went (no new)."""
        ...


class Informer:
    """List, watch, and list again when the server has forgotten; only differences are told.

    Args:
        client: Asks the server.
        resource: What to follow.
        selection: Which of them.
        jitter: A number from 0 to 1, so that not everybody comes back at once.
    """

    def __init__(
        self,
        client: ObjectClient,
        resource: Resource,
        selection: Selection = EVERYTHING,
        *,
        jitter: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.resource = resource
        self.synced = asyncio.Event()
        """Set once the first list has been told."""
        self._client = client
        self._selection = selection
        self._jitter = jitter
        self._objects: dict[Key, Object] = {}
        self._listeners: list[OnChange] = []
        self._version = 0
        self._news = asyncio.Event()

    @property
    def objects(self) -> Mapping[Key, Object]:
        """What is known now; changes as it is looked at."""
        return MappingProxyType(self._objects)

    def get(self, key: Key) -> Object | None:
        """One object, if it is known."""
        return self._objects.get(key)

    def listen(self, on_change: OnChange) -> None:
        """Tell this one, too; what is known already is not told again."""
        self._listeners.append(on_change)

    async def caught_up(self, version: int) -> None:
        """Until what was written with this version, or a later one, has been told."""
        while self._version < version:
            self._news.clear()
            await self._news.wait()

    async def run(self) -> None:
        """Follow until cancelled."""
        pause = FIRST_RETRY_S
        while True:
            try:
                async for _ in self._follow():
                    pause = FIRST_RETRY_S
            except (StatusError, SourceError) as error:
                if isinstance(error, StatusError) and error.code == 410:
                    continue
                _log.warning(
                    "cannot follow",
                    resource=self.resource.qualified,
                    error=str(error),
                )
                await asyncio.sleep(pause * (1.0 + self._jitter()))
                pause = min(2 * pause, LONGEST_RETRY_S)

    async def _follow(self) -> AsyncIterator[None]:
        """List, then watch for as long as the server remembers; yields when something works."""
        listed = await self._client.list(self.resource, self._selection)
        self._replace_all(listed)
        self._reached(listed.resource_version)
        self.synced.set()
        yield
        version = listed.resource_version
        while True:
            async for event in self._client.watch(self.resource, version, self._selection):
                version = event.object["metadata"]["resourceVersion"]
                if event.kind == "DELETED":
                    self._tell(key_of(event.object), None)
                elif event.kind != "BOOKMARK":
                    self._tell(key_of(event.object), event.object)
                self._reached(version)
                yield

    def _reached(self, version: str) -> None:
        self._version = int(version) if version.isdigit() else self._version
        self._news.set()

    def _replace_all(self, listed: ObjectList) -> None:
        current = {key_of(each): each for each in listed.items}
        for key in [each for each in self._objects if each not in current]:
            self._tell(key, None)
        for key, obj in current.items():
            self._tell(key, obj)

    def _tell(self, key: Key, new: Object | None) -> None:
        old = self._objects.get(key)
        if new is None:
            if old is None:
                return
            del self._objects[key]
        else:
            if old is not None and _version(old) == _version(new):
                return
            self._objects[key] = new
        for on_change in self._listeners:
            on_change(key, old, new)


def _version(obj: Object) -> str:
    version: str = obj["metadata"].get("resourceVersion", "")
    return version
