"""Updates: who owns which fields after a write that is no apply."""

from __future__ import annotations

from typing import Any

import pytest

from netproxy.api.resources import DEPLOYMENTS, PODS, SERVICES
from netproxy.apiserver import schema
from netproxy.apiserver.patch import record_update
from tests.unit.apiserver.patch.things import (
    LATER,
    NOW,
    applied,
    changed,
    owners,
    thing,
    times,
    updated,
)


def test_who_creates_owns_everything_that_can_be_owned() -> None:
    spec = {
        "name": "n",
        "options": {"fast": True, "deep": {}},
        "parts": [{"name": "p", "size": 1, "tags": ["t"], "inner": {"a": "b"}}],
        "tags": ["x"],
        "words": ["w"],
        "notes": {"k": "v"},
        "selector": {"s": "t"},
    }
    metadata = {"labels": {"l": "m"}, "finalizers": ["f"], "uid": "u", "generation": 3}
    made = updated(None, thing(spec, metadata=metadata), "alice")
    (entry,) = made["metadata"]["managedFields"]
    assert entry == {
        "manager": "alice",
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2026-11-23T01:33:58Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:metadata": {
                "f:labels": {".": {}, "f:l": {}},
                "f:finalizers": {".": {}, 'v:"f"': {}},
            },
            "f:spec": {
                "f:name": {},
                "f:options": {".": {}, "f:fast": {}, "f:deep": {}},
                "f:parts": {
                    ".": {},
                    'k:{"name":"p"}': {
                        ".": {},
                        "f:name": {},
                        "f:size": {},
                        "f:tags": {".": {}, 'v:"t"': {}},
                        "f:inner": {".": {}, "f:a": {}},
                    },
                },
                "f:tags": {".": {}, 'v:"x"': {}},
                "f:words": {},
                "f:notes": {".": {}, "f:k": {}},
                "f:selector": {},
            },
        },
    }
    assert {**made, "metadata": {**made["metadata"], "managedFields": None}} == {
        **thing(spec, metadata=metadata),
        "metadata": {**made["metadata"], "managedFields": None},
    }


def test_who_changes_a_field_owns_it_alone() -> None:
    old = updated(None, thing({"name": "n", "size": 1}), "alice")
    new = updated(old, changed(old, {"size": 2}), "bob", now=LATER)
    assert owners(new) == {"alice": {"f:name": {}}, "bob": {"f:size": {}}}
    assert times(new) == {"alice": "2026-11-23T01:33:58Z", "bob": "2026-11-23T01:40:00Z"}


def test_what_is_gone_has_no_owner() -> None:
    old = updated(None, thing({"name": "n", "notes": {"a": "1", "b": "2"}}), "alice")
    new = updated(old, {**old, "spec": {"notes": {"b": "2"}}}, "bob", now=LATER)
    assert owners(new) == {"alice": {"f:notes": {".": {}, "f:b": {}}}}
    assert times(new) == {"alice": "2026-11-23T01:33:58Z"}
    empty = updated(new, {**new, "spec": {}}, "bob")
    assert "managedFields" not in empty["metadata"]


def test_the_same_manager_goes_on_with_its_entry() -> None:
    old = updated(None, thing({"name": "n"}), "alice")
    new = updated(old, changed(old, {"size": 1}), "alice", now=LATER)
    assert owners(new) == {"alice": {"f:name": {}, "f:size": {}}}
    assert times(new) == {"alice": "2026-11-23T01:40:00Z"}


def test_a_write_that_changes_nothing_changes_nothing() -> None:
    old = updated(None, thing({"name": "n", "parts": [{"name": "p"}]}), "alice")
    for subresource in ("", "status"):
        assert updated(old, dict(old), "bob", subresource, now=LATER) == old
    without = {**old, "metadata": {"name": "x"}}
    assert updated(old, without, "bob", now=LATER) == old


def test_elements_of_lists_have_owners_of_their_own() -> None:
    old = updated(None, thing({"parts": [{"name": "a", "size": 1}], "tags": ["x"]}), "alice")
    spec = {"parts": [{"name": "b"}, {"name": "a", "size": 2}], "tags": ["y", "x"]}
    new = updated(old, changed(old, spec), "bob")
    assert owners(new) == {
        "alice": {
            "f:parts": {".": {}, 'k:{"name":"a"}': {".": {}, "f:name": {}}},
            "f:tags": {".": {}, 'v:"x"': {}},
        },
        "bob": {
            "f:parts": {
                'k:{"name":"a"}': {"f:size": {}},
                'k:{"name":"b"}': {".": {}, "f:name": {}},
            },
            "f:tags": {'v:"y"': {}},
        },
    }
    gone = updated(new, changed(new, {"parts": [{"name": "b"}], "tags": ["x"]}), "carol")
    assert owners(gone) == {
        "alice": {"f:parts": {}, "f:tags": {".": {}, 'v:"x"': {}}},
        "bob": {"f:parts": {'k:{"name":"b"}': {".": {}, "f:name": {}}}},
    }


