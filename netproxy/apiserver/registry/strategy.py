"""What each kind of object is asked when it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from netproxy.api.objects import Object
from netproxy.api.status import Cause
from netproxy.apiserver.contract import DeleteOptions, Dice, View, Write, WriteContext
from netproxy.apiserver.registry.node_ports import NodePorts
from netproxy.apiserver.registry.service.allocation import Allocator


class Means(NamedTuple):
    """What strategies decide with."""

    view: View
    random: Dice
    ports: NodePorts
    families: tuple[str, ...]
    """IP families of the cluster, its primary one first."""

    @property
    def allocator(self) -> Allocator:
        return Allocator(self.view, self.ports, self.random)


class Strategy:
    """The rules of one kind. This one has none of its own: all is allowed, nothing filled in.

    Objects that come in are the decision's own: metadata is done, the rest may be replaced, though
    not changed in place.
    """

    has_generation = False
    """Whether ``metadata.generation`` counts changes of what is wanted."""

    def __init__(self, means: Means) -> None:
        self.means = means

    def defaulted(self, obj: Object) -> Object:
        """With what its absent fields mean, whatever is stored: who wrote it owns that as well."""
        return obj

    def prepare(self, obj: Object, old: Object | None) -> Object:
        """Defaults, and what the client may not say; ``old`` is None for a new object."""
        del old
        return self.defaulted(obj)

    def faults(self, obj: Object, old: Object | None) -> Sequence[Cause]:
        """What is wrong with it."""
        del obj, old
        return ()

    def allocate(self, obj: Object, old: Object | None) -> tuple[Object, Sequence[Cause]]:
        """Give it what it needs; asked only when nothing else is wrong."""
        del old
        return obj, ()

    def companions(
        self, obj: Object | None, old: Object | None, context: WriteContext
    ) -> Sequence[Write]:
        """Other objects that come and go with it; ``obj`` is None when it goes."""
        del obj, old, context
        return ()

    def warnings(self, obj: Object, old: Object | None) -> Sequence[str]:
        """What the client should know."""
        del obj, old
        return ()

    def status_of(self, new: Object, old: Object) -> Object:
        """A status update: of the new state only what belongs to status."""
        changed = {**old, "status": new.get("status") or {}}
        metadata = dict(old["metadata"])
        for field in ("managedFields", "labels", "annotations", "finalizers"):
            if field in new["metadata"]:
                metadata[field] = new["metadata"][field]
        if "managedFields" not in new["metadata"]:
            metadata.pop("managedFields", None)
        changed["metadata"] = metadata
        return changed

    def status_faults(self, obj: Object, old: Object) -> Sequence[Cause]:
        """What is wrong with a new status."""
        del obj, old
        return ()

    def leaving(self, old: Object, options: DeleteOptions, context: WriteContext) -> Object | None:
        """Its state while it is on its way out; None: it goes at once."""
        del old, options, context
        return None
