"""After a write that is no apply: who owns which fields now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from netproxy.api.objects import Object
from netproxy.apiserver.patch.comparing import Comparison, compare_objects
from netproxy.apiserver.patch.elements import Unnamed
from netproxy.apiserver.patch.fields import FieldSet, difference, outside, union
from netproxy.apiserver.patch.managed_fields import (
    Entry,
    Owner,
    capped,
    starting_entries,
    time_text,
    with_entries,
)
from netproxy.apiserver.patch.scaling import SCALED, is_scale, scale_of, scaled
from netproxy.apiserver.schema.types import ObjectType

_STATUS: FieldSet = {"f:status": {}}
_SPEC: FieldSet = {"f:spec": {}}
_RESET_BY_STATUS: dict[str, FieldSet] = {
    "Deployment": {"f:spec": {}, "f:metadata": {"f:labels": {}}},
    "Pod": {"f:spec": {}, "f:metadata": {"f:deletionTimestamp": {}, "f:ownerReferences": {}}},
}


def fields_reset(kind: ObjectType, subresource: str) -> FieldSet:
    """Fields that a write does not change, whatever it says; nobody comes to own them by it.

    A write of ``status`` leaves ``spec`` as it is, every other one leaves ``status``
    (``GetResetFields`` of Kubernetes 1.36).
    """
    if subresource != "status":
        return _STATUS
    return _RESET_BY_STATUS.get(kind.name.rsplit(".", 1)[-1], _SPEC)


def record_update(
    old: Object | None,
    new: Object,
    kind: ObjectType,
    *,
    manager: str,
    now: datetime,
    subresource: str = "",
) -> Object:
    """The new state with ``managedFields`` as they are after this write.

    Who writes owns what it changed, alone; what nobody changed stays with whom it was; what is gone
    has no owner. A write that changes nothing leaves them as they are, times as well.

    Args:
        old: The state before; None: there was none.
        new: The state after, with its defaults, and before the server puts in what only it decides
            (addresses, ports, generation, uid): nobody owns that. It may have ``managedFields``
            of its own, which then count.
        kind: The type of both; for ``scale`` it does not matter.
        manager: Who writes.
        now: When, in UTC.
        subresource: What is written; empty: the object itself. For ``scale`` ``new`` is the
            ``Scale``, and comes back with the ``managedFields`` of the scaled object.
    """
    if old is not None and is_scale(new):
        parent = record_update(
            old, scaled(old, new), SCALED, manager=manager, now=now, subresource=subresource
        )
        return scale_of(parent, new)
    entries = starting_entries(old, new, subresource)
    # Objects that nobody has followed from the beginning are followed from their first apply.
    if old is None or entries:
        try:
            change = compare_objects(old or {}, new, kind)
        except Unnamed:
            # Nobody can say who owns what. Whether it can be accepted is decided elsewhere.
            return with_entries(new, entries)
        owner = Owner(manager or "unknown", "Update", new["apiVersion"], subresource)
        change = tracked(change, kind, subresource)
        entries = updated(entries, change, owner, time_text(now))
    return with_entries(new, entries)


def tracked(change: Comparison, kind: ObjectType, subresource: str) -> Comparison:
    """A change without the fields that are reset."""
    reset = fields_reset(kind, subresource)
    return Comparison(outside(change.changed, reset), outside(change.removed, reset))


def updated(entries: Sequence[Entry], change: Comparison, owner: Owner, time: str) -> list[Entry]:
    """Who owns what after a change by an owner that updates."""
    if not change.changed and not change.removed:
        return list(entries)
    found = {each.owner: each for each in left_to(entries, change)}
    if change.changed:
        before = found.get(owner)
        fields = union(change.changed, before.fields) if before else change.changed
        found[owner] = Entry(owner, owner.api_version, fields, time)
    return capped(list(found.values()))


def left_to(entries: Sequence[Entry], change: Comparison) -> list[Entry]:
    """What is left to owners after a change by somebody else."""
    left = [
        each._replace(fields=difference(difference(each.fields, change.changed), change.removed))
        for each in entries
    ]
    return [each for each in left if each.fields]
