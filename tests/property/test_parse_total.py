"""Whatever stands in a manifest: it is read or diagnosed, and nothing is ever raised."""

from __future__ import annotations

import copy
import json
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from netproxy.errors import ManifestError
from netproxy.model.diagnostic import Diagnostic
from netproxy.model.events import key_of
from netproxy.model.ip import parse_address
from netproxy.model.parse import parse_object
from netproxy.model.service import Service
from netproxy.sources.manifests.documents import find_lines, read_documents

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(
        [
            "",
            "None",
            "10.0.0.1",
            "::1",
            "10.0.0.0/8",
            "TCP",
            "ClusterIP",
            "a\nb",
            "\x1b[2J",
            "x" * 99,
        ]
    )
    | st.sampled_from([0, -1, 70000, 65536, 1 << 63, 1 << 64, -(1 << 63) - 1, 10**100])
)
keys = st.text(max_size=5) | st.sampled_from(
    ["apiVersion", "kind", "metadata", "name", "spec", "items", "ports", "port", "labels"]
)
json_values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "labels": {"app": "web"},
        "creationTimestamp": "2026-01-01T00:00:00Z",
    },
    "spec": {
        "type": "LoadBalancer",
        "clusterIP": "10.96.0.1",
        "clusterIPs": ["10.96.0.1", "fd00::1"],
        "externalIPs": ["192.0.2.1"],
        "ports": [
            {"name": "http", "port": 80, "targetPort": "http", "nodePort": 30080},
            {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353},
        ],
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}},
        "internalTrafficPolicy": "Local",
        "externalTrafficPolicy": "Local",
        "loadBalancerSourceRanges": ["10.0.0.0/8"],
        "healthCheckNodePort": 32000,
    },
    "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9", "ipMode": "VIP"}]}},
}
SLICE = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {
        "name": "web-1",
        "namespace": "shop",
        "labels": {"kubernetes.io/service-name": "web"},
    },
    "addressType": "IPv4",
    "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    "endpoints": [
        {
            "addresses": ["10.1.0.1"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": "node-a",
            "hints": {"forZones": [{"name": "z"}], "forNodes": [{"name": "node-a"}]},
        }
    ],
}
ENDPOINTS = {
    "apiVersion": "v1",
    "kind": "Endpoints",
    "metadata": {"name": "web", "namespace": "shop"},
    "subsets": [
        {
            "addresses": [{"ip": "10.1.0.1", "nodeName": "node-a"}, {"ip": "fd00::1"}],
            "notReadyAddresses": [{"ip": "10.1.0.2"}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }
    ],
}
NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "node-a", "labels": {"topology.kubernetes.io/zone": "z"}},
    "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]},
    "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
}
CIDR = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "ServiceCIDR",
    "metadata": {"name": "kubernetes"},
    "spec": {"cidrs": ["10.96.0.0/16", "fd00::/112"]},
}
SUBJECTS = {
    "Service": "Service shop/web",
    "EndpointSlice": "EndpointSlice shop/web-1",
    "Endpoints": "Endpoints shop/web",
    "Node": "Node node-a",
    "ServiceCIDR": "ServiceCIDR kubernetes",
}
Path = tuple[str | int, ...]


def _paths(value: object, path: Path = ()) -> list[Path]:
    """Every place below the root."""
    pairs: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    below = [p for step, child in pairs for p in _paths(child, (*path, step))]
    return ([path] if path else []) + below


def _replaced(raw: object, path: Path, value: object) -> Any:
    whole: Any = copy.deepcopy(raw)
    inner = whole
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return whole


