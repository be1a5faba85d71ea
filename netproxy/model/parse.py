"""Objects as they stand in manifests and on the wire → the model. Total: bad data is diagnosed.

A Service with any impossible field is left out as a whole, since no API server would have stored
it; of an EndpointSlice only the bad endpoint or port is lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from netproxy.model import api
from netproxy.model.diagnostic import Diagnostic
from netproxy.model.events import ModelObject
from netproxy.model.findings import Findings, shorten
from netproxy.model.ip import family_of
from netproxy.model.names import ServiceKey
from netproxy.model.node import Node, ServiceCIDR
from netproxy.model.parse_endpoints import parse_endpoint_slice, parse_endpoints
from netproxy.model.parse_service import parse_service


class Parsed(NamedTuple):
    """What one manifest object became."""

    objects: tuple[ModelObject, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    subjects: tuple[str, ...] = ()
    """For each of the objects, the name that its diagnostics have."""


_Parser = Callable[[Any, ServiceKey, Findings], list[ModelObject]]

_LISTS = (
    "List",
    "ServiceList",
    "EndpointsList",
    "EndpointSliceList",
    "NodeList",
    "ServiceCIDRList",
)
AUTOSCALER_TAINT = "ToBeDeletedByClusterAutoscaler"
_MAX_DEPTH = 4
_LONGEST_NAME = 253
"""Source: Kubernetes API: a DNS subdomain. Shorter ones would make two slices look like one."""


def parse_object(raw: object) -> Parsed:
    """The model objects of one manifest object, of whatever kind, or of a whole List.

    Args:
        raw: What a JSON or YAML parser made of it; any value at all.
    """
    out = _Output([], [], [], set())
    _parse_into(raw, out, "")
    return Parsed(tuple(out.objects), tuple(out.diagnostics), tuple(out.subjects))


class _Output(NamedTuple):
    """Collects what a manifest object, and all inside it, become."""

    objects: list[ModelObject]
    subjects: list[str]
    diagnostics: list[Diagnostic]
    lists: set[int]
    """Identities of the lists that were walked: YAML aliases may show one many times."""


def _parse_into(raw: object, out: _Output, place: str) -> None:
    if not isinstance(raw, dict):
        found = Findings("")
        found.error(
            place, f"{shorten(raw)} is no Kubernetes object: apiVersion and kind are missing"
        )
        out.diagnostics.extend(found.diagnostics)
        return
    kind = raw.get("kind")
    if not isinstance(kind, str) or not isinstance(raw.get("apiVersion"), str):
        found = Findings(subject_of(raw))
        missing = "kind" if not isinstance(kind, str) else "apiVersion"
        found.error(f"{place}{missing}", "is missing; every Kubernetes object names both")
    elif kind in _LISTS:
        found = Findings(kind)
        _parse_list(raw, kind, out, place, found)
    elif kind in _PARSERS:
        found = Findings(subject_of(raw))
        if _is_ours(raw["apiVersion"], kind, found):
            objects = _parse_kind(raw, kind, found)
            out.objects.extend(objects)
            out.subjects.extend([found.subject] * len(objects))
        if found.diagnostics and place:
            found.diagnostics = [d._replace(field=place + d.field) for d in found.diagnostics]
    else:
        found = Findings(subject_of(raw))
        found.warn(f"{place}kind", f"netproxy does not read {shorten(kind)} objects; skipped")
    out.diagnostics.extend(found.diagnostics)


def _is_ours(version: str, kind: str, found: Findings) -> bool:
    """Whether this is Kubernetes' own kind, not a namesake such as Knative's Service."""
    wanted = _VERSIONS[kind]
    if version in wanted:
        return True
    group = version.rpartition("/")[0]
    if "." in group and not group.endswith(".k8s.io"):
        found.warn(
            "apiVersion",
            f"netproxy does not read {kind} objects of {shorten(version)}; skipped",
        )
    else:
        found.error("apiVersion", f"{shorten(version)} has no {kind}; write {wanted[0]}")
    return False


def _parse_list(raw: dict[Any, Any], kind: str, out: _Output, place: str, found: Findings) -> None:
    items = raw.get("items") or []
    if not isinstance(items, list):
        found.error(f"{place}items", "must be a list")
        return
    if id(items) in out.lists:
        found.error(f"{place}items", "repeats a list that stands elsewhere in the document")
        return
    if place.count("items[") >= _MAX_DEPTH:
        found.error(f"{place}items", "lists are nested too deeply")
        return
    out.lists.add(id(items))
    # Items of a typed list leave out what the list says already.
    implied = {"kind": kind.removesuffix("List"), "apiVersion": raw["apiVersion"]}
    for index, item in enumerate(items):
        is_bare = isinstance(item, dict) and kind != "List" and "kind" not in item
        whole = {**implied, **item} if is_bare else item
        _parse_into(whole, out, f"{place}items[{index}].")


def subject_of(raw: dict[Any, Any]) -> str:
    """How messages name an object: ``Service default/web``."""
    kind = raw.get("kind")
    metadata = raw.get("metadata")
    words = [one_line(kind) if isinstance(kind, str) else "object"]
    if isinstance(metadata, dict) and isinstance(metadata.get("name"), str):
        namespace = metadata.get("namespace")
        name = one_line(metadata["name"])
        is_namespaced = kind not in ("Node", "ServiceCIDR")
        space = one_line(namespace) if isinstance(namespace, str) and namespace else "default"
        words.append(f"{space}/{name}" if is_namespaced else name)
    return " ".join(words)


def one_line(text: str) -> str:
    """Text for a message: printable, and not endless."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 3] + "..."


