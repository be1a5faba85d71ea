"""kubectl's own ways of server-side apply: taking over from its earlier self."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from netproxy.api.objects import Object
from netproxy.api.resources import SERVICES
from netproxy.apiserver import schema
from netproxy.apiserver.patch import (
    apply_configuration,
    apply_json_patch,
    apply_strategic,
    record_update,
)
from tests.unit.apiserver.patch.things import (
    applied,
    changed,
    conflict,
    owners,
    thing,
    updated,
)

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def last_applied(obj: Object) -> Any:
    return json.loads(obj["metadata"]["annotations"][LAST_APPLIED])


def annotated(spec: Any, said: Object) -> Object:
    text = json.dumps(said)
    return thing(spec, metadata={"annotations": {LAST_APPLIED: text}})


def test_kubectl_takes_over_from_itself() -> None:
    said = thing({"name": "n", "notes": {"a": "1"}})
    old = updated(None, annotated(said["spec"], said), "kubectl-client-side-apply")
    wanted = thing({"name": "m", "notes": {"a": "2"}})
    made = applied(old, wanted, "kubectl")
    assert made["spec"] == wanted["spec"]
    assert last_applied(made) == wanted
    assert made["metadata"]["annotations"][LAST_APPLIED].endswith("}\n")
    assert "conflicts with" in conflict(old, wanted, "argo").message


def test_kubectl_does_not_take_over_from_others() -> None:
    said = thing({"name": "n", "size": 1})
    old = updated(None, annotated(said["spec"], said), "kubectl-client-side-apply")
    old = updated(old, changed(old, {"size": 2}), "u")
    error = conflict(old, thing({"name": "m", "size": 3}), "kubectl")
    assert error.message == 'Apply failed with 1 conflict: conflict with "u" using v1: .spec.size'


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"apiVersion": "v2"}', '{"apiVersion": "v1", "spec": 1}']
)
def test_an_annotation_that_means_nothing_takes_over_nothing(text: str) -> None:
    obj = thing({"name": "n"}, metadata={"annotations": {LAST_APPLIED: text}})
    old = updated(None, obj, "kubectl-client-side-apply")
    conflict(old, thing({"name": "m"}), "kubectl")


def test_an_annotation_is_kept_up_to_date_but_not_made() -> None:
    made = applied(None, thing({"name": "n"}), "kubectl")
    assert "annotations" not in made["metadata"]
    old = updated(None, annotated({"name": "n"}, thing({"name": "n"})), "kubectl")
    assert last_applied(applied(old, thing({"size": 1}), "b")) == thing({"name": "n"})
    own = thing({"size": 1}, metadata={"annotations": {"a": "<b>", LAST_APPLIED: "{}"}})
    made = applied(old, own, "kubectl", force=True)
    text = made["metadata"]["annotations"][LAST_APPLIED]
    assert text == (
        '{"apiVersion":"v1","kind":"Thing","metadata":{"annotations":{"a":"\\u003cb\\u003e"},'
        '"name":"x"},"spec":{"size":1}}\n'
    )


def test_an_annotation_that_is_too_long_goes() -> None:
    old = updated(None, annotated({"name": "n"}, thing({"name": "n"})), "kubectl")
    made = applied(old, thing({"notes": {"long": "x" * 300_000}}), "kubectl")
    assert made["metadata"]["annotations"] == {}


class Recorded:
    """What kubectl 1.36 asked of a real API server, and what that said, Kubernetes 1.36.2.

    ``managedFields`` are left out of the answers, but kubectl sends them back once: a union of
    what the server had said before.
    """

    def __init__(self) -> None:
        file = Path(__file__).parents[3] / "data" / "patches" / "apply.jsonl"
        self._rows = [json.loads(line) for line in file.read_text().splitlines()]
        self._time = datetime(2026, 11, 23, 1, 33, 58, tzinfo=UTC)

    def play(self, old: Object | None) -> tuple[Any, Object, Object]:
        """The next request: its body, what comes of it, and what the server answered."""
        row = self._rows.pop(0)
        self._time += timedelta(seconds=1)
        query = dict(
            pair.split("=") for pair in row["request"]["path"].partition("?")[2].split("&")
        )
        body, how = row["request"]["body"], row["request"]["type"]
        kind, manager = schema.type_of(SERVICES), query["fieldManager"]
        if "apply-patch" in how:
            made = apply_configuration(
                old, body, kind, manager=manager, force="force" in query, now=self._time
            )
        else:
            if "strategic" in how:
                assert old is not None
                new = apply_strategic(old, body, kind)
            elif "json-patch" in how:
                assert old is not None
                new = apply_json_patch(old, body)
            else:
                # Defaults come before anybody owns them.
                defaults = {"type": "ClusterIP", "sessionAffinity": "None",
                            "internalTrafficPolicy": "Cluster"}  # fmt: skip
                new = {**body, "spec": {**body["spec"], **defaults}}
            made = record_update(old, new, kind, manager=manager, now=self._time)
        answer = row["answer"]
        stored = {
            **answer,
            "metadata": {
                **answer["metadata"], "managedFields": made["metadata"]["managedFields"],
            },
        }  # fmt: skip
        return body, made, stored


def test_kubectl_comes_to_server_side_apply_as_recorded() -> None:
    recorded = Recorded()

    def plain(obj: Object) -> Object:
        metadata = dict(obj["metadata"])
        del metadata["managedFields"], metadata["resourceVersion"]
        return {**obj, "metadata": metadata}

    _, _, live = recorded.play(None)
    assert list(owners(live)) == ["kubectl-client-side-apply"]
    _, made, live = recorded.play(live)
    assert plain(made) == plain(live)
    _, made, live = recorded.play(live)
    assert plain(made) == plain(live)
    before = live["metadata"]["managedFields"]
    _, made, live = recorded.play(live)
    assert plain(made) == plain(live)
    # kubectl makes one entry of its two, which it got from the server.
    patch, made, live = recorded.play(live)
    joined, other = patch[0]["value"]
    updates = {each["manager"]: each["fieldsV1"] for each in before}
    assert joined["fieldsV1"] == updates["kubectl-client-side-apply"]
    assert owners(made) == {
        "~kubectl": joined["fieldsV1"]["f:spec"],
        "~kubectl-last-applied": other["fieldsV1"].get("f:spec"),
    }
    assert plain(made) == plain(live)
    body, made, live = recorded.play(live)
    # The defaults that it owned go; the server puts them in again.
    missing = {"type", "sessionAffinity", "internalTrafficPolicy"}
    assert made["spec"] == {n: v for n, v in live["spec"].items() if n not in missing}
    assert owners(made)["~kubectl"] == {
        "f:ports": {
            'k:{"port":81,"protocol":"TCP"}': {
                ".": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {},
            }
        },
        "f:selector": {},
    }  # fmt: skip
    assert body["spec"]["selector"] == live["spec"]["selector"]
