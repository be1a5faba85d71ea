"""Which groups, versions and resources there are, in the aggregated form and in the old one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from netproxy import __version__
from netproxy.api.objects import Object
from netproxy.api.resources import RESOURCES, Resource

VERSION = "1.36"
"""Of the Kubernetes API that this one is like."""
_AGGREGATED = "APIGroupDiscoveryList"
_PLAIN = "application/json"
_SUBRESOURCES: dict[str, tuple[tuple[str, str, str], tuple[str, ...]]] = {
    "binding": (("", "v1", "Binding"), ("create",)),
    "eviction": (("policy", "v1", "Eviction"), ("create",)),
    "finalize": (("", "", ""), ("update",)),
    "scale": (("autoscaling", "v1", "Scale"), ("get", "patch", "update")),
    "status": (("", "", ""), ("get", "patch", "update")),
}
"""Subresource → group, version and kind of what it takes (empty: the resource's own), and verbs."""


def document(path: str, accept: str) -> tuple[Object, str] | None:
    """What stands at a path, and its content type; None: something else.

    Args:
        path: Such as ``/apis``, without a slash at its end.
        accept: The request's ``Accept``.
    """
    if path in {"/api", "/apis"}:
        version = _aggregated_version(accept)
        if version:
            resources = [each for each in RESOURCES if bool(each.group) == (path == "/apis")]
            content_type = f"{_PLAIN};g=apidiscovery.k8s.io;v={version};as={_AGGREGATED}"
            return _aggregated(resources, version), content_type
        return (_core_versions() if path == "/api" else _groups()), _PLAIN
    if path == "/version":
        return _version(), _PLAIN
    for root in {each.root for each in RESOURCES}:
        if path == root:
            return _resources(root), _PLAIN
    parts = path.split("/")
    if len(parts) == 3 and parts[1] == "apis" and any(parts[2] == each.group for each in RESOURCES):
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(parts[2])}, _PLAIN
    return None


def _aggregated_version(accept: str) -> str:
    """The version of the aggregated form that is wanted most; empty: the old form."""
    for each in accept.split(","):
        fields = [part.strip() for part in each.split(";")]
        if f"as={_AGGREGATED}" in fields and "g=apidiscovery.k8s.io" in fields:
            for version in ("v2", "v2beta1"):
                if f"v={version}" in fields:
                    return version
        if fields[0] in {_PLAIN, "*/*"} and len(fields) == 1:
            return ""
    return ""


def _aggregated(resources: Iterable[Resource], version: str) -> Object:
    groups: dict[str, list[Object]] = {}
    for each in resources:
        groups.setdefault(each.group, []).append(_aggregated_resource(each))
    items = [
        {
            "metadata": {"name": group} if group else {},
            "versions": [{"version": "v1", "resources": listed, "freshness": "Current"}],
        }
        for group, listed in groups.items()
    ]
    return {
        "kind": _AGGREGATED,
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _aggregated_resource(resource: Resource) -> Object:
    found: Object = {
        "resource": resource.plural,
        "responseKind": _kind(resource.group, resource.version, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": sorted(resource.verbs),
    }
    if resource.short_names:
        found["shortNames"] = list(resource.short_names)
    if resource.categories:
        found["categories"] = list(resource.categories)
    if resource.subresources:
        found["subresources"] = [_aggregated_part(resource, each) for each in resource.subresources]
    return found


def _aggregated_part(resource: Resource, name: str) -> Object:
    (group, version, kind), verbs = _SUBRESOURCES[name]
    if not kind:
        group, version, kind = resource.group, resource.version, resource.kind
    return {
        "subresource": name,
        "responseKind": _kind(group, version, kind),
        "verbs": list(verbs),
    }


def _kind(group: str, version: str, kind: str) -> dict[str, str]:
    return {"group": group, "version": version, "kind": kind}


def _resources(root: str) -> Object:
    listed: list[Object] = []
    served = [each for each in RESOURCES if each.root == root]
    for each in served:
        found: Object = {
            "name": each.plural,
            "singularName": each.singular,
            "namespaced": each.namespaced,
            "kind": each.kind,
            "verbs": sorted(each.verbs),
        }
        if each.short_names:
            found["shortNames"] = list(each.short_names)
        if each.categories:
            found["categories"] = list(each.categories)
        listed.append(found)
        listed += [_part(each, name) for name in each.subresources]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": served[0].api_version,
        "resources": listed,
    }


def _part(resource: Resource, name: str) -> Object:
    (group, version, kind), verbs = _SUBRESOURCES[name]
    found: Object = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
    }
    if kind and (group or kind != "Binding"):
        found |= {"group": group, "version": version}
    return {**found, "kind": kind or resource.kind, "verbs": list(verbs)}


def _core_versions() -> Object:
    anywhere = [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}]
    return {
        "kind": "APIVersions",
        "apiVersion": "v1",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": anywhere,
    }


def _groups() -> Object:
    names = list(dict.fromkeys(each.group for each in RESOURCES if each.group))
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(each) for each in names],
    }


def _group(name: str) -> dict[str, Any]:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _version() -> Object:
    major, minor = VERSION.split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{VERSION}.0+netproxy-{__version__}",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux",
    }
