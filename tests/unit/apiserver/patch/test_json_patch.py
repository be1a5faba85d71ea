"""RFC 6902 as kube-apiserver understands it, and its limits."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from netproxy.api.status import StatusError
from netproxy.apiserver.patch import apply_json_patch
from tests.unit.apiserver.patch.kubectl import (
    Case,
    check_with_kubectl,
    read_cases,
    without_nulls,
)

CASES = read_cases("json")
REFUSED = "the server rejected our request due to an error in our request"


def refused(patch: Any, old: Any = None) -> StatusError:
    with pytest.raises(StatusError) as caught:
        apply_json_patch({} if old is None else old, patch)
    return caught.value


@pytest.mark.parametrize("case", CASES, ids=str)
def test_outcome_is_kubectls(case: Case) -> None:
    before = deepcopy(case)
    if "object" in case.outcome:
        assert without_nulls(apply_json_patch(case.object, case.patch)) == case.outcome["object"]
    else:
        error = refused(case.patch, case.object)
        assert (error.code, error.reason) == (422, "Invalid")
        # The server does not say it, kubectl does; both of them together are worth having.
        assert error.message == f"{REFUSED}: {case.outcome['error']}"
    assert case == before


def test_kubectl_says_it_again(tmp_path: Path) -> None:
    check_with_kubectl(CASES, tmp_path)


def test_an_index_that_is_not_there_is_not_replaced() -> None:
    error = refused([{"op": "replace", "path": "/a/3", "value": 1}], {"a": [1]})
    assert error.message == (
        f"{REFUSED}: replace operation does not apply: doc is missing key: /a/3: missing value"
    )


@pytest.mark.parametrize(
    ("there", "said", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        ({"a": [1, {"b": None}]}, {"a": [1.0, {"b": None}]}, True),
        ({"a": [1]}, {"a": [True]}, False),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ([1], [1, 2], False),
        ([], {}, False),
        ("1", 1, False),
    ],
)
def test_what_is_the_same(there: Any, said: Any, same: bool) -> None:
    patch = [{"op": "test", "path": "/x", "value": said}]
    if same:
        assert apply_json_patch({"x": there}, patch) == {"x": there}
    else:
        assert refused(patch, {"x": there}).message == (
            f"{REFUSED}: testing value /x failed: test failed"
        )


@pytest.mark.parametrize(
    ("patch", "told"),
    [
        ({"op": "add"}, "object into Go value of type []handlers.jsonPatchOp"),
        ("x", "string into Go value of type []handlers.jsonPatchOp"),
        (["a"], "string into Go value of type handlers.jsonPatchOp"),
        ([None], "null into Go value of type handlers.jsonPatchOp"),
        ([{"op": 1}], "number into Go struct field jsonPatchOp.op of type string"),
        (
            [{"op": "add", "path": ["a"]}],
            "array into Go struct field jsonPatchOp.path of type string",
        ),
        (
            [{"op": "move", "path": "/a", "from": {}}],
            "object into Go struct field jsonPatchOp.from of type string",
        ),
    ],
)
def test_what_is_no_patch_is_refused(patch: Any, told: str) -> None:
    error = refused(patch)
    assert (error.code, error.reason) == (400, "BadRequest")
    assert error.message == f"error decoding patch: json: cannot unmarshal {told}"


def test_nothing_is_an_empty_patch() -> None:
    assert apply_json_patch({"a": 1}, None) == {"a": 1}


def test_operations_are_counted() -> None:
    operation = {"op": "add", "path": "/a/-", "value": 1}
    assert len(apply_json_patch({"a": []}, [operation] * 10_000)["a"]) == 10_000
    error = refused([operation] * 10_001)
    assert (error.code, error.reason) == (413, "RequestEntityTooLarge")
    assert error.message == (
        "Request entity is too large: The allowed maximum operations in a JSON patch is 10000, "
        "got 10001"
    )


def test_copies_do_not_fill_the_memory() -> None:
    doubling = [{"op": "copy", "from": "/a", "path": "/a/-"}] * 10_000
    error = refused(doubling, {"a": ["x" * 100]})
    assert error.code == 422
    assert "the accumulated size increase of copy is" in error.message
    assert error.message.endswith("exceeding the limit 3145728")


def test_depth_made_by_operations_is_bounded() -> None:
    deeper = [{"op": "copy", "from": "/a", "path": "/a/b"}] * 10_000
    assert refused(deeper, {"a": {}}).code in {400, 422}


def test_the_root_stays_an_object() -> None:
    error = refused([{"op": "replace", "path": "", "value": []}])
    assert error.message == f"{REFUSED}: the outcome is no object"
    error = refused([{"op": "replace", "path": "", "value": "x"}])
    assert error.message == f"{REFUSED}: replace operation value must be object or array"


def test_values_of_the_patch_are_not_shared() -> None:
    patch = [
        {"op": "add", "path": "/a", "value": {"b": []}},
        {"op": "add", "path": "/a/b/-", "value": 1},
    ]
    assert apply_json_patch({}, patch) == {"a": {"b": [1]}}
    assert apply_json_patch({}, patch) == {"a": {"b": [1]}}
