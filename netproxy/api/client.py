"""How controllers, the scheduler, the node agent and DNS speak to an API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal, NamedTuple, Protocol, TypeAlias

from netproxy.api.objects import Object
from netproxy.api.resources import Resource

PatchType: TypeAlias = Literal[
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
]


class ObjectList(NamedTuple):
    """Objects as they were together at one moment."""

    items: list[Object]
    resource_version: str
    """A watch from here tells everything that came later."""


class Selection(NamedTuple):
    """Which objects of a resource."""

    namespace: str = ""
    """Empty: of all namespaces."""
    labels: str = ""
    """A label selector as in a query: ``app=web,tier!=db``."""
    fields: str = ""
    """A field selector: ``spec.nodeName=n1``."""


EVERYTHING = Selection()
Patch: TypeAlias = Object | list[Object]
"""A JSON patch is a list; all others are objects."""


class WatchEvent(NamedTuple):
    """One line of a watch."""

    kind: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Object


class ObjectClient(Protocol):
    """Reads and writes API objects; the same for the server in this process and for one over HTTP.

    Every method raises ``netproxy.api.status.StatusError`` for what the server refuses (404, 409,
    422, ...) and ``netproxy.errors.SourceError`` when it cannot be reached.
    """

    async def get(self, resource: Resource, name: str, namespace: str = "") -> Object:
        """One object; 404 if there is none."""
        ...

    async def list(self, resource: Resource, selection: Selection = EVERYTHING) -> ObjectList:
        """All that are selected."""
        ...

    def watch(
        self, resource: Resource, resource_version: str, selection: Selection = EVERYTHING
    ) -> AsyncIterator[WatchEvent]:
        """What changes after that version, until the server ends it.

        Raises:
            StatusError: 410 where the version is forgotten: list again.
        """
        ...

    async def create(self, resource: Resource, obj: Object) -> Object:
        """Store a new one; its namespace is in its metadata. Returns what was stored."""
        ...

    async def update(self, resource: Resource, obj: Object, subresource: str = "") -> Object:
        """Replace; with a ``resourceVersion`` in it only what the writer has seen (409 if not)."""
        ...

    async def patch(
        self,
        resource: Resource,
        name: str,
        patch: Patch,
        *,
        namespace: str = "",
        subresource: str = "",
        how: PatchType = "application/merge-patch+json",
    ) -> Object:
        """Change parts of one object."""
        ...

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        grace_s: int | None = None,
    ) -> None:
        """Delete it; 404 if it is not there.

        Args:
            resource: What kind.
            name: Which.
            namespace: Its namespace.
            uid: Only if it still is this one (409 if not).
            grace_s: Of a Pod, seconds; 0 removes it at once; None: what it says itself.
        """
        ...
