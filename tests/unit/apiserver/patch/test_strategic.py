"""Strategic merge patches: what kubectl makes of them, we make of them."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from netproxy.api.resources import BY_KIND, SERVICES
from netproxy.api.status import StatusError
from netproxy.apiserver import schema
from netproxy.apiserver.patch import apply_strategic
from tests.unit.apiserver.patch.kubectl import (
    Case,
    check_with_kubectl,
    read_cases,
    without_nulls,
)

CASES = read_cases("strategic")
SERVICE = schema.type_of(SERVICES)


def refused(patch: Any, old: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        apply_strategic(old, patch, SERVICE)
    return caught.value


@pytest.mark.parametrize("case", CASES, ids=str)
def test_outcome_is_kubectls(case: Case) -> None:
    before = deepcopy(case)
    kind = schema.type_of(BY_KIND[case.object["apiVersion"], case.object["kind"]])
    if "object" in case.outcome:
        made = apply_strategic(case.object, case.patch, kind)
        assert without_nulls(made) == case.outcome["object"]
    else:
        error = refused(case.patch, case.object)
        assert error.code == 400
        assert error.message.strip() == case.outcome["error"]
    assert case == before


@pytest.mark.slow
def test_kubectl_says_it_again(tmp_path: Path) -> None:
    check_with_kubectl(CASES, tmp_path)


@pytest.mark.parametrize(("patch", "kind"), [([], "array"), ("x", "string"), (1, "number")])
def test_a_patch_that_is_no_object_is_refused(patch: Any, kind: str) -> None:
    error = refused(patch, {})
    assert (error.code, error.reason) == (400, "BadRequest")
    assert error.message == (
        f"json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
    )


def test_lists_of_lists_are_refused() -> None:
    error = refused({"metadata": {"finalizers": [["a"]]}}, {"metadata": {"finalizers": []}})
    assert (error.code, error.reason) == (422, "Invalid")
    assert error.message.endswith(": lists of lists are not supported")


def test_keys_that_cannot_be_keys_are_no_keys_of_anything() -> None:
    old = {"spec": {"ports": [{"port": 1}, {"port": 0}]}}
    patch = {"spec": {"ports": [{"port": True, "name": "a"}, {"port": [1]}, {"port": {"a": 1}}]}}
    made = apply_strategic(old, patch, SERVICE)
    assert len(made["spec"]["ports"]) == 5


def test_long_lists_take_no_time() -> None:
    old = {"spec": {"ports": [{"port": port} for port in range(20_000)]}}
    patch = {"spec": {"ports": [{"port": port, "name": "x"} for port in range(40_000)]}}
    made = apply_strategic(old, patch, SERVICE)
    assert made["spec"]["ports"] == patch["spec"]["ports"]


def test_a_patch_that_is_too_deep_is_refused() -> None:
    patch: Any = {}
    for _ in range(100_000):
        patch = {"a": patch}
    assert refused(patch, {}).code == 400
