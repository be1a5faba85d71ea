"""What lists and watches select, and which fields each kind is selected by."""

from __future__ import annotations

from typing import Any

import pytest

from netproxy.api.objects import Object, key_of
from netproxy.api.resources import (
    CONFIG_MAPS,
    CORE_EVENTS,
    ENDPOINT_SLICES,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    Resource,
)
from netproxy.api.status import StatusError
from netproxy.apiserver.selectors import matcher
from netproxy.apiserver.storage.stored import Stored, encode_state

EVENT = {
    "involvedObject": {"kind": "Service", "name": "web", "uid": "u", "fieldPath": "spec"},
    "reason": "Synced",
    "type": "Normal",
    "reportingComponent": "proxy",
}


def state(obj: Object) -> Stored:
    made = {**obj, "metadata": {"name": "web", "namespace": "shop", **obj.get("metadata", {})}}
    return encode_state(key_of(made), 1, made)[0]


class Undecoded(Stored):
    """Nobody has to look into it."""

    @property
    def object(self) -> Object:
        raise AssertionError("it was decoded")


def selects(resource: Resource, fields: str, obj: Object, labels: str = "") -> bool:
    matches = matcher(resource, labels, fields)
    assert matches is not None
    return matches(state(obj))


@pytest.mark.parametrize(
    ("resource", "fields", "obj", "selected"),
    [
        (SERVICES, "metadata.name=web", {}, True),
        (SERVICES, "metadata.name==web", {}, True),
        (SERVICES, "metadata.name!=web", {}, False),
        (SERVICES, "metadata.namespace=shop,metadata.name=web", {}, True),
        (SERVICES, "metadata.namespace=default,metadata.name=web", {}, False),
        (SERVICES, "spec.clusterIP=None", {"spec": {"clusterIP": "None"}}, True),
        (SERVICES, "spec.type=NodePort", {"spec": {"type": "ClusterIP"}}, False),
        (SERVICES, "spec.type=", {}, True),
        (SERVICES, "metadata.name=web,spec.type!=NodePort", {"spec": {"type": "X"}}, True),
        (PODS, "spec.nodeName=a", {"spec": {"nodeName": "a"}}, True),
        (PODS, "spec.host=a", {"spec": {"nodeName": "a"}}, True),
        (PODS, "status.phase!=Failed", {"status": {"phase": "Running"}}, True),
        (PODS, "status.podIP=10.0.0.1", {"status": {"podIP": "10.0.0.1"}}, True),
        (PODS, "spec.hostNetwork=false", {"spec": {}}, True),
        (PODS, "spec.hostNetwork=true", {"spec": {"hostNetwork": True}}, True),
        (NODES, "spec.unschedulable=false", {}, True),
        (NODES, "spec.unschedulable=true", {"spec": {"unschedulable": True}}, True),
        (NAMESPACES, "status.phase=Active", {"status": {"phase": "Terminating"}}, False),
        (CORE_EVENTS, "involvedObject.kind=Service,involvedObject.uid=u", EVENT, True),
        (CORE_EVENTS, "involvedObject.name=other,reason=Synced", EVENT, False),
        (CORE_EVENTS, "source=proxy,reportingComponent=proxy,type=Normal", EVENT, True),
        (CORE_EVENTS, "source=old", {**EVENT, "source": {"component": "old"}}, True),
        (EVENTS, "regarding.name=web,regarding.fieldPath=spec", EVENT, True),
        (EVENTS, "reportingController=proxy", EVENT, True),
        (CONFIG_MAPS, "metadata.name=web", {}, True),
        (SERVICES, r"metadata.name=a\,b\=c\\", {"metadata": {"name": r"a,b=c" + "\\"}}, True),
        (SERVICES, ",metadata.name=web,,", {}, True),
    ],
)
def test_fields(resource: Resource, fields: str, obj: Any, selected: bool) -> None:
    assert selects(resource, fields, obj) is selected


@pytest.mark.parametrize(
    ("resource", "fields", "told"),
    [
        (SERVICES, "spec.ports=1", "field label not supported: spec.ports"),
        (NODES, "metadata.namespace=a", "field label not supported: metadata.namespace"),
        (EVENTS, "involvedObject.name=a", "field label not supported: involvedObject.name"),
        (
            ENDPOINT_SLICES,
            "addressType=IPv4",
            '"addressType" is not a known field selector: only "metadata.name", '
            '"metadata.namespace"',
        ),
        (
            SERVICES,
            "metadata.name=a,b",
            "invalid selector: 'metadata.name=a,b'; can't understand 'b'",
        ),
        (
            SERVICES,
            "metadata.name=a=b",
            "invalid field selector: unescaped character in value: 61",
        ),
        (
            SERVICES,
            r"metadata.name=a\b",
            r"invalid field selector: invalid escape sequence: \b",
        ),
        (SERVICES, "metadata.name=a\\", "invalid field selector: invalid escape sequence: \\"),
    ],
)
def test_fields_that_cannot_be_selected_by(resource: Resource, fields: str, told: str) -> None:
    with pytest.raises(StatusError) as caught:
        matcher(resource, "", fields)
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    assert caught.value.message == told


@pytest.mark.parametrize(("labels", "fields"), [("", ""), (" ", ""), ("", ","), (" ", ",")])
def test_everything_needs_no_look(labels: str, fields: str) -> None:
    assert matcher(SERVICES, labels, fields) is None


@pytest.mark.parametrize(
    ("labels", "fields", "selected"),
    [
        ("app=web", "", True),
        ("app!=web", "", False),
        ("app in (web,api),!old", "", True),
        ("", "metadata.name=web", True),
        ("", "metadata.name=other,spec.type=NodePort", False),
        ("app=api", "spec.type=NodePort", False),
    ],
)
def test_labels_and_names_are_known_without_decoding(
    labels: str, fields: str, selected: bool
) -> None:
    made = state({"metadata": {"labels": {"app": "web"}}})
    matches = matcher(SERVICES, labels, fields)
    assert matches is not None
    assert matches(Undecoded(made.key, made.version, made.data, made.labels)) is selected


def test_labels_and_fields_together() -> None:
    obj = {"metadata": {"labels": {"app": "web"}}, "spec": {"type": "NodePort"}}
    assert selects(SERVICES, "spec.type=NodePort", obj, "app=web")
    assert not selects(SERVICES, "spec.type=ClusterIP", obj, "app=web")
    assert not selects(SERVICES, "spec.type=NodePort", obj, "app=api")


def test_bad_labels_are_the_answer() -> None:
    with pytest.raises(StatusError, match="expected: ',' or 'end of string'"):
        matcher(SERVICES, "a=b=", "metadata.name=web")