def test_the_order_of_a_list_has_no_owner() -> None:
    old = updated(None, thing({"parts": [{"name": "a"}, {"name": "b"}]}), "alice")
    new = updated(old, changed(old, {"parts": [{"name": "b"}, {"name": "a"}]}), "bob")
    assert owners(new) == owners(old)


def test_what_is_owned_as_a_whole_changes_hands_as_a_whole() -> None:
    old = updated(None, thing({"words": ["a"], "selector": {"a": "b"}}), "alice")
    new = updated(old, changed(old, {"words": ["a", "b"], "selector": {}}), "bob")
    assert owners(new) == {"bob": {"f:words": {}, "f:selector": {}}}


TWIN: Any = 'k:{"name":"a"}'


@pytest.mark.parametrize(
    ("before", "after", "alice", "bob"),
    [
        ([1, 2], [1, 2], {".": {}, TWIN: {}}, None),
        ([1, 2], [1, 3], {}, {TWIN: {}}),
        ([1, 2], [1], {}, {TWIN: {".": {}, "f:name": {}, "f:size": {}}}),
        ([1, 2], [], {}, None),
        ([1], [1, 2], {}, {TWIN: {}}),
    ],
)
def test_twins_have_one_owner(before: Any, after: Any, alice: Any, bob: Any) -> None:
    def parts(sizes: list[int]) -> Any:
        return [{"name": "a", "size": size} for size in sizes]

    old = updated(None, thing({"parts": parts(before)}), "alice")
    new = updated(old, changed(old, {"parts": parts(after)}), "bob")
    found = {name: fields["f:parts"] for name, fields in owners(new).items() if fields}
    assert found == {
        name: fields for name, fields in (("alice", alice), ("bob", bob)) if fields is not None
    }


def test_lists_with_nameless_elements_leave_owners_as_they_are() -> None:
    old = updated(None, thing({"parts": [{"name": "a"}]}), "alice")
    new = updated(old, changed(old, {"parts": [{"size": 1}], "size": 3}), "bob")
    assert owners(new) == owners(old)
    assert new["spec"] == {"parts": [{"size": 1}], "size": 3}


def test_status_and_spec_have_entries_of_their_own() -> None:
    created = updated(None, thing({"name": "n"}, status={"phase": "X"}), "alice")
    assert owners(created) == {"alice": {"f:name": {}}}
    (entry,) = created["metadata"]["managedFields"]
    assert set(entry["fieldsV1"]) == {"f:spec"}
    new = {**changed(created, {"name": "ignored"}), "status": {"phase": "Y"}}
    written = updated(created, new, "alice", "status", now=LATER)
    main, status = written["metadata"]["managedFields"]
    assert main == entry
    assert (status["subresource"], status["fieldsV1"]) == ("status", {"f:status": {"f:phase": {}}})
    back = updated(written, {**written, "status": {}}, "bob")
    assert back["metadata"]["managedFields"] == written["metadata"]["managedFields"]


def test_fields_that_a_status_leaves_alone() -> None:
    def owned(kind: Any, new: Any) -> Any:
        old = {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x", "managedFields": [
            {"manager": "a", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
             "fieldsV1": {"f:data": {}}}]}}  # fmt: skip
        made = record_update(old, new, schema.type_of(kind), manager="m", now=NOW,
                             subresource="status")  # fmt: skip
        return [e["fieldsV1"] for e in made["metadata"]["managedFields"] if e["manager"] == "m"]

    metadata = {"name": "x", "labels": {"a": "b"}, "ownerReferences": [{"uid": "1"}]}
    new = {"apiVersion": "v1", "kind": "X", "metadata": metadata, "spec": {"nodeName": "x"}}
    labels: Any = {"f:labels": {".": {}, "f:a": {}}}
    references: Any = {"f:ownerReferences": {".": {}, 'k:{"uid":"1"}': {}}}
    assert owned(SERVICES, new) == [{"f:metadata": {**labels, **references}}]
    assert owned(PODS, new) == [{"f:metadata": labels}]
    assert owned(DEPLOYMENTS, new) == [{"f:metadata": references}]


