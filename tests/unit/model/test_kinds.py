"""Nodes, ServiceCIDRs, Lists, and what is no object at all."""

from __future__ import annotations

from typing import Any

import pytest

from netproxy.model.diagnostic import Diagnostic, Severity
from netproxy.model.events import ModelObject, key_of
from netproxy.model.ip import parse_prefix
from netproxy.model.names import ServiceKey, ServicePortName
from netproxy.model.node import Node, ServiceCIDR
from netproxy.model.parse import one_line, parse_object, subject_of
from netproxy.model.service import Service
from tests.unit.model.manifests import (
    complaints,
    endpoint_slice,
    endpoints,
    node,
    only,
    service,
    service_cidr,
)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (node(), Node("node-a")),
        ({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a.b"}}, Node("a.b")),
        (
            node(
                None,
                ("Hostname", "node-a"),
                ("ExternalIP", "192.0.2.1"),
                ("InternalIP", "10.0.0.1"),
                ("InternalIP", "FD00::01"),
                ("InternalIP", ""),
                labels={"topology.kubernetes.io/zone": "z1", "other": "x"},
            ),
            Node("node-a", "z1", ("10.0.0.1", "fd00::1", "192.0.2.1")),  # type: ignore[arg-type]
        ),
        (
            node({"podCIDR": "10.1.0.0/24"}),
            Node("node-a", pod_cidrs=(parse_prefix("10.1.0.0/24"),)),
        ),
        (
            node({"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.2.0.0/24", "fd00::/64"]}),
            Node("node-a", pod_cidrs=(parse_prefix("10.2.0.0/24"), parse_prefix("fd00::/64"))),
        ),
        (
            node({"taints": [{"key": "ToBeDeletedByClusterAutoscaler"}]}),
            Node("node-a", is_leaving=True),
        ),
        (node({"taints": [{"key": "node.kubernetes.io/not-ready"}]}), Node("node-a")),
        (
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": "node-a", "deletionTimestamp": "2026-01-01T00:00:00Z"},
            },
            Node("node-a", is_leaving=True),
        ),
        (service_cidr(), ServiceCIDR("kubernetes", ())),
        (
            service_cidr("10.96.0.0/16", "fd00::/112"),
            ServiceCIDR("kubernetes", (parse_prefix("10.96.0.0/16"), parse_prefix("fd00::/112"))),
        ),
    ],
)
def test_cluster_facts(raw: dict[str, Any], expected: ModelObject) -> None:
    assert only(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            node(None, ("InternalIP", "10.0.0.1"), ("ExternalIP", "10.0.0.x")),
            "Node node-a: status.addresses[1].address: '10.0.0.x' is not an IP address; "
            "give one such as 10.0.0.1 or fd00::1",
        ),
        (
            node({"podCIDRs": ["10.1.0.0/24", "10.2.0.0"]}),
            "Node node-a: spec.podCIDRs[1]: '10.2.0.0' is not a prefix such as 10.0.0.0/8",
        ),
        (
            service_cidr("10.96.0.0/16", "10.97.0.0/16"),
            "ServiceCIDR kubernetes: spec.cidrs: at most one network per IP family",
        ),
        (
            service_cidr("10.96.0.0/40"),
            "ServiceCIDR kubernetes: spec.cidrs[0]: '10.96.0.0/40': "
            "the prefix length must be between 0 and 32",
        ),
    ],
)
def test_bad_cluster_facts(raw: dict[str, Any], expected: str) -> None:
    assert parse_object(raw).objects == ()
    assert complaints(raw) == [f"error: {expected}"]


