"""``ObjectClient`` for those in the same process: the same decisions, without HTTP and JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime

from netproxy.api import status
from netproxy.api.client import EVERYTHING, ObjectList, Patch, PatchType, Selection, WatchEvent
from netproxy.api.objects import Key, Object, key_of
from netproxy.api.resources import Resource
from netproxy.api.status import StatusError
from netproxy.apiserver import patch as patches
from netproxy.apiserver import schema
from netproxy.apiserver.contract import DeleteOptions
from netproxy.apiserver.operations import CREATED_BY_UPDATE, Operations
from netproxy.apiserver.patching import JSON_PATCH, MERGE
from netproxy.apiserver.selectors import matcher
from netproxy.apiserver.showing import seen_as
from netproxy.apiserver.watching import selected

_WAIT_S = 300.0


class LocalObjects:
    """Reads and writes the objects of the server in this process.

    Args:
        operations: The server's.
        manager: Who owns the fields that are written.
        now: Tells the time, in UTC.
    """

    def __init__(self, operations: Operations, manager: str, now: Callable[[], datetime]) -> None:
        self._operations = operations
        self._store = operations.store
        self._manager = manager
        self._now = now

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        """See ``ObjectClient``."""
        state = self._store.timeline(resource).get(Key(namespace, name))
        if state is None:
            raise status.not_found(resource, name)
        return seen_as(resource, state.object)

    async def list(self, resource: Resource, selection: Selection = EVERYTHING) -> ObjectList:
        """See ``ObjectClient``."""
        matches = matcher(resource, selection.labels, selection.fields)
        states = self._store.timeline(resource).select(selection.namespace)
        version = str(self._store.version)
        items = [
            seen_as(resource, each.object) for each in states if matches is None or matches(each)
        ]
        return ObjectList(items, version)

    async def watch(
        self, resource: Resource, resource_version: str, selection: Selection = EVERYTHING
    ) -> AsyncIterator[WatchEvent]:
        """See ``ObjectClient``."""
        matches = matcher(resource, selection.labels, selection.fields)
        timeline = self._store.timeline(resource)
        version = int(resource_version)
        while True:
            if version < timeline.floor:
                raise StatusError(410, "Expired", f"too old resource version: {version}")
            events = timeline.since(version)
            for kind, event in selected(events, selection.namespace, matches):
                yield WatchEvent(kind, seen_as(resource, event.last.object))
            if events:
                version = events[-1].version
            else:
                await timeline.wait(_WAIT_S)

    async def create(self, resource: Resource, obj: Object) -> Object:
        """See ``ObjectClient``."""
        recorded = self._record(resource, None, obj, "")
        return seen_as(resource, (await self._operations.create(resource, recorded)).object)

    async def update(self, resource: Resource, obj: Object, subresource: str = "") -> Object:
        """See ``ObjectClient``."""

        def change(old: Object | None) -> Object:
            if subresource == "binding":
                return obj
            before = old if old is None else seen_as(resource, old)
            return self._record(resource, before, obj, subresource)

        outcome = await self._operations.update(
            resource,
            key_of(obj),
            change,
            subresource=subresource,
            may_create=resource in CREATED_BY_UPDATE,
        )
        return seen_as(resource, outcome.object)

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Patch,
        *,
        namespace: str = "",
        subresource: str = "",
        how: PatchType = MERGE,
    ) -> Object:
        """See ``ObjectClient``; configurations are applied over HTTP only."""
        kind = schema.type_of(resource, subresource)

        def change(old: Object | None) -> Object:
            if old is None:
                raise status.not_found(resource, name)
            old = seen_as(resource, old)
            if how == MERGE and isinstance(patch, dict):
                new = patches.apply_merge_patch(old, patch)
            elif how == JSON_PATCH:
                new = patches.apply_json_patch(old, patch)
            elif isinstance(patch, dict) and how.startswith("application/strategic"):
                new = patches.apply_strategic(old, patch, kind)
            else:
                raise StatusError(415, "UnsupportedMediaType", f"{how} is for clients over HTTP")
            return self._record(resource, old, new, subresource)

        outcome = await self._operations.update(
            resource, Key(namespace, name), change, subresource=subresource
        )
        return seen_as(resource, outcome.object)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace_s: int | None = None,
    ) -> None:
        """See ``ObjectClient``."""
        options = DeleteOptions(grace_s=grace_s, uid=uid)
        await self._operations.delete(resource, Key(namespace, name), options)

    def _record(
        self, resource: Resource, old: Object | None, new: Object, subresource: str
    ) -> Object:
        new = self._operations.defaulted(resource, new, subresource)
        return patches.record_update(
            old,
            new,
            schema.type_of(resource, subresource),
            manager=self._manager,
            now=self._now(),
            subresource=subresource,
        )
