"""Patches of anything: what they promise for every object and every patch."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from netproxy.api.resources import CONFIG_MAPS
from netproxy.api.status import StatusError
from netproxy.apiserver import schema
from netproxy.apiserver.patch import apply_json_patch, apply_merge_patch, apply_strategic
from netproxy.apiserver.patch.json_values import is_same

names = st.sampled_from(["a", "b", "a/b", "~c", "", "0", "$patch"])
plain_names = st.sampled_from(["a", "b", "c", "d"])
scalars = st.integers(-3, 3) | st.booleans() | st.sampled_from(["", "x", "y"]) | st.just(1.5)


def values(name: st.SearchStrategy[str], leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(name, inner, max_size=3),
        max_leaves=12,
    )


def objects(leaf: st.SearchStrategy[Any] = scalars) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(plain_names, values(plain_names, leaf), max_size=4)


def merge_patch_between(old: Any, new: Any) -> dict[str, Any]:
    """The smallest merge patch that leads from one object to another one without nulls."""
    patch: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        there = old.get(name)
        if isinstance(there, dict) and isinstance(value, dict):
            if inner := merge_patch_between(there, value):
                patch[name] = inner
        elif name not in old or not is_same(there, value):
            # Where there was no object an empty one has to be said, and comes without old members.
            patch[name] = value
    return patch


anything = values(names, scalars | st.none())
pointers = st.lists(names, max_size=3).map(
    lambda parts: "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)
)
operations = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test"])},
    optional={
        "path": pointers | st.sampled_from(["/a/0", "/a/-", "/a/-1", "nowhere"]),
        "from": pointers,
        "value": anything,
    },
)


@given(objects(), objects())
def test_a_merge_patch_between_two_leads_from_one_to_the_other(old: Any, new: Any) -> None:
    assert is_same(apply_merge_patch(old, merge_patch_between(old, new)), new)


@given(objects(scalars | st.none()), objects(scalars | st.none()))
def test_a_merge_patch_twice_is_a_merge_patch_once(old: Any, patch: Any) -> None:
    before = deepcopy((old, patch))
    once = apply_merge_patch(old, patch)
    assert is_same(apply_merge_patch(once, patch), once)
    assert (old, patch) == before


@given(objects(), st.lists(operations, max_size=5))
def test_a_json_patch_changes_all_or_nothing(old: Any, patch: Any) -> None:
    before = deepcopy((old, patch))
    try:
        made = apply_json_patch(old, patch)
    except StatusError as error:
        made, code = None, error.code
        assert code == 422
    assert (old, patch) == before
    if made is not None:
        # One after the other, in patches of their own, comes to the same.
        for operation in patch:
            old = apply_json_patch(old, [operation])
        assert is_same(old, made)


@given(objects(), plain_names, anything)
def test_what_a_json_patch_adds_is_there_and_can_be_moved_back(
    old: Any, name: str, value: Any
) -> None:
    path, other = f"/{name}", "/elsewhere"
    added = apply_json_patch(old, [{"op": "add", "path": path, "value": value}])
    assert is_same(added[name], value)
    test = {"op": "test", "path": path, "value": value}
    moved = [test, {"op": "move", "from": path, "path": other}]
    back = [{"op": "move", "from": other, "path": path}, test]
    assert is_same(apply_json_patch(added, moved + back), added)
    removed = apply_json_patch(added, [{"op": "remove", "path": path}])
    assert removed == {key: inner for key, inner in old.items() if key != name}


def without_lists(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    inner = st.recursive(
        leaf, lambda each: st.dictionaries(plain_names, each, max_size=3), max_leaves=12
    )
    return st.dictionaries(plain_names, inner, max_size=4)


@given(without_lists(scalars), without_lists(scalars | st.none()))
def test_without_lists_a_strategic_merge_patch_is_a_merge_patch(old: Any, patch: Any) -> None:
    kind = schema.type_of(CONFIG_MAPS)
    assert is_same(apply_strategic(old, patch, kind), apply_merge_patch(old, patch))


@given(anything)
def test_whatever_is_sent_is_applied_or_refused(patch: Any) -> None:
    old = {"metadata": {"name": "x", "finalizers": ["a"]}, "data": {"a": "b"}}
    kind = schema.type_of(CONFIG_MAPS)
    ways: list[Callable[[], Any]] = [
        lambda: apply_merge_patch(old, patch),
        lambda: apply_json_patch(old, patch),
        lambda: apply_strategic(old, patch, kind),
    ]
    for way in ways:
        try:
            assert isinstance(way(), dict)
        except StatusError as error:
            code = error.code
            assert 400 <= code < 500
