"""Sets of fields: algebra, paths, and what others wrote."""

from __future__ import annotations

from typing import Any

import pytest

from netproxy.apiserver.patch.fields import (
    difference,
    element_name,
    has_all,
    intersection,
    outside,
    paths,
    read_fields,
    union,
)

A: Any = {"f:a": {}}
IN_A: Any = {"f:a": {"f:b": {}}}
A_AND_IN_A: Any = {"f:a": {".": {}, "f:b": {}}}


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ({}, A, A),
        (A, {}, A),
        (A, A, A),
        (A, IN_A, A_AND_IN_A),
        (IN_A, A, A_AND_IN_A),
        (A_AND_IN_A, A, A_AND_IN_A),
        (IN_A, {"f:a": {"f:c": {}}}, {"f:a": {"f:b": {}, "f:c": {}}}),
        (A, {"f:c": {}}, {"f:a": {}, "f:c": {}}),
    ],
)
def test_union(one: Any, other: Any, both: Any) -> None:
    assert union(one, other) == both


@pytest.mark.parametrize(
    ("one", "other", "left"),
    [
        (A, {}, A),
        ({}, A, {}),
        (A, A, {}),
        (A, IN_A, A),
        (IN_A, A, IN_A),
        (A_AND_IN_A, A, IN_A),
        (A_AND_IN_A, IN_A, A),
        (A_AND_IN_A, A_AND_IN_A, {}),
        ({"f:a": {}, "f:c": {}}, A, {"f:c": {}}),
    ],
)
def test_difference_leaves_what_is_below(one: Any, other: Any, left: Any) -> None:
    assert difference(one, other) == left


@pytest.mark.parametrize(
    ("one", "other", "left"),
    [
        (A_AND_IN_A, A, {}),
        (IN_A, A, {}),
        (A, IN_A, A),
        (A_AND_IN_A, IN_A, A),
        ({"f:a": {"f:b": {"f:c": {}}}, "f:d": {}}, IN_A, {"f:d": {}}),
    ],
)
def test_outside_takes_what_is_below(one: Any, other: Any, left: Any) -> None:
    assert outside(one, other) == left


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (A, A, A),
        (A, IN_A, {}),
        (A_AND_IN_A, IN_A, IN_A),
        (A_AND_IN_A, A, A),
        (A, {"f:c": {}}, {}),
        (A, {}, {}),
    ],
)
def test_intersection(one: Any, other: Any, shared: Any) -> None:
    assert intersection(one, other) == shared
    assert intersection(other, one) == shared


def test_parts() -> None:
    assert has_all(A_AND_IN_A, A)
    assert has_all(A_AND_IN_A, IN_A)
    assert not has_all(A, IN_A)
    assert has_all({}, {})


def test_elements_are_named_as_go_writes_them() -> None:
    assert element_name("k:", {"port": 80, "protocol": "TCP"}) == 'k:{"port":80,"protocol":"TCP"}'
    assert element_name("v:", 'a"<ü>&') == 'v:"a\\"\\u003cü\\u003e\\u0026"'


def test_paths_come_as_conflicts_name_them() -> None:
    fields: Any = {
        "f:spec": {
            "f:ports": {
                ".": {},
                'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:targetPort": {}},
                'k:{"port":443,"protocol":"TCP"}': {"f:name": {}},
            },
            "f:clusterIP": {},
        },
        "f:metadata": {"f:finalizers": {'v:"a.b/c"': {}}, "f:labels": {"f:a.b/c": {}}},
        "f:words": {"i:3": {}},
    }
    assert list(paths(fields)) == [
        '.metadata.finalizers[="a.b/c"]',
        ".metadata.labels.a.b/c",
        ".spec.clusterIP",
        ".spec.ports",
        '.spec.ports[port=80,protocol="TCP"]',
        '.spec.ports[port=443,protocol="TCP"].name',
        '.spec.ports[port=80,protocol="TCP"].targetPort',
        ".words[3]",
    ]


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({}, {}),
        ({".": {}, "f:a": {}}, {".": {}, "f:a": {}}),
        ({"f:a": {".": {}}}, {"f:a": {}}),
        ({'k:{ "b": 1, "a": "x" }': {}}, {'k:{"a":"x","b":1}': {}}),
        (
            {'k:{"b":1,"a":2}': {"f:x": {}}, 'k:{"a":2,"b":1}': {"f:y": {}}},
            {'k:{"a":2,"b":1}': {"f:x": {}, "f:y": {}}},
        ),
        ({'v: "a"': {}}, {'v:"a"': {}}),
        ({"i:03": {}}, {"i:3": {}}),
        ({"x:from-the-future": {}, "f:a": {}}, {"f:a": {}}),
    ],
)
def test_what_others_wrote_is_read(said: Any, read: Any) -> None:
    assert read_fields(said) == read


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (None, "no object"),
        ([], "no object"),
        ({"f:a": 1}, "f:a: no object"),
        ({"f:a": {"f:b": None}}, "f:b: no object"),
        ({"a": {}}, "a: missing colon"),
        ({"": {}}, "missing colon"),
        ({"k:{": {}}, "truncated"),
        ({"k:1": {}}, "k:1: no object"),
        ({"v:": {}}, "truncated"),
        ({"i:x": {}}, "invalid literal"),
    ],
)
def test_what_is_no_set_is_refused(said: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_fields(said)


def test_what_is_too_deep_is_refused() -> None:
    said: Any = {}
    for _ in range(100_000):
        said = {"f:a": said}
    with pytest.raises(ValueError, match="nested too deeply"):
        read_fields(said)
