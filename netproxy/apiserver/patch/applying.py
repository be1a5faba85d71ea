"""Server-side apply: a configuration says which fields its owner wants, and what they are to be.

The owner of a field is asked before somebody else changes it (a conflict), unless the change is
forced. What an owner applied before and does not any more goes, unless somebody else owns it, too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import reduce
from typing import NamedTuple, cast

from netproxy.api.objects import Object
from netproxy.api.status import Cause, StatusError, bad_request
from netproxy.apiserver.patch.comparing import SYSTEM_FIELDS, Comparison, compare_objects
from netproxy.apiserver.patch.elements import Unnamed
from netproxy.apiserver.patch.fields import (
    FieldSet,
    difference,
    has_all,
    intersection,
    paths,
    union,
)
from netproxy.apiserver.patch.json_values import not_too_deep
from netproxy.apiserver.patch.managed_fields import (
    Entry,
    Owner,
    stored_entries,
    time_text,
    with_entries,
)
from netproxy.apiserver.patch.merging import (
    check_elements,
    merged,
    named_fields,
    removed,
    with_structs,
)
from netproxy.apiserver.patch.scaling import (
    SCALED,
    is_scale,
    scale_of,
    scaled_configuration,
)
from netproxy.apiserver.patch.updating import fields_reset, left_to, tracked
from netproxy.apiserver.schema.checking import check
from netproxy.apiserver.schema.types import ObjectType

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""The annotation in which ``kubectl apply`` without ``--server-side`` keeps what it applied."""
BEFORE_FIRST_APPLY = "before-first-apply"
"""Owns what was there before anybody followed who owns what."""
_KUBECTL = "kubectl"
"""The manager that may take over from ``kubectl apply`` without ``--server-side``."""
_LARGEST_ANNOTATIONS = 256 * 1024
_NOT_OWNED: FieldSet = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {".": {}, **{f"f:{name}": {} for name in SYSTEM_FIELDS}},
}


class _Applier(NamedTuple):
    """Circumstances of one apply."""

    kind: ObjectType
    owner: Owner
    time: str


@not_too_deep
def apply_configuration(
    old: Object | None,
    configuration: Object,
    kind: ObjectType,
    *,
    manager: str,
    force: bool,
    now: datetime,
    subresource: str = "",
) -> Object:
    """The object as the configuration wants it, with ``managedFields``.

    Args:
        old: The state before; None: there is none.
        configuration: The fields that are applied, of known fields and right types only. null
            takes a field away, and owns that it is not there.
        kind: The type of both; for ``scale`` it does not matter.
        manager: Who applies.
        force: Take fields from others where they are in the way.
        now: When, in UTC.
        subresource: What is applied to; empty: the object itself. For ``scale`` ``configuration``
            is a ``Scale``, and so is what comes back, with the ``managedFields`` of ``old``.

    Raises:
        StatusError: 409, others own fields that would change. 400, the configuration has
            ``managedFields``, or a list with elements that cannot be told apart; kube-apiserver
            has the same sentence, with status 500.
    """
    if old is not None and is_scale(configuration):
        parent = apply_configuration(
            old, scaled_configuration(old, configuration), SCALED,
            manager=manager, force=force, now=now, subresource=subresource,
        )  # fmt: skip
        return scale_of(parent, configuration)
    if (configuration.get("metadata") or {}).get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    owner = Owner(manager or "unknown", "Apply", "", subresource)
    applier = _Applier(kind, owner, time_text(now))
    try:
        check_elements(configuration, kind)
    except Unnamed as error:
        raise _untyped("patch", configuration, error) from None
    try:
        return _apply(old, configuration, applier, force=force)
    except Unnamed as error:
        raise _untyped("live", old or {}, error) from None


def _apply(old: Object | None, configuration: Object, applier: _Applier, *, force: bool) -> Object:
    kind, owner = applier.kind, applier.owner
    live = _without_entries(old) if old is not None else {}
    entries = stored_entries(old)
    if old is not None and not entries:
        entries = _entries_before(live, applier)
    # What is reset by this subresource is as if it had not been said.
    said = removed(configuration, fields_reset(kind, owner.subresource), kind) or {}
    named = named_fields(said, kind) or {}
    others = [each for each in entries if each.owner != owner]
    last = next((each.fields for each in entries if each.owner == owner), {})
    owned = reduce(union, [each.fields for each in others], named)
    made = _pruned(merged(live, said, kind), last, owned, kind)
    change = tracked(compare_objects(live, made, kind), kind, owner.subresource)
    if not force and (conflicts := _conflicts(others, change, live, applier)):
        raise conflict_of(conflicts)
    after = left_to(others, change)
    if own := difference(named, _NOT_OWNED):
        after.append(Entry(owner, configuration["apiVersion"], own, applier.time))
    if owner.manager == _KUBECTL:
        made = _with_last_applied(made, configuration)
    if old is not None and made == live and _are_same(after, stored_entries(old)):
        return old
    return with_entries(made, after)


def _without_entries(obj: Object) -> Object:
    metadata = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    return {**obj, "metadata": metadata}


