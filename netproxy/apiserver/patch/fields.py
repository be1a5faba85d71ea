"""Sets of fields, in the form in which ``managedFields`` have them (``fieldsV1``).

A set is a tree of dictionaries. Names of members begin with ``f:`` (a field or the key of a map),
``k:`` (the element of a list with these keys) or ``v:`` (the element of a list of scalars that is
this one); ``i:`` is an index. A branch without members is in the set; one with members is if one
of them is ``.``::

    {"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}}}

has the element of ``ports`` and its ``port``, but neither ``ports`` nor ``spec``. The whole tree
has nothing if it is empty. Sets are never changed in place: they share their branches.

Rules: sigs.k8s.io/structured-merge-diff, as in Kubernetes 1.36.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import msgspec

FieldSet: TypeAlias = "dict[str, FieldSet]"

SELF = "."
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def union(one: FieldSet, other: FieldSet) -> FieldSet:
    """What is in one of them."""
    if not one or not other:
        return one or other
    found = dict(one)
    for name, theirs in other.items():
        mine = one.get(name)
        found[name] = theirs if mine is None else _both(mine, theirs)
    return found


def _both(mine: FieldSet, theirs: FieldSet) -> FieldSet:
    if mine is theirs:
        return mine
    if not mine or not theirs:
        more = mine or theirs
        return more if not more or SELF in more else {SELF: {}, **more}
    return union(mine, theirs)


def difference(one: FieldSet, other: FieldSet) -> FieldSet:
    """What is in the first and not in the second; what is below stays for itself."""
    if not one or not other:
        return one
    found = {}
    for name, mine in one.items():
        theirs = other.get(name)
        left: FieldSet | None = mine
        if theirs is not None:
            left = _branch(_has_self(mine) and not _has_self(theirs), difference(mine, theirs))
        if left is not None:
            found[name] = left
    return found


def intersection(one: FieldSet, other: FieldSet) -> FieldSet:
    """What is in both."""
    found = {}
    for name, mine in one.items():
        theirs = other.get(name)
        if theirs is not None:
            shared = _branch(_has_self(mine) and _has_self(theirs), intersection(mine, theirs))
            if shared is not None:
                found[name] = shared
    return found


def outside(one: FieldSet, other: FieldSet) -> FieldSet:
    """What is in the first, and neither in the second nor below something in it."""
    if not one or not other:
        return one
    found = {}
    for name, mine in one.items():
        theirs = other.get(name)
        left: FieldSet | None = mine
        if theirs is not None:
            left = None if _has_self(theirs) else _branch(_has_self(mine), outside(mine, theirs))
        if left is not None:
            found[name] = left
    return found


def has_all(one: FieldSet, other: FieldSet) -> bool:
    """Whether the second is a part of the first."""
    return not difference(other, one)


def _has_self(branch: FieldSet) -> bool:
    return not branch or SELF in branch


def _branch(has_self: bool, below: FieldSet) -> FieldSet | None:
    """A branch of which this is left below itself; None if nothing is left at all."""
    if SELF in below:
        below = {name: inner for name, inner in below.items() if name != SELF}
    if not below:
        return {} if has_self else None
    return {SELF: {}, **below} if has_self else below


def element_name(prefix: str, value: Any) -> str:
    """``k:`` or ``v:`` with a value, keys in order, as Go writes JSON."""
    text = _encode(value).decode()
    if "<" in text or ">" in text or "&" in text:
        for each in "<>&":
            text = text.replace(each, f"\\u{ord(each):04x}")
    return prefix + text


def paths(fields: FieldSet) -> Iterator[str]:
    """All that is in it, as causes of a conflict name it: ``.spec.ports[port=80].name``."""
    yield from _paths("", fields)


def _paths(start: str, fields: FieldSet) -> Iterator[str]:
    told = sorted((start + shown(name), below) for name, below in fields.items() if name != SELF)
    for path, below in told:
        if _has_self(below):
            yield path
    for path, below in told:
        yield from _paths(path, below)


def shown(name: str) -> str:
    """A name as paths have it: ``.spec``, ``[port=80,protocol="TCP"]``, ``[="a"]``."""
    kind, said = name[:2], name[2:]
    if kind == "f:":
        return f".{said}"
    if kind == "i:":
        return f"[{said}]"
    value = _decode(said)
    if kind == "v:":
        return f"[={_text(value)}]"
    return f"[{','.join(f'{key}={_text(value[key])}' for key in sorted(value))}]"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def read_fields(fields: object) -> FieldSet:
    """A set that somebody else wrote, with its names as we write them.

    What begins with an unknown letter is left out.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(fields, dict):
        raise ValueError("no object")
    try:
        return _read(fields)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _read(fields: Mapping[str, Any]) -> FieldSet:
    found: FieldSet = {}
    for name, below in fields.items():
        if not isinstance(below, dict):
            raise ValueError(f"{name}: no object")
        known = _read_name(name)
        if known and (name != SELF or not below):
            inner = _read(below)
            found = union(found, {known: inner})
    return {name: below for name, below in found.items() if name != SELF or len(found) > 1}


def _read_name(name: str) -> str:
    """The name as we write it; empty for one that nobody knows."""
    if name == SELF:
        return name
    kind, said = name[:2], name[2:]
    if kind[1:] != ":":
        raise ValueError(f"{name}: missing colon")
    if kind == "f:":
        return name
    if kind == "i:":
        return f"i:{int(said)}"
    if kind not in {"k:", "v:"}:
        return ""
    try:
        value = _decode(said)
    except msgspec.DecodeError as error:
        raise ValueError(f"{name}: {error}") from None
    if kind == "v:":
        return element_name(kind, value)
    if not isinstance(value, dict):
        raise ValueError(f"{name}: no object")
    return element_name(kind, {key: value[key] for key in sorted(value)})