def _parse_kind(raw: dict[Any, Any], kind: str, found: Findings) -> list[ModelObject]:
    struct, parser = _PARSERS[kind]
    try:
        typed = msgspec.convert(raw, struct)
    except msgspec.ValidationError as error:
        field, message = explain(error)
        found.error(field, message)
        return []
    except UnicodeEncodeError:
        found.error("", "holds half a character: an escape such as \\ud800 without its other half")
        return []
    return parse_typed(typed, kind, found, parser)


def parse_typed(
    typed: Any,
    kind: str,
    found: Findings,
    parser: _Parser | None = None,
) -> list[ModelObject]:
    """The model objects of an object that is decoded already.

    Args:
        typed: A struct of :mod:`netproxy.model.api`.
        kind: Its kind.
        found: Takes what is wrong with it.
        parser: By default the one for the kind.
    """
    metadata = typed.metadata or api.Metadata()
    name = metadata.name or ""
    if not name:
        found.error("metadata.name", "is missing; every object has a name")
        return []
    namespace = metadata.namespace or "default"
    if kind == "Service":
        found.label("metadata.name", name)
    else:
        found.subdomain("metadata.name", name)
    found.label("metadata.namespace", namespace)
    if found.has_errors:
        return []
    return (parser or _PARSERS[kind][1])(typed, ServiceKey(namespace, name), found)


def explain(error: msgspec.ValidationError) -> tuple[str, str]:
    """(field, message) of a type error; the library appends where: " - at `$.spec.ports[0]`"."""
    message, _, where = str(error).partition(" - at `")
    # Of a key that is no text it says: at `key` in `$.metadata.labels`.
    is_key = where.startswith("key` in `")
    field = where.rstrip("`").removeprefix("key` in `").removeprefix("$").lstrip(".")
    match = _EXPECTED.fullmatch(message)
    if match is None:
        return field, message[:1].lower() + message[1:]
    wanted = [word for word in match[1].split(" | ") if word != "null"]
    hint = ""
    if wanted == ["str"] and match[2] in ("int", "float", "bool"):
        hint = "; put it in quotes"
    elif wanted == ["int"] and match[2] == "str":
        hint = "; write digits without quotes"
    words = " or ".join(_TYPES.get(word, word) for word in wanted)
    subject = "a key " if is_key else ""
    return field, f"{subject}must be {words}, not {_TYPES.get(match[2], match[2])}{hint}"


_EXPECTED = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_TYPES = {
    "array": "a list",
    "bool": "true or false",
    "float": "a fraction",
    "int": "a whole number",
    "null": "nothing",
    "object": "a mapping",
    "str": "text",
}


def _parse_endpoint_slice(
    typed: api.EndpointSlice, key: ServiceKey, found: Findings
) -> list[ModelObject]:
    return [*parse_endpoint_slice(typed, key, found)]


def _parse_endpoints(typed: api.Endpoints, key: ServiceKey, found: Findings) -> list[ModelObject]:
    return [*parse_endpoints(typed, key, found)]


def _parse_node(typed: api.Node, key: ServiceKey, found: Findings) -> list[ModelObject]:
    metadata = typed.metadata or api.Metadata()
    spec, status = typed.spec or api.NodeSpec(), typed.status or api.NodeStatus()
    given = spec.pod_cidrs or ([spec.pod_cidr] if spec.pod_cidr else [])
    cidrs = [found.prefix(f"spec.podCIDRs[{i}]", text) for i, text in enumerate(given)]
    addresses = []
    for wanted in ("InternalIP", "ExternalIP"):
        for index, one in enumerate(status.addresses or ()):
            if one.type == wanted and one.address:
                addresses.append(found.address(f"status.addresses[{index}].address", one.address))
    if found.has_errors:
        return []
    labels = metadata.labels or {}
    node = Node(
        name=key.name,
        zone=labels.get("topology.kubernetes.io/zone", ""),
        addresses=tuple(a for a in addresses if a),
        pod_cidrs=tuple(p for p in cidrs if p),
        is_leaving=bool(metadata.deletion_timestamp)
        or any(taint.key == AUTOSCALER_TAINT for taint in spec.taints or ()),
    )
    return [node]


def _parse_service_cidr(
    typed: api.ServiceCIDR, key: ServiceKey, found: Findings
) -> list[ModelObject]:
    given = (typed.spec.cidrs if typed.spec else None) or []
    cidrs = [found.prefix(f"spec.cidrs[{i}]", text) for i, text in enumerate(given)]
    kept = tuple(p for p in cidrs if p)
    families = [family_of(p.address) for p in kept]
    if len(families) != len(set(families)):
        found.error("spec.cidrs", "at most one network per IP family")
    return [] if found.has_errors else [ServiceCIDR(key.name, kept)]


_PARSERS: dict[str, tuple[type[Any], _Parser]] = {
    "Service": (api.Service, parse_service),
    "EndpointSlice": (api.EndpointSlice, _parse_endpoint_slice),
    "Endpoints": (api.Endpoints, _parse_endpoints),
    "Node": (api.Node, _parse_node),
    "ServiceCIDR": (api.ServiceCIDR, _parse_service_cidr),
}

_VERSIONS = {
    "Service": ("v1",),
    "EndpointSlice": ("discovery.k8s.io/v1",),
    "Endpoints": ("v1",),
    "Node": ("v1",),
    "ServiceCIDR": ("networking.k8s.io/v1", "networking.k8s.io/v1beta1"),
}
"""Versions in which the fields that we read mean the same; the first is the one to write."""