def _entries_before(live: Object, applier: _Applier) -> list[Entry]:
    """Of an object that nobody has followed: all that is there."""
    api_version = live["apiVersion"]
    owner = Owner(BEFORE_FIRST_APPLY, "Update", api_version, applier.owner.subresource)
    change = compare_objects({}, live, applier.kind)
    fields = tracked(change, applier.kind, owner.subresource).changed
    return [Entry(owner, api_version, fields, applier.time)] if fields else []


def _pruned(made: Object, last: FieldSet, owned: FieldSet, kind: ObjectType) -> Object:
    """Without what the owner applied last time, unless it is owned now, by whomever.

    With an element of a list goes what is in it, but for what somebody owns; what nobody owns stays
    if its element stays.
    """
    last, owned = with_structs(last, kind), with_structs(owned, kind)
    if has_all(owned, last):
        return made

    def there(obj: Object) -> FieldSet:
        return with_structs(named_fields(obj, kind) or {}, kind)

    before = there(made)
    left = there(removed(made, last, kind) or {})
    # Back comes what somebody owns, and then what it never was this owner's to take away.
    left = there(removed(made, difference(before, union(left, owned)), kind, owned) or {})
    gone = intersection(difference(before, left), last)
    return cast(Object, removed(made, gone, kind, owned) or {})


def _conflicts(
    others: Sequence[Entry], change: Comparison, live: Object, applier: _Applier
) -> list[Entry]:
    """What others own of what changes."""
    found = [each._replace(fields=intersection(each.fields, change.changed)) for each in others]
    found = [each for each in found if each.fields]
    if found and applier.owner.manager == _KUBECTL:
        # It comes after itself: what it applied without the server's help was its own.
        mine = _last_applied(live, applier.kind)
        found = [each._replace(fields=difference(each.fields, mine)) for each in found]
    return [each for each in found if each.fields]


def _last_applied(live: Object, kind: ObjectType) -> FieldSet:
    """The fields that ``kubectl apply`` set without ``--server-side``, and nobody changed since."""
    try:
        said = json.loads(_annotations(live).get(LAST_APPLIED) or "null")
        if not isinstance(said, dict) or said.get("apiVersion") != live["apiVersion"]:
            return {}
        applied = check(said, kind, "Ignore").object
        change = compare_objects(applied, live, kind)
        named = named_fields(applied, kind) or {}
    except (ValueError, StatusError, Unnamed):
        return {}
    return difference(difference(named, change.changed), change.removed)


def _with_last_applied(made: Object, configuration: Object) -> Object:
    """With the annotation up to date, for those who go back to ``kubectl apply`` without
    ``--server-side``; only where it is already.
    """
    annotations = _annotations(made)
    if not annotations.get(LAST_APPLIED):
        return made
    said = configuration
    if LAST_APPLIED in _annotations(said):
        kept = {n: value for n, value in _annotations(said).items() if n != LAST_APPLIED}
        said = {**said, "metadata": {**said["metadata"], "annotations": kept}}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for each in "<>&":
        text = text.replace(each, f"\\u{ord(each):04x}")
    annotations = {**annotations, LAST_APPLIED: text + "\n"}
    size = sum(len(name.encode()) + len(value.encode()) for name, value in annotations.items())
    if size > _LARGEST_ANNOTATIONS:
        del annotations[LAST_APPLIED]
    return {**made, "metadata": {**made["metadata"], "annotations": annotations}}


def _annotations(obj: Object) -> dict[str, str]:
    return (obj.get("metadata") or {}).get("annotations") or {}


def _are_same(some: Sequence[Entry], others: Sequence[Entry]) -> bool:
    """Whether they say the same, but for times."""

    def told(entries: Sequence[Entry]) -> dict[Owner, tuple[str, FieldSet]]:
        return {each.owner: (each.api_version, each.fields) for each in entries}

    return told(some) == told(others)


def conflict_of(entries: Sequence[Entry]) -> StatusError:
    """409: others own these fields, as kube-apiserver 1.36 says it and kubectl explains it."""
    told = [(each.owner.told, list(paths(each.fields))) for each in sorted(entries)]
    causes = [
        Cause(path, "FieldManagerConflict", f"conflict with {owner}")
        for owner, found in told
        for path in found
    ]
    if len(causes) == 1:
        message = f"1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        lines = [
            "\n".join([f"conflicts with {owner}:", *(f"- {path}" for path in found)])
            for owner, found in told
        ]
        message = f"{len(causes)} conflicts: " + "\n".join(lines)
    return StatusError(409, "Conflict", f"Apply failed with {message}", causes=causes)


def _untyped(which: str, obj: Object, fault: Unnamed) -> StatusError:
    metadata = obj.get("metadata") or {}
    group, _, version = obj.get("apiVersion", "").rpartition("/")
    return bad_request(
        f"failed to create typed {which} object "
        f"({metadata.get('namespace', '')}/{metadata.get('name', '')}; {group}/{version}, "
        f"Kind={obj.get('kind', '')}): {fault}"
    )
