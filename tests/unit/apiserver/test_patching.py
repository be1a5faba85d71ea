"""PATCH of every kind, as far as it is not about owners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.apiserver.asking import (
    APPLY,
    DEPLOYMENTS,
    JSON_PATCH,
    MERGE,
    SERVICES,
    STRATEGIC,
    deployment,
    serve,
    service,
)


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        (
            {"metadata": {"name": "other"}},
            "the name of the object (other) does not match the name on the URL (web)",
        ),
        (
            {"metadata": None},
            "the name of the object (web based on URL) was undeterminable: name must be provided",
        ),
        (
            {"metadata": {"namespace": "other"}},
            "the namespace of the provided object does not match the namespace sent on the "
            "request (other != default)",
        ),
    ],
)
def test_a_patch_makes_no_other_object_of_it(
    tmp_path: Path, patch: dict[str, Any], said: str
) -> None:
    with serve(tmp_path) as api:
        api.make(SERVICES, service())
        told = api.patch(f"{SERVICES}/web", patch)
    assert (told.code, told.body["reason"], told.body["message"]) == (400, "BadRequest", said)


@pytest.mark.parametrize(
    ("sent", "patch"),
    [
        (MERGE, {"spec": {"type": "NodePort"}}),
        (STRATEGIC, {"spec": {"type": "NodePort"}}),
        (JSON_PATCH, [{"op": "replace", "path": "/spec/type", "value": "NodePort"}]),
    ],
)
def test_three_kinds_of_patch_come_to_the_same(tmp_path: Path, sent: str, patch: object) -> None:
    with serve(tmp_path) as api:
        api.make(SERVICES, service())
        told = api.patch(f"{SERVICES}/web", patch, sent=sent)
    assert told.code == 200
    assert told.body["spec"]["type"] == "NodePort"
    assert 30000 <= told.body["spec"]["ports"][0]["nodePort"] <= 32767
    assert told.body["spec"]["externalTrafficPolicy"] == "Cluster"


def test_a_patch_that_changes_nothing_leaves_the_version(tmp_path: Path) -> None:
    with serve(tmp_path) as api:
        made = api.make(SERVICES, service())
        told = api.patch(f"{SERVICES}/web", {"spec": {"type": "ClusterIP"}})
    assert told.body == made.body


def test_a_patch_in_dry_run_is_answered_and_forgotten(tmp_path: Path) -> None:
    with serve(tmp_path) as api:
        made = api.make(SERVICES, service())
        told = api.patch(
            f"{SERVICES}/web", {"metadata": {"labels": {"a": "b"}}}, query="dryRun=All"
        )
        left = api.ask("GET", f"{SERVICES}/web")
    assert told.body["metadata"]["labels"] == {"a": "b"}
    assert left.body == made.body


def test_a_patch_of_an_old_version_is_refused(tmp_path: Path) -> None:
    with serve(tmp_path) as api:
        made = api.make(SERVICES, service())
        version = made.body["metadata"]["resourceVersion"]
        api.patch(f"{SERVICES}/web", {"metadata": {"labels": {"a": "b"}}})
        patch = {"metadata": {"resourceVersion": version, "labels": {"a": "c"}}}
        told = api.patch(f"{SERVICES}/web", patch)
    assert (told.code, told.body["reason"]) == (409, "Conflict")


def test_a_patch_of_nothing_is_not_found_unless_it_is_applied(tmp_path: Path) -> None:
    with serve(tmp_path) as api:
        assert api.patch(f"{SERVICES}/web", {}).code == 404
        applied = api.patch(f"{SERVICES}/web", service(), sent=APPLY, query="fieldManager=a")
        assert applied.code == 201
        other = api.patch(f"{SERVICES}/else", service(), sent=APPLY, query="fieldManager=a")
    assert (other.code, other.body["message"]) == (
        400,
        "the name of the object (web) does not match the name on the URL (else)",
    )


def test_what_is_said_of_a_former_object_makes_no_new_one(tmp_path: Path) -> None:
    former = service()
    former["metadata"]["uid"] = "0-1-2"
    with serve(tmp_path) as api:
        told = api.patch(f"{SERVICES}/web", former, sent=APPLY, query="fieldManager=a")
        assert api.ask("GET", f"{SERVICES}/web").code == 404
    assert told.code == 409
    assert (
        "the provided object specified uid 0-1-2, and no existing object was found"
        in (told.body["message"])
    )


@pytest.mark.parametrize(
    ("sent", "query", "code", "said"),
    [
        (APPLY, "force=true", 422, "fieldManager: Required value: is required for apply patch"),
        (MERGE, "force=true", 422, "force: Forbidden: may not be specified for non-apply patch"),
        (MERGE, "fieldManager=" + "x" * 129, 422, "fieldManager: Invalid value"),
        ("text/plain", "", 415, "the body of the request was in an unknown format"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tmp_path: Path, sent: str, query: str, code: int, said: str
) -> None:
    with serve(tmp_path) as api:
        api.make(SERVICES, service())
        told = api.patch(f"{SERVICES}/web", service(), sent=sent, query=query or "pretty=true")
    assert told.code == code
    assert said in told.body["message"]


def test_unknown_fields_of_a_patch_are_refused_warned_of_or_ignored(tmp_path: Path) -> None:
    patch = {"spec": {"bogus": 1, "sessionAffinity": "ClientIP"}}
    with serve(tmp_path) as api:
        api.make(SERVICES, service())
        strict = api.patch(f"{SERVICES}/web", patch, query="fieldValidation=Strict")
        assert strict.code == 400
        assert 'unknown field "spec.bogus"' in strict.body["message"]
        ignored = api.patch(f"{SERVICES}/web", patch, query="fieldValidation=Ignore")
        assert "Warning" not in ignored.headers
        warned = api.patch(f"{SERVICES}/web", patch, query="fieldValidation=Warn")
    assert 'unknown field \\"spec.bogus\\"' in warned.headers["Warning"]
    assert "bogus" not in warned.body["spec"]
    affinity = {"clientIP": {"timeoutSeconds": 10800}}
    assert warned.body["spec"]["sessionAffinityConfig"] == affinity


def test_a_status_is_patched_alone(tmp_path: Path) -> None:
    ingress = [{"ip": "192.0.2.7"}]
    patch = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"sessionAffinity": "ClientIP"},
        "status": {"loadBalancer": {"ingress": ingress}},
    }
    with serve(tmp_path) as api:
        api.make(SERVICES, service(type="LoadBalancer"))
        told = api.patch(f"{SERVICES}/web/status", patch)
    assert told.body["spec"]["sessionAffinity"] == "None"
    assert told.body["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.7", "ipMode": "VIP"}]


def test_what_is_nowhere_has_details_for_clients_that_look_for_them(tmp_path: Path) -> None:
    with serve(tmp_path) as api:
        api.make(DEPLOYMENTS, deployment())
        for path in ("/api/v1/namespaces/default/nothings/web", f"{DEPLOYMENTS}/web/nothing"):
            told = api.patch(path, {})
            assert (told.code, told.body["details"]) == (404, {})
        assert api.ask("DELETE", f"{DEPLOYMENTS}/web/scale").body["details"] == {}
