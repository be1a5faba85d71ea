"""Manifest objects to start from: each is valid as it stands."""

from __future__ import annotations

from typing import Any

from netproxy.model.diagnostic import Severity
from netproxy.model.parse import parse_object

HTTP = {"port": 80}


def service(
    spec: dict[str, Any] | None = None,
    *,
    labels: dict[str, str] | None = None,
    ingress: list[Any] | None = None,
    **metadata: Any,
) -> dict[str, Any]:
    """A Service with one port and an address; ``spec`` goes on top, None removes."""
    whole = {"clusterIP": "10.96.0.1", "ports": [HTTP]} | (spec or {})
    raw: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"} | metadata | ({"labels": labels} if labels else {}),
        "spec": {key: value for key, value in whole.items() if value is not None},
    }
    if ingress is not None:
        raw["status"] = {"loadBalancer": {"ingress": ingress}}
    return raw


def endpoint_slice(*endpoints: Any, **fields: Any) -> dict[str, Any]:
    """An IPv4 slice of the Service ``web`` with one port."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": list(endpoints),
    } | fields


def endpoints(*subsets: Any) -> dict[str, Any]:
    """A legacy Endpoints object of the Service ``web``."""
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "web"},
        "subsets": list(subsets),
    }


def node(
    spec: dict[str, Any] | None = None,
    *addresses: tuple[str, str],
    labels: dict[str, str] | None = None,
) -> dict[str, Any]:
    """A Node with addresses given as (type, address)."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node-a", "labels": labels or {}},
        "spec": spec or {},
        "status": {"addresses": [{"type": t, "address": a} for t, a in addresses]},
    }


def service_cidr(*cidrs: Any) -> dict[str, Any]:
    """A ServiceCIDR."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": list(cidrs)},
    }


def only(raw: object) -> Any:
    """The one object that it becomes, without a word of complaint."""
    parsed = parse_object(raw)
    assert parsed.diagnostics == ()
    assert len(parsed.objects) == 1
    return parsed.objects[0]


def complaints(raw: object) -> list[str]:
    """Every diagnostic as people read it."""
    return [f"{d.severity.value}: {d}" for d in parse_object(raw).diagnostics]


def errors(raw: object) -> list[str]:
    """Every error; and an object with an error must not be used."""
    parsed = parse_object(raw)
    return [str(d) for d in parsed.diagnostics if d.severity is Severity.ERROR]