SCALARS: list[object] = [None, 3, "text\n", [], 1.5, True]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "b"}},
            "warning: Pod b/a: kind: netproxy does not read 'Pod' objects; skipped",
        ),
        (
            {"apiVersion": "v1", "kind": "PodList", "items": []},
            "warning: PodList: kind: netproxy does not read 'PodList' objects; skipped",
        ),
        (
            {"apiVersion": "v1", "kind": "x\ny\x1b[0m"},
            "warning: x?y?[0m: kind: netproxy does not read 'x\\ny\\x1b[0m' objects; skipped",
        ),
        (
            {"apiVersion": "v1", "metadata": {"name": "a"}},
            "error: object default/a: kind: is missing; every Kubernetes object names both",
        ),
        (
            {"kind": "Service", "metadata": {"name": "a"}},
            "error: Service default/a: apiVersion: is missing; every Kubernetes object names both",
        ),
        (
            {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "a"}},
            "warning: Service default/a: apiVersion: netproxy does not read Service objects of "
            "'serving.knative.dev/v1'; skipped",
        ),
        (
            {"apiVersion": "v1", "kind": "EndpointSlice", "metadata": {"name": "a"}},
            "error: EndpointSlice default/a: apiVersion: 'v1' has no EndpointSlice; "
            "write discovery.k8s.io/v1",
        ),
        (
            {"apiVersion": "apps/v1", "kind": "Service", "metadata": {"name": "a"}},
            "error: Service default/a: apiVersion: 'apps/v1' has no Service; write v1",
        ),
        (
            {"apiVersion": "discovery.k8s.io/v1beta1", "kind": "EndpointSlice"},
            "error: EndpointSlice: apiVersion: 'discovery.k8s.io/v1beta1' has no EndpointSlice; "
            "write discovery.k8s.io/v1",
        ),
        ({}, "error: object: kind: is missing; every Kubernetes object names both"),
        (
            {"apiVersion": 1, "kind": "Node", "metadata": {"name": "a"}},
            "error: Node a: apiVersion: is missing; every Kubernetes object names both",
        ),
        (
            {"kind": ["Service"]},
            "error: object: kind: is missing; every Kubernetes object names both",
        ),
        *(
            (raw, f"error: {raw!r} is no Kubernetes object: apiVersion and kind are missing")
            for raw in SCALARS
        ),
        (
            "x" * 100,
            f"error: '{'x' * 56}... is no Kubernetes object: apiVersion and kind are missing",
        ),
    ],
)
def test_what_is_no_object_of_ours(raw: object, expected: str) -> None:
    assert parse_object(raw).objects == ()
    assert complaints(raw) == [expected]


def _list(*items: object, kind: str = "List", version: str = "v1") -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "items": list(items)}


def _bare(raw: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key not in ("apiVersion", "kind")}


@pytest.mark.parametrize(
    ("raw", "kinds"),
    [
        (_list(service(), node()), ["Service", "Node"]),
        (_list(_list(service()), _list(_list(node()))), ["Service", "Node"]),
        (_list(_bare(service()), kind="ServiceList"), ["Service"]),
        (_list(service(), kind="ServiceList"), ["Service"]),
        (
            _list(_bare(endpoint_slice()), kind="EndpointSliceList", version="discovery.k8s.io/v1"),
            ["EndpointSlice"],
        ),
        (
            _list(
                _bare(endpoints({"addresses": [{"ip": "10.1.0.1"}], "ports": [{"port": 1}]})),
                kind="EndpointsList",
            ),
            ["EndpointSlice"],
        ),
        (_list(_bare(node()), kind="NodeList"), ["Node"]),
        (
            _list(_bare(service_cidr()), kind="ServiceCIDRList", version="networking.k8s.io/v1"),
            ["ServiceCIDR"],
        ),
        (_list(), []),
        ({"apiVersion": "v1", "kind": "List"}, []),
        ({"apiVersion": "v1", "kind": "List", "items": None}, []),
    ],
)
def test_lists(raw: dict[str, Any], kinds: list[str]) -> None:
    parsed = parse_object(raw)
    assert parsed.diagnostics == ()
    assert [key_of(obj)[0] for obj in parsed.objects] == kinds
    assert len(parsed.subjects) == len(kinds)


def test_mistakes_in_lists_say_where() -> None:
    bad = service({"ports": [{"port": 0}]}, name="bad")
    raw = _list(service(), 3, _list(node(), bad), _bare(service()))
    parsed = parse_object(raw)
    assert [key_of(obj)[2] for obj in parsed.objects] == ["web", "node-a"]
    assert [(d.subject, d.field) for d in parsed.diagnostics] == [
        ("", "items[1]."),
        ("Service default/bad", "items[2].items[1].spec.ports[0].port"),
        ("object default/web", "items[3].kind"),
    ]