def test_an_object_that_nobody_followed_is_not_followed() -> None:
    old = thing({"name": "n"})
    assert updated(old, thing({"name": "m"}), "alice") == thing({"name": "m"})


@pytest.mark.parametrize("said", [[], [{}]])
def test_managed_fields_can_be_reset(said: Any) -> None:
    old = updated(None, thing({"name": "n"}), "alice")
    new = updated(old, thing({"name": "m"}, metadata={"managedFields": said}), "bob")
    assert new == thing({"name": "m"})
    # Not with a subresource, though.
    kept = updated(old, thing({"name": "n"}, metadata={"managedFields": said}), "bob", "status")
    assert kept == old


def entry(manager: str, fields: Any, **other: Any) -> Any:
    return {
        "manager": manager, "operation": "Apply", "apiVersion": "v1",
        "fieldsType": "FieldsV1", "fieldsV1": fields, **other,
    }  # fmt: skip


def test_managed_fields_that_are_sent_count() -> None:
    old = updated(None, thing({"name": "n", "parts": [{"name": "a"}]}), "alice")
    said = [
        entry("bob", {"f:spec": {"f:parts": {'k:{"name": "a"}': {".": {}}}}}, time="then"),
        entry("carol", {}),
        entry("dave", {"f:spec": {"f:name": {}, "z:unknown": {}}}, operation="Update"),
    ]
    sent = thing(old["spec"], metadata={"managedFields": said})
    new = updated(old, sent, "alice")
    assert owners(new) == {
        "~bob": {"f:parts": {'k:{"name":"a"}': {}}},
        "dave": {"f:name": {}},
    }
    assert times(new) == {"bob": "then", "dave": ""}
    assert owners(updated(old, changed(sent, {"name": "m"}), "alice")) == {
        "~bob": {"f:parts": {'k:{"name":"a"}': {}}},
        "alice": {"f:name": {}},
    }


@pytest.mark.parametrize(
    "said",
    [
        [entry("bob", {}, operation="Create")],
        [entry("bob", {}, fieldsType="FieldsV2")],
        [entry("bob", {}, apiVersion="")],
        [entry("bob", {"f:a": 1})],
        [entry("bob", [])],
        [{}, {}],
        ["bob"],
        "bob",
        {"manager": "bob"},
    ],
)
def test_managed_fields_that_mean_nothing_do_not_count(said: Any) -> None:
    old = updated(None, thing({"name": "n"}), "alice")
    new = updated(old, thing({"name": "n"}, metadata={"managedFields": said}), "bob")
    assert new == old


def test_more_than_ten_updaters_share_an_entry() -> None:
    obj = updated(None, thing({"notes": {"n0": "x"}}), "m0", now=NOW.replace(minute=0))
    for index in range(1, 13):
        notes = {**obj["spec"]["notes"], f"n{index}": "x"}
        now = NOW.replace(minute=index)
        obj = updated(obj, changed(obj, {"notes": notes}), f"m{index}", now=now)
    found = owners(obj)
    assert len(found) == 10
    assert next(iter(found)) == "ancient-changes"
    assert found["ancient-changes"] == {
        "f:notes": {".": {}, "f:n0": {}, "f:n1": {}, "f:n2": {}, "f:n3": {}}
    }
    assert times(obj)["ancient-changes"] == "2026-11-23T01:03:58Z"
    assert owners(applied(obj, thing({"size": 1}), "a"))["~a"] == {"f:size": {}}


def test_applied_entries_are_not_counted_and_come_first() -> None:
    obj = updated(None, thing({"name": "n"}), "u")
    for index in range(12):
        obj = applied(obj, thing({"notes": {f"n{index}": "x"}}), f"a{index:02}")
    assert list(owners(obj)) == [*(f"~a{index:02}" for index in range(12)), "u"]


def test_nobody_is_called_unknown() -> None:
    made = updated(None, thing({"name": "n"}), "")
    assert list(owners(made)) == ["unknown"]


def test_old_states_stay_as_they_are() -> None:
    old = updated(None, thing({"name": "n", "parts": [{"name": "a", "size": 1}]}), "alice")
    before = repr(old)
    updated(old, changed(old, {"parts": [{"name": "a", "size": 2}]}), "bob")
    applied(old, thing({"parts": [{"name": "a", "size": 3}]}), "bob", force=True)
    assert repr(old) == before
