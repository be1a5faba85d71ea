"""Bodies in protobuf, as kubectl sends them when it makes the objects itself."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from netproxy.api.objects import Object
from netproxy.api.status import StatusError
from netproxy.apiserver.schema import decode_protobuf

_RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[3] / "data" / "api" / "protobuf.json").read_text("utf-8")
)


@pytest.mark.parametrize("recorded", _RECORDED, ids=lambda each: each["command"][:50])
def test_protobuf_of_kubectl_says_what_its_json_says(recorded: dict[str, Any]) -> None:
    assert decode_protobuf(base64.b64decode(recorded["body"])) == recorded["object"]


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value % (1 << 64))
    value = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _body(api_version: str, kind: str, message: bytes) -> bytes:
    named = _field(1, api_version) + _field(2, kind)
    return b"k8s\0" + _field(1, named) + _field(2, message)


def _decoded(message: bytes, api_version: str = "v1", kind: str = "Service") -> Object:
    return decode_protobuf(_body(api_version, kind, message))


def test_zero_is_said_by_pointers_and_by_nothing_else() -> None:
    # spec.healthCheckNodePort is an int32, spec.allocateLoadBalancerNodePorts a *bool.
    spec = _field(12, 0) + _field(20, 0)
    assert _decoded(_field(2, spec))["spec"] == {"allocateLoadBalancerNodePorts": False}


def test_empty_text_that_a_pointer_points_to_is_kept() -> None:
    port = _field(1, "") + _field(3, 80)
    found = _decoded(_field(3, port), "discovery.k8s.io/v1", "EndpointSlice")
    assert found["ports"] == [{"name": "", "port": 80}]


def test_times_are_told_as_in_json() -> None:
    spec = _field(3, _field(1, 1_700_000_000) + _field(2, 123_456_789)) + _field(4, b"")
    found = _decoded(_field(2, spec), "coordination.k8s.io/v1", "Lease")
    assert found["spec"] == {"acquireTime": "2023-11-14T22:13:20.123456Z"}


def test_numbers_below_zero_and_lists_of_numbers() -> None:
    context = _field(2, (-1) % (1 << 64)) + _field(4, 7) + _field(4, _varint(8) + _varint(300))
    found = _decoded(_field(2, _field(14, context)), kind="Pod")
    assert found["spec"]["securityContext"] == {"runAsUser": -1, "supplementalGroups": [7, 8, 300]}


def test_a_volume_without_content_has_its_kind() -> None:
    volume = _field(1, "scratch") + _field(2, _field(2, b""))
    found = _decoded(_field(2, _field(1, volume)), kind="Pod")
    assert found["spec"]["volumes"] == [{"name": "scratch", "emptyDir": {}}]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{}", "does not begin with k8s"),
        (b"k8s\0\xff", "is no protobuf of Kubernetes"),
        (_body("v1", "Service", _field(2, b"\x0a\x7f")), "is cut"),
        (_body("v1", "Service", _field(2, b"\x0b")), "wire type 3"),
        (_body("v1", "Service", _field(2, b"\x18" + b"\xff" * 11)), "a number is too long"),
        (_body("v1", "Service", _field(1, 5)), "is no protobuf of Kubernetes"),
        (_body("v1", "Service", _field(2, _field(3, b"\xff"))), "is no protobuf of Kubernetes"),
        (_body("v1", "Service", _field(99, 1)), "field 99 of Service is not known"),
        (
            _body("v1", "Pod", _field(2, _field(1, _field(2, _field(99, b""))))),
            "field 99 of Volume",
        ),
        (_body("v1", "Secret", b""), 'no kind "Secret" is registered for version "v1"'),
    ],
)
def test_what_cannot_be_read_is_refused_and_told(body: bytes, said: str) -> None:
    with pytest.raises(StatusError, match=said) as refusal:
        decode_protobuf(body)
    assert refusal.value.code == 400
