"""Who owns which fields after requests of every kind."""

from __future__ import annotations

from pathlib import Path

from tests.unit.apiserver.asking import (
    APPLY,
    DEPLOYMENTS,
    JSON_PATCH,
    SERVICES,
    deployment,
    serve,
    service,
)

_PORT_80 = 'k:{"port":80,"protocol":"TCP"}'


def test_who_makes_a_service_owns_its_defaults_and_nothing_that_was_allocated(
    tmp_path: Path,
) -> None:
    with serve(tmp_path) as api:
        told = api.make(SERVICES, service())
    ports: dict[str, object] = {
        ".": {},
        _PORT_80: {".": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}},
    }
    assert told.entries == {
        "maker": {
            "f:spec": {
                "f:internalTrafficPolicy": {},
                "f:ports": ports,
                "f:selector": {},
                "f:sessionAffinity": {},
                "f:type": {},
            }
        }
    }


def test_who_applies_a_service_owns_what_it_says_and_no_defaults(tmp_path: Path) -> None:
    with serve(tmp_path) as api:
        said = service()
        told = api.patch(
            f"{SERVICES}/web", said, sent=APPLY, query="fieldManager=a&fieldValidation=Strict"
        )
    assert told.code == 201
    assert told.entries == {
        "a": {"f:spec": {"f:ports": {_PORT_80: {".": {}, "f:port": {}}}, "f:selector": {}}}
    }


def test_a_replacement_that_leaves_out_defaults_takes_them_from_nobody(
    tmp_path: Path,
) -> None:
    with serve(tmp_path) as api:
        made = api.make(SERVICES, service(sessionAffinity="None"))
        new = service(selector={"app": "other"})
        told = api.ask("PUT", f"{SERVICES}/web?fieldManager=other", new)
    assert told.code == 200
    kept = {"f:spec": {**made.entries["maker"]["f:spec"]}}
    del kept["f:spec"]["f:selector"]
    assert told.entries == {"maker": kept, "other": {"f:spec": {"f:selector": {}}}}


def test_who_scales_owns_the_replicas(tmp_path: Path) -> None:
    with serve(tmp_path) as api:
        api.patch(f"{DEPLOYMENTS}/web", deployment(replicas=2), sent=APPLY, query="fieldManager=a")
        scaled = api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 5}})
        told = api.ask("GET", f"{DEPLOYMENTS}/web")
        assert (scaled.code, scaled.body["kind"]) == (200, "Scale")
        assert scaled.body["spec"] == {"replicas": 5}
        assert told.body["spec"]["replicas"] == 5
        assert "f:replicas" not in told.entries["a"]["f:spec"]
        assert told.entries["changer/scale"] == {"f:spec": {"f:replicas": {}}}
        back = api.patch(
            f"{DEPLOYMENTS}/web", deployment(replicas=2), sent=APPLY, query="fieldManager=a"
        )
    assert back.code == 409
    assert back.body["details"]["causes"] == [
        {
            "field": ".spec.replicas",
            "message": 'conflict with "changer" with subresource "scale" using apps/v1',
            "reason": "FieldManagerConflict",
        }
    ]


def test_a_scale_is_patched_replaced_and_applied(tmp_path: Path) -> None:
    with serve(tmp_path) as api:
        api.make(DEPLOYMENTS, deployment())
        path = f"{DEPLOYMENTS}/web/scale"
        patch = [{"op": "replace", "path": "/spec/replicas", "value": 3}]
        patched = api.patch(path, patch, sent=JSON_PATCH)
        assert patched.body["spec"] == {"replicas": 3}
        said = {**patched.body, "spec": {"replicas": 4}}
        assert (api.ask("PUT", path, said)).body["spec"] == {"replicas": 4}
        stale = api.ask("PUT", path, said)
        assert (stale.code, stale.body["reason"]) == (409, "Conflict")
        applied = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"name": "web"},
            "spec": {"replicas": 6},
        }
        refused = api.patch(path, applied, sent=APPLY, query="fieldManager=a")
        assert refused.code == 409
        forced = api.patch(path, applied, sent=APPLY, query="fieldManager=a&force=true")
        assert (forced.code, forced.body["spec"]) == (200, {"replicas": 6})
        told = api.ask("GET", f"{DEPLOYMENTS}/web")
    assert told.body["spec"]["replicas"] == 6
    assert told.body["metadata"]["generation"] == 4
    assert told.entries["a/scale"] == {"f:spec": {"f:replicas": {}}}


def test_a_scale_keeps_its_name(tmp_path: Path) -> None:
    with serve(tmp_path) as api:
        api.make(DEPLOYMENTS, deployment())
        told = api.patch(f"{DEPLOYMENTS}/web/scale", {"metadata": {"name": "other"}})
    assert told.code == 400