def _field(path: Path) -> str:
    """A path as diagnostics write it."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.lstrip(".")


@st.composite
def mutations(draw: st.DrawFn) -> tuple[Any, Path]:
    """A valid object of which one part was replaced by anything, and which part."""
    raw = draw(st.sampled_from([SERVICE, SLICE, ENDPOINTS, NODE, CIDR]))
    path = draw(st.sampled_from(_paths(raw)))
    return _replaced(raw, path, draw(json_values)), path


def _check_message(diagnostic: Diagnostic) -> None:
    assert diagnostic.message
    assert str(diagnostic).isprintable()


def _check_values(raw: object) -> None:
    """Whatever came out is fit for the rules: canonical, in range, one key per kind."""
    parsed = parse_object(raw)
    assert len(parsed.objects) == len(parsed.subjects)
    for obj in parsed.objects:
        assert key_of(obj)[2].isprintable()
        if isinstance(obj, Service):
            assert all(1 <= port.port <= 65535 for port in obj.ports)
            assert all(0 <= port.node_port <= 65535 for port in obj.ports)
            addresses = (*obj.cluster_ips, *obj.external_ips, *obj.load_balancer_ips)
            assert all(parse_address(a) == a for a in addresses)
            assert 0 <= obj.affinity_timeout_s <= 86400


@given(json_values)
def test_no_json_value_is_too_much(raw: object) -> None:
    _check_values(raw)
    for diagnostic in parse_object(raw).diagnostics:
        _check_message(diagnostic)


@given(st.sampled_from(list(SUBJECTS)), st.dictionaries(keys, json_values, max_size=5))
def test_a_kind_is_no_promise(kind: str, rest: dict[str, Any]) -> None:
    raw = rest | {"kind": kind, "apiVersion": "v1"}
    _check_values(raw)
    for diagnostic in parse_object(raw).diagnostics:
        _check_message(diagnostic)
        assert diagnostic.subject.startswith(kind)


@given(mutations())
def test_an_object_with_one_strange_part(mutation: tuple[Any, Path]) -> None:
    raw, path = mutation
    _check_values(raw)
    keeps_name = path[0] not in ("kind", "metadata", "apiVersion")
    for diagnostic in parse_object(raw).diagnostics:
        _check_message(diagnostic)
        assert diagnostic.subject or not isinstance(raw, dict)
        assert diagnostic.field, "every finding names a field"
        if keeps_name:
            assert diagnostic.subject == SUBJECTS[raw["kind"]]


@given(mutations(), st.sampled_from(["json", "yaml"]))
def test_a_strange_part_read_from_a_file(mutation: tuple[Any, Path], language: str) -> None:
    raw, _ = mutation
    text = json.dumps(raw) if language == "json" else yaml.safe_dump(raw)
    try:
        documents = read_documents(text.encode(), "x.yaml")
    except ManifestError:
        return
    assert len(documents) == 1
    found = parse_object(documents[0]).diagnostics
    _check_values(documents[0])
    lines = find_lines(text.encode(), [(0, d.field) for d in found])
    assert len(lines) == len(found)
    assert all(0 <= line <= text.count("\n") + 1 for line in lines)


@given(st.sampled_from([SERVICE, SLICE, ENDPOINTS, NODE, CIDR]))
def test_the_objects_to_start_from_are_right(raw: dict[str, Any]) -> None:
    parsed = parse_object(raw)
    assert parsed.diagnostics == ()
    assert parsed.objects
    assert set(parsed.subjects) == {SUBJECTS[raw["kind"]]}


@given(st.data())
def test_lines_are_those_of_the_field(data: st.DataObject) -> None:
    raw = data.draw(st.sampled_from([SERVICE, SLICE, ENDPOINTS, NODE, CIDR]))
    # No field that is ever named has a dot in it.
    path = data.draw(st.sampled_from([p for p in _paths(raw) if "." not in str(p[-1])]))
    marked = _replaced(raw, path, "a-mark-that-stands-once")
    language = data.draw(st.sampled_from(["json", "yaml", "several"]))
    dumped = json.dumps(marked, indent=1) if language == "json" else yaml.safe_dump(marked)
    index = 0
    if language == "several":
        dumped, index = f"---\n# nothing\n---\n{yaml.safe_dump(CIDR)}---\n{dumped}", 1
    lines = dumped.splitlines()
    expected = 1 + next(n for n, line in enumerate(lines) if "a-mark-that-stands-once" in line)
    assert find_lines(dumped.encode(), [(index, _field(path))]) == [expected]


pieces = st.sampled_from(
    [
        *(b"- ", b"? ", b": ", b"{", b"}", b"[", b"]", b",", b"\n", b"  ", b"\t", b"#", b"|", b">"),
        *(b"&a ", b"*a", b"!!str ", b"!!x ", b"---\n", b"...\n", b"%YAML 1.1\n", b"<<: ", b"'"),
        *(b'"', b"a", b"kind", b"1", b"null", b"\xff", b"\x00", b"\xef\xbb\xbf", b"\xc2\x85"),
        b"2026-01-01",
    ]
)


@given(st.binary() | st.lists(pieces, max_size=30).map(b"".join))
def test_any_bytes_are_documents_or_an_error_that_names_the_file(data: bytes) -> None:
    try:
        documents = read_documents(data, "x.yaml")
    except ManifestError as caught:
        error: ManifestError | None = caught
        documents = []
    else:
        error = None
    if error:
        assert error.path == "x.yaml"
        assert error.message.startswith("x.yaml")
        assert error.message.isprintable()
        return
    assert isinstance(documents, list)
    for document in documents:
        for diagnostic in parse_object(document).diagnostics:
            _check_message(diagnostic)
    found = find_lines(data, [(n, "kind") for n in range(len(documents) + 1)])
    assert len(found) == len(documents) + 1
