"""Two states of an object → the fields that came or changed, and those that went."""

from __future__ import annotations

from typing import Any, NamedTuple

from netproxy.api.objects import Object
from netproxy.apiserver.patch.elements import by_key, is_whole, member_type
from netproxy.apiserver.patch.fields import SELF, FieldSet
from netproxy.apiserver.schema.types import ListOf, ObjectType, Type

ALWAYS_THERE = frozenset(
    {
        "containers", "kubeletEndpoint", "daemonEndpoints", "lastState", "loadBalancer",
        "metadata", "nodeInfo", "resources", "spec", "state", "status", "strategy", "template",
    }
)  # fmt: skip
"""Fields that Go's structs of the API have even when nothing is in them. Nobody makes them come or
go, so nobody owns them, only what is in them."""

SYSTEM_FIELDS = frozenset(
    {
        "creationTimestamp", "generation", "managedFields", "name", "namespace", "resourceVersion",
        "selfLink", "uid",
    }
)  # fmt: skip
"""Of ``metadata``: nobody owns them."""
_EMPTY: FieldSet = {}


class Comparison(NamedTuple):
    """What happened to the fields of an object."""

    changed: FieldSet
    """Came, or have another value now."""
    removed: FieldSet


def compare_objects(old: Object, new: Object, kind: ObjectType) -> Comparison:
    """What a write did; without what nobody can own: kind, name, uid and the like.

    Raises:
        Unnamed: A list has an element without the keys that tell elements apart.
    """
    changes = _Changes()
    for name in {**old, **new}:
        if name not in {"apiVersion", "kind"}:
            before, after = old.get(name), new.get(name)
            if name == "metadata":
                before, after = _own_metadata(before), _own_metadata(after)
            changes.member(name, before, after, kind)
    return Comparison(changes.changed, changes.removed)


def _own_metadata(metadata: Object | None) -> Object:
    return {name: value for name, value in (metadata or {}).items() if name not in SYSTEM_FIELDS}


def all_fields(value: Any, kind: Type | None) -> FieldSet:
    """A value that came, or went, as a branch of a set: itself and all that is in it.

    Raises:
        Unnamed: See ``compare_objects``.
    """
    if is_whole(kind) or not value:
        return _EMPTY
    found: FieldSet = {SELF: _EMPTY}
    if isinstance(kind, ListOf):
        if not isinstance(value, list):
            return _EMPTY
        for key, elements in by_key(value, kind).items():
            is_single = len(elements) == 1
            found[key] = all_fields(elements[0], kind.item) if is_single else _EMPTY
        return found
    assert kind is not None
    if not isinstance(value, dict):
        return _EMPTY
    for name, inner in value.items():
        if inner is not None:
            found[f"f:{name}"] = all_fields(inner, member_type(kind, name))
    return found


class _Changes:
    """Both sets below one place, as they are found."""

    __slots__ = ("changed", "removed")

    def __init__(self) -> None:
        self.changed: FieldSet = {}
        self.removed: FieldSet = {}

    def member(self, name: str, old: Any, new: Any, kind: Type) -> None:
        """A field of a struct, or a key of a map."""
        if old == new:
            return
        inner = member_type(kind, name)
        if name in ALWAYS_THERE and isinstance(kind, ObjectType) and not is_whole(inner):
            empty: Any = [] if isinstance(inner, ListOf) else {}
            old, new = old or empty, new or empty
        self._part(f"f:{name}", old, new, inner)

    def _part(self, key: str, old: Any, new: Any, kind: Type | None) -> None:
        if old is None:
            self.changed[key] = all_fields(new, kind)
        elif new is None:
            self.removed[key] = all_fields(old, kind)
        elif old != new:
            if is_whole(kind) or type(old) is not type(new):
                self.changed[key] = _EMPTY
                return
            below = _Changes()
            if isinstance(kind, ListOf):
                below._elements(old, new, kind)
            else:
                assert kind is not None
                for name in {**old, **new}:
                    below.member(name, old.get(name), new.get(name), kind)
            if below.changed:
                self.changed[key] = below.changed
            if below.removed:
                self.removed[key] = below.removed

    def _elements(self, old: list[Any], new: list[Any], kind: ListOf) -> None:
        before, after = by_key(old, kind), by_key(new, kind)
        for key in {**before, **after}:
            was, now = before.get(key, []), after.get(key, [])
            if len(was) <= 1 and len(now) <= 1:
                self._part(key, was[0] if was else None, now[0] if now else None, kind.item)
            elif len(was) > 1 and len(now) > 1:
                if was != now:
                    self.changed[key] = _EMPTY
            else:
                # Twins have one owner together; a single element has one for each of its fields.
                if len(was) > 1:
                    self.removed[key] = _EMPTY
                elif was:
                    self.removed[key] = all_fields(was[0], kind.item)
                if len(now) > 1:
                    self.changed[key] = _EMPTY
                elif now:
                    self.changed[key] = all_fields(now[0], kind.item)
