"""Server-side apply: what it merges, removes, refuses, and who owns what afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from netproxy.api.objects import Object
from netproxy.api.resources import SERVICES
from netproxy.api.status import StatusError
from netproxy.apiserver import schema
from netproxy.apiserver.patch import (
    apply_configuration,
)
from tests.unit.apiserver.patch.things import (
    LATER,
    NOW,
    applied,
    changed,
    conflict,
    owners,
    thing,
    times,
    updated,
)


def test_an_object_that_is_not_there_is_made() -> None:
    made = applied(None, thing({"name": "n", "options": {"deep": {"er": "x"}}, "notes": {}}), "a")
    assert made["spec"] == {"name": "n", "options": {"deep": {"er": "x"}}, "notes": {}}
    assert made["metadata"]["managedFields"] == [
        {
            "manager": "a",
            "operation": "Apply",
            "apiVersion": "v1",
            "time": "2026-11-23T01:33:58Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:spec": {
                    "f:name": {},
                    "f:options": {"f:deep": {"f:er": {}}},
                    "f:notes": {},
                }
            },
        }
    ]


def test_structs_and_lists_are_not_owned_keys_and_elements_are() -> None:
    spec = {
        "parts": [{"name": "a", "inner": {"a": "b"}, "tags": []}, {"name": "b"}],
        "tags": ["x"],
        "words": ["w"],
        "notes": {"k": "v"},
        "selector": {"s": "t"},
        "options": {},
    }
    metadata = {"labels": {"l": "m"}, "uid": "u", "namespace": "n", "generateName": "x-"}
    made = applied(None, thing(spec, metadata=metadata), "a")
    (entry,) = made["metadata"]["managedFields"]
    assert entry["fieldsV1"] == {
        "f:metadata": {"f:labels": {"f:l": {}}, "f:generateName": {}},
        "f:spec": {
            "f:parts": {
                'k:{"name":"a"}': {".": {}, "f:name": {}, "f:inner": {"f:a": {}}},
                'k:{"name":"b"}': {".": {}, "f:name": {}},
            },
            "f:tags": {'v:"x"': {}},
            "f:words": {},
            "f:notes": {"f:k": {}},
            "f:selector": {},
            "f:options": {},
        },
    }


def test_keys_of_ports_have_a_default_protocol() -> None:
    service: Object = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}
    kind = schema.type_of(SERVICES)

    def apply(old: Object | None, port: Any, manager: str) -> Object:
        said = {**service, "spec": {"ports": [port]}}
        return apply_configuration(old, said, kind, manager=manager, force=False, now=NOW)

    made = apply(None, {"port": 80}, "a")
    assert owners(made)["~a"] == {
        "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}
    }
    made = apply(made, {"port": 80, "protocol": "TCP", "name": "web"}, "b")
    assert made["spec"] == {"ports": [{"port": 80, "protocol": "TCP", "name": "web"}]}
    made = apply(made, {"port": 80, "protocol": "UDP"}, "c")
    assert [each["protocol"] for each in made["spec"]["ports"]] == ["TCP", "UDP"]


def test_what_is_not_applied_any_more_goes() -> None:
    first = thing(
        {
            "name": "n",
            "size": 1,
            "options": {"fast": True},
            "parts": [{"name": "a", "size": 1}, {"name": "b"}],
            "tags": ["x", "y"],
            "words": ["w"],
            "notes": {"a": "1", "b": "2"},
            "selector": {"a": "b"},
        },
        metadata={"labels": {"l": "m"}},
    )
    second = thing({"name": "n", "parts": [{"name": "a"}], "tags": ["y"], "notes": {"b": "2"}})
    made = applied(applied(None, first, "a"), second, "a", now=LATER)
    assert made["spec"] == second["spec"]
    assert "labels" not in made["metadata"]
    assert owners(made) == owners(applied(None, second, "a"))
    assert times(made) == {"a": "2026-11-23T01:40:00Z"}


def test_what_others_own_stays() -> None:
    made = applied(None, thing({"size": 1, "notes": {"a": "1"}, "parts": [{"name": "p"}]}), "a")
    made = applied(made, thing({"size": 1, "notes": {"a": "1"}, "parts": [{"name": "p"}]}), "b")
    made = applied(made, thing({"name": "n"}), "a")
    assert made["spec"] == {
        "size": 1, "notes": {"a": "1"}, "parts": [{"name": "p"}], "name": "n",
    }  # fmt: skip
    assert owners(made) == {
        "~a": {"f:name": {}},
        "~b": {
            "f:size": {},
            "f:notes": {"f:a": {}},
            "f:parts": {'k:{"name":"p"}': {".": {}, "f:name": {}}},
        },
    }
    assert applied(made, thing(), "b")["spec"] == {"name": "n"}


def test_what_an_update_owns_stays() -> None:
    made = applied(None, thing({"notes": {"a": "1"}, "size": 1}), "a")
    made = updated(made, changed(made, {"size": 2, "notes": {"a": "1", "b": "2"}}), "u")
    made = applied(made, thing({"name": "n"}), "a")
    assert made["spec"] == {"notes": {"b": "2"}, "size": 2, "name": "n"}
    assert owners(made) == {
        "~a": {"f:name": {}},
        "u": {"f:size": {}, "f:notes": {"f:b": {}}},
    }


def test_what_nobody_owns_stays_and_goes_with_its_element() -> None:
    made = applied(None, thing({"parts": [{"name": "a"}]}), "a")
    # Defaults, which the server puts in.
    made = changed(made, {"size": 7, "parts": [{"name": "a", "size": 3}]})
    again = applied(made, thing({"parts": [{"name": "a"}], "name": "n"}), "a")
    assert again["spec"] == {"size": 7, "parts": [{"name": "a", "size": 3}], "name": "n"}
    assert applied(made, thing({"name": "n"}), "a")["spec"] == {"size": 7, "name": "n"}


def test_an_element_goes_even_if_others_have_fields_in_it() -> None:
    made = applied(None, thing({"parts": [{"name": "a"}]}), "a")
    made = updated(made, changed(made, {"parts": [{"name": "a", "size": 3}]}), "u")
    gone = applied(made, thing({"name": "n"}), "a")
    assert gone["spec"] == {"name": "n"}
    assert owners(gone) == {"~a": {"f:name": {}}}


def test_the_same_value_is_owned_together() -> None:
    made = updated(None, thing({"name": "n", "size": 1}), "u")
    made = applied(made, thing({"name": "n"}), "a")
    assert owners(made) == {"~a": {"f:name": {}}, "u": {"f:name": {}, "f:size": {}}}


def test_a_value_of_somebody_else_is_a_conflict() -> None:
    made = updated(None, thing({"name": "n", "size": 1}), "u")
    error = conflict(made, thing({"name": "other", "size": 1}), "a")
    message = 'Apply failed with 1 conflict: conflict with "u" using v1: .spec.name'
    assert error.message == message
    assert error.to_object() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "Conflict",
        "details": {
            "causes": [
                {
                    "reason": "FieldManagerConflict",
                    "message": 'conflict with "u" using v1',
                    "field": ".spec.name",
                }
            ]
        },
        "code": 409,
    }


def test_all_conflicts_are_told() -> None:
    made = updated(None, thing({"name": "n", "parts": [{"name": "a", "size": 1}]}), "u")
    made = applied(made, thing({"size": 1, "tags": ["t"], "words": ["w"]}), "b")
    made = updated(made, {**made, "metadata": {**made["metadata"], "labels": {"l": "1"}}}, "u",
                   "status")  # fmt: skip
    wanted = thing(
        {
            "name": "m", "parts": [{"name": "a", "size": 2}], "size": 2, "tags": ["x"],
            "words": ["w", "x"],
        },
        metadata={"labels": {"l": "2"}},
    )  # fmt: skip
    error = conflict(made, wanted, "a")
    assert error.message == (
        'Apply failed with 5 conflicts: conflicts with "b":\n'
        "- .spec.size\n"
        "- .spec.words\n"
        'conflicts with "u" using v1:\n'
        "- .spec.name\n"
        '- .spec.parts[name="a"].size\n'
        'conflicts with "u" with subresource "status" using v1:\n'
        "- .metadata.labels.l"
    )
    assert [(each.field, each.reason, each.message) for each in error.causes][-1] == (
        ".metadata.labels.l",
        "FieldManagerConflict",
        'conflict with "u" with subresource "status" using v1',
    )


def test_force_takes_fields() -> None:
    made = updated(None, thing({"name": "n", "size": 1}), "u")
    made = applied(made, thing({"name": "m"}), "a", force=True)
    assert made["spec"] == {"name": "m", "size": 1}
    assert owners(made) == {"~a": {"f:name": {}}, "u": {"f:size": {}}}
    assert owners(applied(made, thing({"name": "x"}), "b", force=True)) == {
        "~b": {"f:name": {}},
        "u": {"f:size": {}},
    }


def test_elements_of_lists_do_not_conflict() -> None:
    made = applied(None, thing({"parts": [{"name": "a"}], "tags": ["x"], "notes": {"a": "1"}}), "a")
    made = applied(made, thing({"parts": [{"name": "b"}], "tags": ["y"], "notes": {"b": "2"}}), "b")
    assert made["spec"] == {
        "parts": [{"name": "a"}, {"name": "b"}],
        "tags": ["x", "y"],
        "notes": {"a": "1", "b": "2"},
    }


@pytest.mark.parametrize(
    ("live", "said", "made"),
    [
        ("abc", "ab", "abc"),
        ("abc", "cb", "acb"),
        ("abc", "x", "abcx"),
        ("abc", "xb", "axbc"),
        ("abc", "bx", "abcx"),
        ("abc", "cxa", "bcxa"),
        ("abcd", "dax", "bcdax"),
        ("", "ab", "ab"),
        ("ab", "", "ab"),
    ],
)
def test_what_the_configuration_orders_is_in_its_order(live: str, said: str, made: str) -> None:
    old = updated(None, thing({"tags": list(live), "parts": [{"name": n} for n in live]}), "u")
    spec = {"tags": list(said), "parts": [{"name": name} for name in said]}
    found = applied(old, thing(spec), "a")["spec"]
    assert "".join(found["tags"]) == "".join(each["name"] for each in found["parts"])
    assert [each for each in found["tags"] if each in said] == list(said)
    assert "".join(found["tags"]) == made


def test_twins_of_the_live_list_become_one() -> None:
    old = updated(None, thing({"parts": [{"name": "a", "size": 1}, {"name": "a"}]}), "u")
    assert applied(old, thing({"name": "n"}), "a")["spec"]["parts"] == old["spec"]["parts"]
    made = applied(old, thing({"parts": [{"name": "a", "size": 5}]}), "a", force=True)
    assert made["spec"]["parts"] == [{"name": "a", "size": 5}]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"parts": [{"name": "a"}, {"name": "a"}]},
            '.spec.parts: duplicate entries for key [name="a"]',
        ),
        ({"tags": ["a", "b", "a"]}, '.spec.tags: duplicate entries for key [="a"]'),
        (
            {"parts": [{"size": 1}]},
            ".spec.parts: element 0: associative list with keys has an element that omits key "
            'field "name" (and doesn\'t have default value)',
        ),
    ],
)
def test_elements_that_cannot_be_told_apart_are_refused(spec: Any, told: str) -> None:
    for old in (None, updated(None, thing({"parts": [{"name": "a"}], "tags": ["x"]}), "u")):
        with pytest.raises(StatusError) as caught:
            applied(old, thing(spec), "a")
        assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
        assert caught.value.message == (
            f"failed to create typed patch object (/x; /v1, Kind=Thing): {told}"
        )


def test_a_live_list_whose_elements_cannot_be_told_apart_is_refused() -> None:
    old = changed(updated(None, thing({"size": 1}), "u"), {"parts": [{"size": 1}]})
    with pytest.raises(
        StatusError, match=r"failed to create typed live object \(/x; /v1"
    ) as caught:
        applied(old, thing({"parts": [{"name": "a"}]}), "a")
    assert caught.value.code == 400


def test_managed_fields_cannot_be_applied() -> None:
    with pytest.raises(StatusError, match=r"metadata\.managedFields must be nil") as caught:
        applied(None, thing(metadata={"managedFields": []}), "a")
    assert caught.value.code == 400


def test_null_takes_away_and_owns_that() -> None:
    made = updated(None, thing({"name": "n", "size": 1}), "u")
    made = applied(made, thing({"size": None}), "a", force=True)
    assert made["spec"] == {"name": "n"}
    assert owners(made) == {"~a": {"f:size": {}}, "u": {"f:name": {}}}


def test_applying_twice_is_applying_once() -> None:
    said = thing({"parts": [{"name": "a", "size": 1}], "notes": {"a": "1"}})
    once = applied(updated(None, thing({"size": 1}), "u"), said, "a")
    assert applied(once, said, "a", now=LATER) is once


def test_an_object_that_nobody_followed_belongs_to_the_past() -> None:
    old = thing({"name": "n"}, status={"phase": "X"})
    made = applied(old, thing({"size": 1}), "a")
    assert owners(made) == {"~a": {"f:size": {}}, "before-first-apply": {"f:name": {}}}
    assert set(made["metadata"]["managedFields"][1]["fieldsV1"]) == {"f:spec"}
    error = conflict(old, thing({"name": "m"}), "a")
    assert error.message.startswith(
        'Apply failed with 1 conflict: conflict with "before-first-apply"'
    )


def test_status_and_spec_are_applied_apart() -> None:
    both = thing({"name": "n"}, status={"phase": "X"})
    made = applied(None, both, "a")
    assert "status" not in made
    made = applied(made, both, "a", "status", now=LATER)
    assert (made["spec"], made["status"]) == ({"name": "n"}, {"phase": "X"})
    assert owners(made) == {"~a": {"f:name": {}}, "~a/status": None}
    made = applied(made, thing({"name": "n"}), "a")
    assert made["status"] == {"phase": "X"}
    gone = applied(made, thing({"name": "n"}), "a", "status")
    assert "status" not in gone
    assert owners(gone) == {"~a": {"f:name": {}}}


def test_what_nobody_owns_makes_no_entry() -> None:
    made = applied(None, thing(), "a")
    assert made == thing()
