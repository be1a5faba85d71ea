"""Histories of updates and applies: ownership is never invented and never lost."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from netproxy.api.objects import Object
from netproxy.api.status import StatusError
from netproxy.apiserver.patch.comparing import compare_objects
from netproxy.apiserver.patch.fields import (
    FieldSet,
    difference,
    has_all,
    intersection,
    outside,
    paths,
    read_fields,
    union,
)
from netproxy.apiserver.patch.merging import named_fields, with_structs
from tests.unit.apiserver.patch.things import LATER, THING, applied, thing, updated

names = st.sampled_from(["a", "b", "c"])
numbers = st.integers(0, 2)
managers = st.sampled_from(["m", "n", "o"])


def struct(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=members)


parts = st.lists(
    st.fixed_dictionaries(
        {"name": names},
        optional={
            "size": numbers,
            "tags": st.lists(names, unique=True, min_size=1, max_size=2),
            "inner": struct(a=names),
        },
    ),
    unique_by=lambda part: part["name"],
    min_size=1,
    max_size=3,
)
specs = struct(
    name=names,
    size=numbers,
    options=struct(fast=st.booleans(), deep=struct(er=names)),
    parts=parts,
    tags=st.lists(names, unique=True, min_size=1, max_size=3),
    words=st.lists(names, max_size=2),
    notes=st.dictionaries(names, names, min_size=1, max_size=2),
    selector=st.dictionaries(names, names, max_size=2),
)
labels = st.dictionaries(names, names, min_size=1, max_size=2)
things = st.builds(
    lambda spec, metadata: thing(spec, metadata=metadata), specs, struct(labels=labels)
)


class Step(NamedTuple):
    """One write of a history."""

    is_apply: bool
    manager: str
    said: Object
    force: bool


steps = st.lists(st.builds(Step, st.booleans(), managers, things, st.booleans()), max_size=6)


def played(history: list[Step]) -> Object:
    """A thing after all of these, as far as nothing was in their way."""
    obj = updated(None, thing({"name": "a"}), "m")
    for step in history:
        obj = after(obj, step)
    return obj


def after(obj: Object, step: Step) -> Object:
    if not step.is_apply:
        return updated(obj, {**step.said, "metadata": {**step.said["metadata"]}}, step.manager)
    try:
        return applied(obj, step.said, step.manager, force=step.force)
    except StatusError:
        return obj


def owned(obj: Object) -> dict[tuple[str, str], FieldSet]:
    return {
        (entry["manager"], entry["operation"]): entry["fieldsV1"]
        for entry in obj["metadata"].get("managedFields", [])
    }


def present(obj: Object) -> FieldSet:
    """All fields there are, with structs that Go always has."""
    named = with_structs(named_fields(plain(obj), THING) or {}, THING)
    return union(compare_objects({}, obj, THING).changed, named)


def plain(obj: Object) -> Object:
    metadata = {n: value for n, value in obj["metadata"].items() if n != "managedFields"}
    return {**obj, "metadata": metadata}


@given(steps)
def test_nobody_owns_what_is_not_there(history: list[Step]) -> None:
    obj = played(history)
    for fields in owned(obj).values():
        assert fields
        assert read_fields(fields) == fields
        assert list(paths(difference(fields, present(obj)))) == []


@given(steps, managers, things)
def test_an_update_gives_fields_to_who_changed_them_and_to_nobody_else(
    history: list[Step], manager: str, said: Object
) -> None:
    old = played(history)
    new = updated(old, said, manager)
    assert plain(new) == said
    change = compare_objects(old, new, THING)
    before, now = owned(old), owned(new)
    for owner in {**before, **now}:
        kept = difference(difference(before.get(owner, {}), change.changed), change.removed)
        if owner == (manager, "Update"):
            kept = union(kept, change.changed)
        assert now.get(owner, {}) == kept


@given(steps, managers, things, st.booleans())
def test_an_apply_owns_what_it_names_and_takes_only_by_force(
    history: list[Step], manager: str, said: Object, force: bool
) -> None:
    old = played(history)
    before = deepcopy(old)
    try:
        new = applied(old, said, manager, force=force, now=LATER)
    except StatusError as error:
        conflicts = error.causes
        assert conflicts
        assert not force
        return
    finally:
        assert old == before
    named = named_fields(plain(said), THING) or {}
    mine = (manager, "Apply")
    assert owned(new).get(mine, {}) == outside(
        named, {"f:apiVersion": {}, "f:kind": {}, "f:metadata": {"f:name": {}}}
    )
    # All that was named is as it was named.
    missing = compare_objects(said, new, THING)
    assert intersection(named, union(missing.changed, missing.removed)) == {}
    change = compare_objects(old, new, THING)
    for owner, fields in owned(old).items():
        if owner != mine:
            if not force:
                assert intersection(fields, change.changed) == {}
            assert owned(new).get(owner, {}) == difference(
                difference(fields, change.changed), change.removed
            )
    # Nothing goes but what was this owner's, and what was in it.
    last = owned(old).get(mine, {})
    assert outside(change.removed, last) == {} or has_all(union(present(old), last), change.removed)
    assert applied(new, said, manager, force=force) is new


@given(steps, managers, things)
def test_an_apply_of_what_is_there_changes_nothing_and_is_refused_by_nobody(
    history: list[Step], manager: str, said: Object
) -> None:
    obj = updated(played(history), said, "somebody")
    made = applied(obj, said, manager)
    mine = owned(obj).get((manager, "Apply"), {})
    if not mine:
        assert plain(made) == plain(obj)
    assert applied(made, said, manager, now=LATER) is made


@given(things, things)
def test_who_is_alone_gets_what_it_says(first: Object, second: Object) -> None:
    made = applied(applied(None, first, "m"), second, "m")
    wanted = applied(None, second, "m")
    assert sorted_lists(plain(made)) == sorted_lists(plain(wanted))
    assert owned(made) == owned(wanted)


@given(things, things, things)
def test_who_goes_leaves_what_others_own(first: Object, second: Object, third: Object) -> None:
    both = applied(applied(None, first, "m", force=True), second, "n", force=True)
    left = applied(both, thing(), "m")
    named = named_fields(second, THING) or {}
    change = compare_objects(second, left, THING)
    assert intersection(named, union(change.changed, change.removed)) == {}
    alone = applied(left, third, "n")
    wanted = applied(None, third, "n")
    assert sorted_lists(plain(alone)) == sorted_lists(plain(wanted))


def sorted_lists(value: Any) -> Any:
    """Lists whose order does not matter here, in one order; and nothing that is empty."""
    if isinstance(value, dict):
        made = {name: sorted_lists(inner) for name, inner in value.items()}
        return {name: inner for name, inner in made.items() if inner not in ({}, [])}
    if isinstance(value, list):
        return sorted(map(sorted_lists, value), key=lambda each: json.dumps(each, sort_keys=True))
    return value
