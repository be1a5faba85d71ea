"""What an API server sends, word by word."""

from __future__ import annotations

import json
from typing import Any

import pytest

from netproxy.errors import SourceError
from netproxy.model.ip import parse_prefix
from netproxy.model.node import ServiceCIDR
from netproxy.sources.kubernetes.decode import (
    Bookmark,
    Decoder,
    Failure,
    Gone,
    Put,
    Unreadable,
    read_failure,
    split_list,
)
from tests.kube.faults import status_object
from tests.kube.objects import Object, endpoint_slice, service, service_cidr

KEY = ("Service", "default", "web")


def line(type_: str, obj: object) -> bytes:
    return json.dumps({"type": type_, "object": obj}).encode()


def versioned(obj: Object, version: str = "7") -> Object:
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": version}}


@pytest.mark.parametrize("type_", ["ADDED", "MODIFIED"])
def test_an_object_in_a_watch_is_what_it_is_in_a_list(type_: str) -> None:
    decoder = Decoder("Service")
    obj = versioned(service("web"))
    said = decoder.line(line(type_, obj))
    assert isinstance(said, Put)
    assert (said.key, said.version, said.diagnostics) == (KEY, 7, ())
    assert said == decoder.item(json.dumps(obj).encode())


def test_objects_of_the_cluster_have_no_namespace() -> None:
    said = Decoder("ServiceCIDR").line(line("ADDED", versioned(service_cidr("10.96.0.0/16"))))
    assert isinstance(said, Put)
    assert said.key == ("ServiceCIDR", "", "kubernetes")
    assert said.object == ServiceCIDR("kubernetes", (parse_prefix("10.96.0.0/16"),))


def test_deletions_and_bookmarks() -> None:
    decoder = Decoder("Service")
    assert decoder.line(line("DELETED", versioned(service("web")))) == Gone(KEY, 7)
    end = {"resourceVersion": "9", "annotations": {"k8s.io/initial-events-end": "true"}}
    assert decoder.line(line("BOOKMARK", {"metadata": end})) == Bookmark(9, True)
    assert decoder.line(line("BOOKMARK", {"metadata": {"resourceVersion": "9"}})) == Bookmark(9)


def test_a_deleted_object_may_be_broken() -> None:
    obj = versioned(service("web", ports="none"))
    assert Decoder("Service").line(line("DELETED", obj)) == Gone(KEY, 7)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"spec": {"ports": [{"port": "80"}]}}, "spec.ports[0].port"),
        ({"spec": "x"}, "spec"),
        ({"spec": {"clusterIP": "x", "ports": [{"port": 80}]}}, "spec.clusterIP"),
        ({"status": {"loadBalancer": []}}, "status.loadBalancer"),
    ],
)
def test_wrong_types_and_values_are_named(change: dict[str, Any], field: str) -> None:
    said = Decoder("Service").line(line("MODIFIED", versioned({**service("web"), **change})))
    assert isinstance(said, Put)
    assert (said.key, said.version, said.object, said.is_broken) == (KEY, 7, None, True)
    assert [(d.subject, d.field) for d in said.diagnostics] == [("Service default/web", field)]


@pytest.mark.parametrize(
    "obj",
    [None, [], {}, {"metadata": None}, {"metadata": {"name": ""}}, {"metadata": {"name": 5}}, "x"],
)
@pytest.mark.parametrize("type_", ["ADDED", "DELETED"])
def test_what_has_no_name_is_skipped(type_: str, obj: object) -> None:
    said = Decoder("Service").line(line(type_, obj))
    assert isinstance(said, Unreadable)
    assert not said.is_garbage


@pytest.mark.parametrize(
    "data", [b"", b"{", b"null", b"[]", b"<html>", b"\xff\x00", b'{"type":5}', b'{"object":{}}']
)
def test_what_is_no_event_is_garbage(data: bytes) -> None:
    said = Decoder("Service").line(data)
    assert isinstance(said, Unreadable)
    assert said.is_garbage
    with pytest.raises(SourceError, match="is no list"):
        split_list(data)


def test_unknown_events_are_named() -> None:
    said = Decoder("Service").line(line("SYN\nCED", {}))
    assert isinstance(said, Unreadable)
    assert (said.is_garbage, said.diagnostic.message) == (
        False,
        "an event of unknown type 'SYN\\nCED' is skipped",
    )


def test_failures_as_kubernetes_tells_them() -> None:
    expired = status_object(410, "Expired", "too old resource version: 1 (1780)")
    said = Decoder("Service").line(b'{"type":"ERROR","object":%s}' % expired)
    assert said == Failure(410, "too old resource version: 1 (1780)", "Expired")
    assert read_failure(410, expired) == said
    too_new = status_object(504, "Timeout", "x", cause="ResourceVersionTooLarge")
    assert read_failure(504, too_new).is_too_new
    busy = b'{"kind":"Status","message":"m","code":429,"details":{"retryAfterSeconds":3}}'
    assert read_failure(429, busy) == Failure(429, "m", retry_after_s=3.0)


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b'{"message":[]}', b"[]"])
def test_failures_as_others_tell_them(body: bytes) -> None:
    assert read_failure(502, body) == Failure(502, "answered 502")
    said = Decoder("Service").line(b'{"type":"ERROR","object":{"message":5}}')
    assert said == Failure(0, "failed without a reason")


def test_lists_are_split_before_they_are_read() -> None:
    page = split_list(b'{"metadata":{"resourceVersion":"5","continue":"x"},"items":[{}, {"a":1}]}')
    assert (page.version, page.token) == (5, "x")
    assert [bytes(raw) for raw in page.items] == [b"{}", b'{"a":1}']
    assert split_list(b'{"metadata":{},"items":null}').items == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-01-01T00:00:00Z", 1767225600.0),
        ("2026-01-01T01:00:00.25+01:00", 1767225600.25),
        ("2026-01-01T00:00:00.123456789Z", 1767225600.123456),
        ("tomorrow", 0.0),
        ("9999-99-99T00:00:00Z", 0.0),
    ],
)
def test_trigger_times_are_read_from_slices_only(text: str, seconds: float) -> None:
    obj = endpoint_slice("web", ["10.1.0.1"], triggered=text)
    said = Decoder("EndpointSlice").line(line("ADDED", obj))
    assert isinstance(said, Put)
    assert said.triggered == seconds
    other = service("web")
    other["metadata"]["annotations"] = obj["metadata"]["annotations"]
    said = Decoder("Service").line(line("ADDED", other))
    assert isinstance(said, Put)
    assert said.triggered == 0.0
