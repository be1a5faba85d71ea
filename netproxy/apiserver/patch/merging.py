"""A configuration → the fields that it names, and the object that it makes of another one."""

from __future__ import annotations

from typing import Any

from netproxy.api.objects import Object
from netproxy.apiserver.patch.elements import (
    Unnamed,
    by_key,
    element_key,
    is_whole,
    member_type,
)
from netproxy.apiserver.patch.fields import SELF, FieldSet, shown
from netproxy.apiserver.schema.types import ListOf, MapOf, ObjectType, Type


def check_elements(value: Any, kind: Type | None, path: str = "") -> None:
    """Make sure that the elements of all lists can be told apart.

    Raises:
        Unnamed: They cannot; with the path of the list.
    """
    if is_whole(kind) or value is None:
        return
    if isinstance(kind, ListOf):
        seen = set()
        for index, element in enumerate(value):
            try:
                key = element_key(element, kind)
            except Unnamed as error:
                raise Unnamed(f"{path}: element {index}: {error}") from None
            if key in seen:
                raise Unnamed(f"{path}: duplicate entries for key {shown(key)}")
            seen.add(key)
            check_elements(element, kind.item, path + shown(key))
        return
    assert kind is not None
    for name, inner in value.items():
        check_elements(inner, member_type(kind, name), f"{path}.{name}")


def named_fields(value: Any, kind: Type | None) -> FieldSet | None:
    """The fields that a value names, as a branch of a set; None: there are none.

    Structs and lists themselves are not named by what is in them; keys of maps and elements of
    lists are.

    Raises:
        Unnamed: An element of a list has not the keys that tell elements apart.
    """
    if value is None or is_whole(kind):
        return {}
    if isinstance(kind, ListOf):
        return _named_elements(value, kind)
    assert kind is not None
    if not value:
        return {}
    found: FieldSet = {}
    for name, inner in value.items():
        below = named_fields(inner, member_type(kind, name))
        if below is not None:
            found[f"f:{name}"] = _with_self(below) if isinstance(kind, MapOf) else below
        elif isinstance(kind, MapOf):
            found[f"f:{name}"] = {}
    return found or None


def _named_elements(value: list[Any], kind: ListOf) -> FieldSet | None:
    found: FieldSet = {}
    for key, elements in by_key(value, kind).items():
        below = named_fields(elements[0], kind.item) if len(elements) == 1 else None
        found[key] = _with_self(below or {})
    return found or None


def _with_self(branch: FieldSet) -> FieldSet:
    return {SELF: {}, **branch} if branch else branch


def with_structs(fields: FieldSet, kind: Type | None) -> FieldSet:
    """The set, and the structs' fields that have something of it below them."""
    if isinstance(kind, ListOf):
        return {key: with_structs(below, kind.item) for key, below in fields.items()}
    if not isinstance(kind, (MapOf, ObjectType)):
        return fields
    found: FieldSet = {}
    for key, below in fields.items():
        inner = member_type(kind, key[2:])
        more = with_structs(below, inner)
        found[key] = {SELF: {}, **more} if more and isinstance(kind, ObjectType) else more
    return found


def merged(live: Any, said: Any, kind: Type | None) -> Any:
    """A value as a configuration wants it; nothing goes but what is null in it.

    Args:
        live: What is there.
        said: What is wanted; its elements can be told apart.
        kind: The type of both.

    Raises:
        Unnamed: Those of ``live`` cannot.
    """
    if is_whole(kind) or type(live) is not type(said):
        return said
    if isinstance(kind, ListOf):
        return _merged_list(live, said, kind)
    assert kind is not None
    return _merged_members(live, said, kind)


def _merged_members(live: Object, said: Object, kind: Type) -> Object:
    made = dict(live)
    for name, value in said.items():
        inner = member_type(kind, name)
        if value is None:
            made.pop(name, None)
            continue
        empty: Any = [] if isinstance(value, list) else {} if isinstance(value, dict) else None
        there = live.get(name)
        made[name] = merged(empty if there is None else there, value, inner)
    return made


def _merged_list(live: list[Any], said: list[Any], kind: ListOf) -> list[Any]:
    """What both have comes in the order of the configuration, what is new at its place in it.

    What only the live list has comes as early as it can.
    """
    wanted = by_key(said, kind)
    there = by_key(live, kind)
    rest = [element_key(element, kind) for element in live]
    shared = [key for key in wanted if key in there]
    made, at = [], 0
    for key, (element,) in wanted.items():
        while at < len(rest) and not (shared and rest[at] == shared[0]):
            # Of what is shared, the configuration says when its turn is.
            if rest[at] not in wanted:
                made.append(live[at])
            at += 1
        if shared and key == shared[0]:
            shared.pop(0)
        before = there.get(key, [])
        made.append(merged(before[0] if len(before) == 1 else _nothing(element), element,
                           kind.item))  # fmt: skip
    return made + [live[index] for index in range(at, len(rest)) if rest[index] not in wanted]


def _nothing(like: Any) -> Any:
    return {} if isinstance(like, dict) else like


def removed(value: Any, fields: FieldSet, kind: Type | None, owned: FieldSet | None = None) -> Any:
    """A value without these fields; None if nothing is left of it.

    Args:
        value: From which they are taken.
        fields: What goes; parts of what is owned as a whole do not.
        kind: The type of the value.
        owned: What somebody owns: it stays, even if it is empty afterwards. None: not the value.
    """
    if is_whole(kind) or not fields or not value:
        return value
    theirs = owned or {}
    left: Any
    if isinstance(kind, ListOf):
        left = []
        for element in value:
            kept = _kept(element, element_key(element, kind), fields, kind.item, theirs)
            if kept is not None:
                left.append(kept)
    else:
        assert kind is not None
        left = {}
        for name, inner in value.items():
            kept = _kept(inner, f"f:{name}", fields, member_type(kind, name), theirs)
            if kept is not None:
                left[name] = kept
    is_owned = owned is not None and (not owned or SELF in owned)
    return left if left or is_owned else None


def _kept(value: Any, key: str, fields: FieldSet, kind: Type | None, owned: FieldSet) -> Any:
    below = fields.get(key)
    if below is None:
        return value
    return None if not below or SELF in below else removed(value, below, kind, owned.get(key))