@pytest.mark.parametrize("items", [{"a": 1}, "text", 7])
def test_items_that_are_no_list(items: object) -> None:
    raw = {"apiVersion": "v1", "kind": "List", "items": items}
    assert complaints(raw) == ["error: List: items: must be a list"]


def test_lists_in_lists_come_to_an_end() -> None:
    raw: dict[str, Any] = service()
    for _ in range(4):
        raw = _list(raw)
    assert len(parse_object(raw).objects) == 1
    for _ in range(2000):
        raw = _list(raw)
    parsed = parse_object(raw)
    assert parsed.objects == ()
    assert [d.message for d in parsed.diagnostics] == ["lists are nested too deeply"]


def test_a_list_inside_itself_comes_to_an_end() -> None:
    raw = _list(service())
    raw["items"].append(raw)
    parsed = parse_object(raw)
    assert len(parsed.objects) == 1
    assert [str(d) for d in parsed.diagnostics] == [
        "List: items[1].items: repeats a list that stands elsewhere in the document"
    ]


def test_many_aliases_of_one_list_are_read_once() -> None:
    level = _list(*[service(name=f"s{n}") for n in range(10)])
    for _ in range(3):
        level = _list(*[level] * 50)
    parsed = parse_object(level)
    assert len(parsed.objects) == 10
    assert len(parsed.diagnostics) == 3 * 49


def test_a_list_with_one_bad_service_keeps_the_others() -> None:
    parsed = parse_object(_list(service(name="a"), service(name="B"), service(name="c")))
    assert [obj.key.name for obj in parsed.objects if isinstance(obj, Service)] == ["a", "c"]
    assert parsed.subjects == ("Service default/a", "Service default/c")


@pytest.mark.parametrize(
    ("path", "line", "subject", "field", "expected"),
    [
        ("a.yaml", 3, "Service d/w", "spec", "a.yaml:3: Service d/w: spec: is wrong"),
        ("a.yaml", 0, "Service d/w", "", "a.yaml: Service d/w: is wrong"),
        ("", 0, "Service d/w", "spec", "Service d/w: spec: is wrong"),
        ("a.yaml", 0, "", "", "a.yaml: is wrong"),
        ("", 0, "", "", "is wrong"),
    ],
)
def test_how_a_diagnostic_reads(
    path: str, line: int, subject: str, field: str, expected: str
) -> None:
    assert str(Diagnostic(Severity.ERROR, subject, field, "is wrong", path, line)) == expected


def test_names_as_people_write_them() -> None:
    assert str(ServicePortName("a", "b", "", "TCP")) == "a/b"
    assert str(ServicePortName("a", "b", "http", "TCP")) == "a/b:http"
    assert ServicePortName("a", "b", "c", "TCP").service == ServiceKey("a", "b")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, "object"),
        ({"kind": "Service"}, "Service"),
        ({"kind": "Service", "metadata": {"name": "a"}}, "Service default/a"),
        ({"kind": "Service", "metadata": {"name": "a", "namespace": ""}}, "Service default/a"),
        ({"kind": "Node", "metadata": {"name": "a", "namespace": "b"}}, "Node a"),
        ({"kind": "Service", "metadata": {"name": 1}}, "Service"),
        ({"kind": "Service", "metadata": []}, "Service"),
        ({"kind": "Service", "metadata": {"name": "a\nb"}}, "Service default/a?b"),
    ],
)
def test_subjects(raw: dict[str, Any], expected: str) -> None:
    assert subject_of(raw) == expected


def test_one_line_shortens() -> None:
    assert one_line("x" * 253) == "x" * 253
    assert one_line("x" * 254) == "x" * 250 + "..."
    assert one_line("a\r\n\tb\u2029") == "a???b?"


def test_aliases_of_aliases_do_not_fill_the_memory() -> None:
    import tracemalloc

    level: list[object] = ["x"] * 10
    for _ in range(5):
        level = [level] * 10
    tracemalloc.start()
    parse_object(level)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
