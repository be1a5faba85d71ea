"""Events have two faces, and each client sees its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.apiserver.asking import APPLY, JSON_PATCH, MERGE, STRATEGIC, serve

_NEW = "/apis/events.k8s.io/v1/namespaces/default/events"
_CORE = "/api/v1/namespaces/default/events"
_TIME = "2026-11-23T01:02:03.000004Z"


def _event(**said: object) -> dict[str, Any]:
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "it", "namespace": "default"},
        "eventTime": _TIME,
        "reportingController": "example.com/it",
        "reportingInstance": "here",
        "action": "Doing",
        "reason": "Done",
        "type": "Normal",
        "note": "first",
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        **said,
    }


def test_what_was_written_is_answered_as_it_was_written(tmp_path: Path) -> None:
    with serve(tmp_path) as api:
        made = api.make(_NEW, _event())
        assert (made.body["apiVersion"], made.body["note"]) == ("events.k8s.io/v1", "first")
        assert api.ask("GET", f"{_NEW}/it").body == made.body
        core = api.ask("GET", f"{_CORE}/it").body
        assert (core["apiVersion"], core["message"]) == ("v1", "first")
        assert core["involvedObject"] == _event()["regarding"]
        new = {**made.body, "note": "second"}
        replaced = api.ask("PUT", f"{_NEW}/it", new)
        assert (replaced.code, replaced.body["note"]) == (200, "second")
        assert "message" not in replaced.body


def test_patches_are_of_the_face_that_the_client_sees(tmp_path: Path) -> None:
    series = {"count": 2, "lastObservedTime": _TIME}
    with serve(tmp_path) as api:
        api.make(_NEW, _event())
        for sent in (MERGE, STRATEGIC):
            patch = {"note": f"by {sent}", "series": series}
            told = api.patch(f"{_NEW}/it", patch, sent=sent)
            assert (told.code, told.body["note"]) == (200, f"by {sent}")
            assert told.body["series"] == series
        said = [
            {"op": "test", "path": "/note", "value": f"by {STRATEGIC}"},
            {"op": "replace", "path": "/note", "value": "by operations"},
        ]
        assert api.patch(f"{_NEW}/it", said, sent=JSON_PATCH).body["note"] == "by operations"
        applied = api.patch(
            f"{_NEW}/it", _event(note="applied"), sent=APPLY, query="fieldManager=a&force=true"
        )
        assert (applied.code, applied.body["note"]) == (200, "applied")
        assert api.patch(f"{_CORE}/it", {"message": "core"}).body["message"] == "core"
        assert api.ask("GET", f"{_NEW}/it").body["note"] == "core"
