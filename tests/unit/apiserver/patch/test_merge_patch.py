"""RFC 7396: its own examples, kubectl's outcomes, and what is no patch."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from netproxy.api.status import StatusError
from netproxy.apiserver.patch import apply_merge_patch
from tests.unit.apiserver.patch.kubectl import (
    Case,
    check_with_kubectl,
    read_cases,
    without_nulls,
)

CASES = read_cases("merge")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_outcome_is_kubectls(case: Case) -> None:
    before = deepcopy(case)
    made = apply_merge_patch(case.object, case.patch)
    if "object" in case.outcome:
        assert without_nulls(made) == case.outcome["object"]
    assert case == before


def test_kubectl_says_it_again(tmp_path: Path) -> None:
    check_with_kubectl(CASES, tmp_path)


@pytest.mark.parametrize(
    ("old", "patch", "new"),
    [
        # Appendix A of the RFC, as far as it is about objects.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_examples_of_the_rfc(old: Any, patch: Any, new: Any) -> None:
    assert apply_merge_patch(old, patch) == new


@pytest.mark.parametrize(
    ("patch", "kind"), [([], "array"), ("x", "string"), (1, "number"), (True, "bool")]
)
def test_a_patch_that_is_no_object_is_refused(patch: Any, kind: str) -> None:
    with pytest.raises(StatusError) as caught:
        apply_merge_patch({}, patch)
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    assert caught.value.message == (
        f"error decoding patch: json: cannot unmarshal {kind} into Go value of type "
        "map[string]interface {}"
    )


def test_a_patch_that_is_too_deep_is_refused() -> None:
    patch: Any = {}
    for _ in range(100_000):
        patch = {"a": patch}
    with pytest.raises(StatusError, match="nested too deeply") as caught:
        apply_merge_patch({}, patch)
    assert caught.value.code == 400
