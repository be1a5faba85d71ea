"""What can be done with objects, whoever asks: a client over HTTP, or a controller in this process.

From reading the old state to accepting the new one nothing waits, so two writers never see the same
old state, and a patch never has to be tried again. Then the writer waits for the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple, TypeAlias

from netproxy.api import status
from netproxy.api.objects import Key, Object, key_of, uid_of
from netproxy.api.resources import (
    CORE_EVENTS,
    ENDPOINTS,
    EVENTS,
    LEASES,
    SERVICES,
    Resource,
)
from netproxy.api.status import StatusError
from netproxy.apiserver.contract import Decision, DeleteOptions, Registry, WriteContext
from netproxy.apiserver.storage.store import Accepted, Store

CREATED_BY_UPDATE = frozenset({SERVICES, ENDPOINTS, LEASES, EVENTS, CORE_EVENTS})
"""A PUT makes them where there is none (``AllowCreateOnUpdate`` of kube-apiserver 1.36)."""
_OF_OTHER_KINDS = frozenset({"binding", "eviction", "scale"})
"""Subresources whose objects are something else than the resource's own."""
_MODIFIED = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


class Outcome(NamedTuple):
    """What became of a request."""

    object: Object
    warnings: Sequence[str] = ()
    is_new: bool = False


Change: TypeAlias = Callable[[Object | None], Object]
"""Makes the new state from the old one, which is None where there is none and the change may make
one; what it raises is the answer."""


class Operations:
    """Creates, updates and deletes.

    Args:
        store: Has the objects.
        registry: Decides.
        now: Tells the time, in UTC.
    """

    def __init__(self, store: Store, registry: Registry, now: Callable[[], datetime]) -> None:
        self.store = store
        self._registry = registry
        self._now = now
        store.on_loss(lambda: registry.rebuild(store))

    async def create(self, resource: Resource, obj: Object, *, dry_run: bool = False) -> Outcome:
        """A new object."""
        decision = self._registry.create(resource, obj, self._context(dry_run=dry_run))
        return await self._carry_out(resource, decision, dry_run=dry_run, is_new=True)

    async def update(
        self,
        resource: Resource,
        key: Key,
        change: Change,
        *,
        subresource: str = "",
        dry_run: bool = False,
        may_create: bool = False,
    ) -> Outcome:
        """Another state of an object; or, where it may, a first one."""
        old = self.store.get(resource, key)
        if old is None:
            if not may_create or subresource:
                raise status.not_found(resource, key.name)
            new = change(None)
            if uid := new["metadata"].get("uid"):
                why = f"uid mismatch: the provided object specified uid {uid}, and no existing "
                raise status.conflict(resource, key.name, why + "object was found")
            if new["metadata"].get("resourceVersion"):
                raise status.not_found(resource, key.name)
            return await self.create(resource, new, dry_run=dry_run)
        new = change(old)
        check_preconditions(resource, old, new)
        context = self._context(dry_run=dry_run)
        decision = self._registry.update(resource, old, new, subresource, context)
        return await self._carry_out(resource, decision, dry_run=dry_run)

    async def delete(
        self, resource: Resource, key: Key, options: DeleteOptions, *, dry_run: bool = False
    ) -> Outcome:
        """An object goes, or begins to; ``is_new`` of the outcome tells nothing."""
        old = self.store.get(resource, key)
        if old is None:
            raise status.not_found(resource, key.name)
        decision = self._registry.delete(resource, old, options, self._context(dry_run=dry_run))
        return await self._carry_out(resource, decision, dry_run=dry_run)

    def defaulted(self, resource: Resource, obj: Object, subresource: str = "") -> Object:
        """What a client says, with what it means by what it does not say; see ``Registry``."""
        is_whole = subresource not in _OF_OTHER_KINDS
        return self._registry.defaulted(resource, obj) if is_whole else obj

    def is_there(self, resource: Resource, key: Key) -> bool:
        """Whether the next write finds such an object."""
        return self.store.get(resource, key) is not None

    def _context(self, *, dry_run: bool) -> WriteContext:
        return WriteContext(self._now(), dry_run)

    async def _carry_out(
        self, resource: Resource, decision: Decision, *, dry_run: bool, is_new: bool = False
    ) -> Outcome:
        if dry_run or not decision.writes:
            return Outcome(decision.object, decision.warnings, is_new)
        accepted = self.store.accept(decision.writes)
        self._registry.observe(accepted.writes)
        await accepted.durable
        obj = _as_written(resource, decision.object, accepted)
        return Outcome(obj, decision.warnings, is_new)


def check_preconditions(resource: Resource, old: Object, new: Object) -> None:
    """Refuse a state that was made from another one than this.

    Raises:
        StatusError: 409.
    """
    metadata = new["metadata"]
    name = old["metadata"]["name"]
    if (uid := metadata.get("uid")) and uid != uid_of(old):
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: "
        raise status.conflict(resource, name, why + uid_of(old))
    version = metadata.get("resourceVersion")
    if version and version != "0" and version != old["metadata"]["resourceVersion"]:
        raise status.conflict(resource, name, _MODIFIED)


def _as_written(resource: Resource, obj: Object, accepted: Accepted) -> Object:
    """The object of a decision with the version that it got; one that went is told as it was."""
    key = key_of(obj) if "metadata" in obj else None
    for write in accepted.writes:
        if write.resource == resource and write.key == key and write.object is not None:
            return write.object
    return obj


def check_namespace(resource: Resource, obj: Object, namespace: str) -> Object:
    """The object with the namespace of the request.

    Raises:
        StatusError: 400, it has another one.
    """
    metadata = obj.get("metadata") or {}
    said = metadata.get("namespace", "")
    if said == namespace:
        return obj
    if not resource.namespaced:
        return {**obj, "metadata": {k: v for k, v in metadata.items() if k != "namespace"}}
    if said:
        raise StatusError(
            400,
            "BadRequest",
            f"the namespace of the provided object does not match the namespace sent on the "
            f"request ({said} != {namespace})",
        )
    return {**obj, "metadata": {**metadata, "namespace": namespace}}
