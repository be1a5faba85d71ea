"""Bodies in protobuf, as kubectl sends them when it makes the objects itself."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from netproxy.api.objects import Object
from netproxy.api.resources import RESOURCES, Resource
from netproxy.api.status import StatusError
from netproxy.apiserver import schema
from netproxy.apiserver.schema import decode_protobuf
from tests.unit.apiserver.schema.protobuf_writing import body, field, full, message, varint

_RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "data" / "api" / "protobuf.json").read_text("utf-8")
)


@pytest.mark.parametrize("recorded", _RECORDED, ids=lambda each: each["command"][:50])
def test_protobuf_of_kubectl_says_what_its_json_says(recorded: dict[str, Any]) -> None:
    assert decode_protobuf(base64.b64decode(recorded["body"])) == recorded["object"]


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: each.qualified)
def test_every_field_of_every_kind_is_read(resource: Resource) -> None:
    name = schema.type_of(resource).name
    said = full(name)
    written = body(resource.api_version, resource.kind, message(name, said))
    head = {"apiVersion": resource.api_version, "kind": resource.kind}
    assert decode_protobuf(written) == {**head, **said}


def _decoded(message: bytes, api_version: str = "v1", kind: str = "Service") -> Object:
    return decode_protobuf(body(api_version, kind, message))


def test_zero_is_said_by_pointers_and_by_nothing_else() -> None:
    # spec.healthCheckNodePort is an int32, spec.allocateLoadBalancerNodePorts a *bool.
    spec = field(12, 0) + field(20, 0)
    assert _decoded(field(2, spec))["spec"] == {"allocateLoadBalancerNodePorts": False}


def test_empty_text_that_a_pointer_points_to_is_kept() -> None:
    port = field(1, "") + field(3, 80)
    found = _decoded(field(3, port), "discovery.k8s.io/v1", "EndpointSlice")
    assert found["ports"] == [{"name": "", "port": 80}]


def test_times_are_told_as_in_json() -> None:
    spec = field(3, field(1, 1_700_000_000) + field(2, 123_456_789)) + field(4, b"")
    found = _decoded(field(2, spec), "coordination.k8s.io/v1", "Lease")
    assert found["spec"] == {"acquireTime": "2023-11-14T22:13:20.123456Z"}


def test_numbers_below_zero_and_lists_of_numbers() -> None:
    context = field(2, (-1) % (1 << 64)) + field(4, 7) + field(4, varint(8) + varint(300))
    found = _decoded(field(2, field(14, context)), kind="Pod")
    assert found["spec"]["securityContext"] == {"runAsUser": -1, "supplementalGroups": [7, 8, 300]}


def test_a_volume_without_content_has_its_kind() -> None:
    volume = field(1, "scratch") + field(2, field(2, b""))
    found = _decoded(field(2, field(1, volume)), kind="Pod")
    assert found["spec"]["volumes"] == [{"name": "scratch", "emptyDir": {}}]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"{}", "does not begin with k8s"),
        (b"k8s\0\xff", "is no protobuf of Kubernetes"),
        (body("v1", "Service", field(2, b"\x0a\x7f")), "is cut"),
        (body("v1", "Service", field(2, b"\x0b")), "wire type 3"),
        (body("v1", "Service", field(2, b"\x18" + b"\xff" * 11)), "a number is too long"),
        (body("v1", "Service", field(1, 5)), "is no protobuf of Kubernetes"),
        (body("v1", "Service", field(2, field(3, b"\xff"))), "is no protobuf of Kubernetes"),
        (body("v1", "Service", field(99, 1)), "field 99 of Service is not known"),
        (
            body("v1", "Pod", field(2, field(1, field(2, field(99, b""))))),
            "field 99 of Volume",
        ),
        (body("v1", "Secret", b""), 'no kind "Secret" is registered for version "v1"'),
    ],
)
def test_what_cannot_be_read_is_refused_and_told(given: bytes, said: str) -> None:
    with pytest.raises(StatusError, match=said) as refusal:
        decode_protobuf(given)
    assert refusal.value.code == 400
