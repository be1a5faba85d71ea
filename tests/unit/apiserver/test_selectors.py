"""What selectors select."""

from __future__ import annotations

import pytest

from netproxy.api.objects import Key, Object
from netproxy.api.resources import EVENTS, PODS, SERVICES, Resource
from netproxy.api.status import StatusError
from netproxy.apiserver.selectors import matcher
from netproxy.apiserver.storage.stored import Stored, encode_state


def _state(labels: dict[str, str], **members: object) -> Stored:
    obj: Object = {"metadata": {"name": "web", "namespace": "a", "labels": labels}, **members}
    return encode_state(Key("a", "web"), 1, obj)[0]


def _selects(
    labels: str = "", fields: str = "", state: Stored | None = None, resource: Resource = PODS
) -> bool:
    matches = matcher(resource, labels, fields)
    return matches is None or matches(state or _state({"app": "web", "tier": "front"}))


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web , tier = front", True),
        ("app=db", False),
        ("app!=db", True),
        ("app!=web", False),
        ("nosuch!=x", True),
        ("nosuch=", False),
        ("app in (web, db)", True),
        ("app in (db)", False),
        ("app notin (db,web)", False),
        ("nosuch notin (a)", True),
        ("nosuch in (a,)", False),
        ("app", True),
        ("!app", False),
        ("!nosuch", True),
        ("app,!nosuch,tier in (front)", True),
        ("!service.kubernetes.io/headless", True),
    ],
)
def test_labels(selector: str, expected: bool) -> None:
    assert _selects(selector) is expected


def test_an_empty_value_is_a_value() -> None:
    assert _selects("empty=", state=_state({"empty": ""}))
    assert _selects("empty in (,x)", state=_state({"empty": ""}))


@pytest.mark.parametrize(
    "selector",
    [
        "=x", "a b", "a in", "a in (", "a in (b", "a in (b c)", "a,", "a=b,,c=d", "-a=b", "a=b_",
        "a=(", "a/b/c=d", "a gt 5", "!",
    ],
)  # fmt: skip
def test_what_is_no_selector_is_a_bad_request(selector: str) -> None:
    with pytest.raises(StatusError, match="unable to parse requirement") as caught:
        matcher(PODS, selector, "")
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("metadata.name=web", True),
        ("metadata.name!=web", False),
        ("metadata.namespace=a", True),
        ("spec.nodeName=n1", True),
        ("spec.nodeName=", False),
        ("spec.nodeName=n1,status.phase!=Running", False),
        ("status.podIP==", True),
        ("spec.hostNetwork=true", True),
    ],
)
def test_fields(fields: str, expected: bool) -> None:
    spec = {"nodeName": "n1", "hostNetwork": True}
    state = _state({}, spec=spec, status={"phase": "Running"})
    assert _selects("", fields, state) is expected


def test_a_field_that_cannot_be_asked_for_is_a_bad_request() -> None:
    with pytest.raises(StatusError, match=r"field label not supported: spec\.ports"):
        matcher(SERVICES, "", "spec.ports=80")
    with pytest.raises(StatusError, match="invalid selector"):
        matcher(SERVICES, "", "metadata.name")
    assert _selects("", "spec.clusterIP!=None", _state({}, spec={}), SERVICES)


def test_both_faces_of_events_can_be_asked_for() -> None:
    state = _state({}, involvedObject={"kind": "Pod", "name": "p"}, source={"component": "agent"})
    assert _selects("", "regarding.name=p,regarding.kind=Pod", state, EVENTS)
    assert not _selects("", "regarding.name=q", state, EVENTS)
