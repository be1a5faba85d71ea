"""The scale subresource: who owns the number of replicas."""

from __future__ import annotations

from typing import Any

import pytest

from netproxy.api.objects import Object
from netproxy.api.resources import DEPLOYMENTS
from netproxy.api.status import StatusError
from netproxy.apiserver import schema
from netproxy.apiserver.patch import apply_configuration, record_update
from tests.unit.apiserver.patch.things import LATER, NOW, owners

SCALE = schema.type_of(DEPLOYMENTS, "scale")


def deployment() -> Object:
    new = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 2, "paused": True},
    }
    return record_update(None, new, schema.type_of(DEPLOYMENTS), manager="alice", now=NOW)


def scale(replicas: int | None) -> Object:
    spec = {} if replicas is None else {"replicas": replicas}
    metadata: Any = {"name": "web", "managedFields": [{"manager": "is not said here"}]}
    return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": spec}


def test_who_scales_owns_the_replicas() -> None:
    made = record_update(
        deployment(), scale(3), SCALE, manager="kubectl", now=LATER, subresource="scale"
    )
    assert (made["kind"], made["spec"]) == ("Scale", {"replicas": 3})
    assert owners(made) == {
        "alice": {"f:paused": {}},
        "kubectl/scale": {"f:replicas": {}},
    }
    entry = made["metadata"]["managedFields"][1]
    assert (entry["apiVersion"], entry["time"]) == ("apps/v1", "2026-11-23T01:40:00Z")


def test_who_scales_to_what_is_there_owns_nothing() -> None:
    old = deployment()
    made = record_update(old, scale(2), SCALE, manager="x", now=LATER, subresource="scale")
    assert made["metadata"]["managedFields"] == old["metadata"]["managedFields"]


def test_nothing_said_is_none() -> None:
    made = record_update(
        deployment(), scale(None), SCALE, manager="x", now=LATER, subresource="scale"
    )
    assert made["spec"] == {"replicas": 0}
    assert owners(made)["x/scale"] == {"f:replicas": {}}


def test_a_scale_can_be_applied() -> None:
    def apply(replicas: int, *, force: bool = False) -> Object:
        said = {**scale(replicas), "metadata": {"name": "web"}}
        return apply_configuration(
            deployment(), said, SCALE, manager="a", force=force, now=LATER, subresource="scale"
        )

    assert owners(apply(2)) == {
        "~a/scale": {"f:replicas": {}},
        "alice": {"f:replicas": {}, "f:paused": {}},
    }
    with pytest.raises(StatusError) as caught:
        apply(5)
    assert caught.value.message == (
        'Apply failed with 1 conflict: conflict with "alice" using apps/v1: .spec.replicas'
    )
    forced = apply(5, force=True)
    assert (forced["kind"], forced["spec"]) == ("Scale", {"replicas": 5})
    assert owners(forced) == {"~a/scale": {"f:replicas": {}}, "alice": {"f:paused": {}}}


def test_of_an_object_that_nobody_followed() -> None:
    old = deployment()
    del old["metadata"]["managedFields"]
    made = record_update(old, scale(3), SCALE, manager="x", now=LATER, subresource="scale")
    assert made["metadata"] == {"name": "web"}
