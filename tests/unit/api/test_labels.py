"""Label selectors: what they select, and kubectl's words for those that are not understood."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from netproxy.api.labels import (
    LabelSelector,
    key_faults,
    parse_label_selector,
    read_label_selector,
    value_faults,
)
from netproxy.api.status import StatusError
from tests.kubectl import KUBECTL

SAID: list[tuple[str, str | None]] = [
    (selector, told)
    for selector, told in json.loads(
        (Path(__file__).parents[2] / "data" / "selectors" / "labels.json").read_text()
    )
]
"""Selectors and what kubectl says of them, Kubernetes 1.36; None: they are understood."""


@pytest.mark.parametrize(("selector", "told"), SAID, ids=lambda each: str(each)[:20])
def test_words_are_kubectls(selector: str, told: str | None) -> None:
    if told is None:
        assert not parse_label_selector(selector).is_nothing
        return
    with pytest.raises(StatusError) as caught:
        parse_label_selector(selector)
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    assert caught.value.message == told


def kubectl_words(selector: str, place: Path) -> str | None:
    """``kubectl set selector`` wants equalities only, but it parses first."""
    command = [KUBECTL, "set", "selector", "--local", "-f", str(place), "-o", "json", "--"]
    done = subprocess.run([*command, selector], capture_output=True, text=True, timeout=60)
    start = f'error: couldn\'t parse the selector string "{selector}": '
    told = done.stderr.strip()
    return told.removeprefix(start) if told.startswith(start) else None


@pytest.mark.slow
def test_kubectl_says_it_again(tmp_path: Path) -> None:
    place = tmp_path / "service.json"
    place.write_text('{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}')
    selectors = [selector for selector, _ in SAID]
    with ThreadPoolExecutor(4) as pool:
        told = pool.map(lambda selector: kubectl_words(selector, place), selectors)
    assert dict(zip(selectors, told, strict=True)) == dict(SAID)


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        ("", {}, True),
        (" ", {"a": "b"}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "b"}, True),
        ("a=b", {"a": "c"}, False),
        ("a=b", {}, False),
        ("a=", {"a": ""}, True),
        ("a=", {}, False),
        ("a!=b", {"a": "c"}, True),
        ("a!=b", {"a": "b"}, False),
        ("a!=b", {}, True),
        ("a in (b,c)", {"a": "c"}, True),
        ("a in (b,c)", {"a": "d"}, False),
        ("a in (b,c)", {}, False),
        ("a in ()", {"a": ""}, True),
        ("a in (b,)", {"a": ""}, True),
        ("a in (b,)", {}, False),
        ("a notin (b,c)", {"a": "d"}, True),
        ("a notin (b,c)", {"a": "b"}, False),
        ("a notin (b,c)", {}, True),
        ("a", {"a": ""}, True),
        ("a", {}, False),
        ("!a", {}, True),
        ("!a", {"a": ""}, False),
        ("in in (in,notin)", {"in": "notin"}, True),
        ("a>1", {"a": "2"}, True),
        ("a>1", {"a": "1"}, False),
        ("a<10", {"a": "9"}, True),
        ("a<10", {"a": "x"}, False),
        ("a<10", {}, False),
        ("a=b,c!=d,!e", {"a": "b"}, True),
        ("a=b,c!=d,!e", {"a": "b", "e": ""}, False),
        (" a = b , c in ( d , e ) ", {"a": "b", "c": "e"}, True),
    ],
)
def test_what_is_selected(selector: str, labels: dict[str, str], selected: bool) -> None:
    assert parse_label_selector(selector).matches(labels) is selected


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        (None, {"a": "b"}, False),
        ({}, {"a": "b"}, True),
        ({"matchLabels": {"a": "b"}}, {"a": "b", "c": "d"}, True),
        ({"matchLabels": {"a": "b", "c": "d"}}, {"a": "b"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}, {"a": "b"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
        (
            {
                "matchLabels": {"a": "b"},
                "matchExpressions": [{"key": "c", "operator": "Exists", "values": []}],
            },
            {"a": "b"},
            False,
        ),
    ],
)
def test_selectors_of_workloads(selector: Any, labels: dict[str, str], selected: bool) -> None:
    assert read_label_selector(selector).matches(labels) is selected


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ({"key": "a", "operator": "Is"}, '"Is" is not a valid label selector operator'),
        ({"key": "a"}, '"" is not a valid label selector operator'),
        ({"key": "a", "operator": "In"}, "for 'in', 'notin' operators"),
        ({"key": "a", "operator": "Exists", "values": ["b"]}, "must be empty for exists"),
    ],
)
def test_expressions_that_mean_nothing_are_refused(expression: Any, told: str) -> None:
    with pytest.raises(StatusError, match=told) as caught:
        read_label_selector({"matchExpressions": [expression]})
    assert caught.value.code == 400


def test_nothing_stays_nothing_whatever_it_requires() -> None:
    assert not LabelSelector(is_nothing=True).matches({})


def test_rules_of_keys_and_values() -> None:
    assert list(key_faults("example.com/my.Name_1")) == []
    assert list(value_faults("")) == []
    long_prefix = "x" * 254 + "/a"
    assert list(key_faults(long_prefix)) == ["prefix part must be no more than 253 bytes"]
    assert list(value_faults("a" * 64)) == ["must be no more than 63 bytes"]
