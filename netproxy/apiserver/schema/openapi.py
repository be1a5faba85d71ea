"""OpenAPI documents of the API, for kubectl's validation and ``explain``; made once, then bytes.

Version 3 has a document for each group and version, version 2 one for all. Older versions of
kubectl ask for version 2 as protobuf and nothing else; see ``openapi_protobuf.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

import msgspec

from netproxy.api.objects import Object
from netproxy.api.resources import RESOURCES, Resource
from netproxy.apiserver.schema.discovery import VERSION
from netproxy.apiserver.schema.loading import all_types
from netproxy.apiserver.schema.types import Field, ListOf, MapOf, ObjectType, Scalar, Type

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_V2_PROTOBUF_SENT = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""What is asked for has an @ in it, which no ``Content-Type`` may have."""
_JSON = "application/json"
_FORMATS: Mapping[str, Object] = {
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "double": {"type": "number", "format": "double"},
    "time": {"type": "string", "format": "date-time"},
    "micro-time": {"type": "string", "format": "date-time"},
    "bytes": {"type": "string", "format": "byte"},
    "raw": {"type": "object"},
}
_NAMED = {
    "int-or-string": "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
    "quantity": "io.k8s.apimachinery.pkg.api.resource.Quantity",
}
"""Scalars with a definition of their own, whose name ``kubectl explain`` tells."""
_NAMED_V2: Mapping[str, Object] = {
    "int-or-string": {"type": "string", "format": "int-or-string"},
    "quantity": {"type": "string"},
}
_NAMED_V3: Mapping[str, Object] = {
    "int-or-string": {
        "format": "int-or-string",
        "oneOf": [{"type": "integer"}, {"type": "string"}],
    },
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
}
_ACTIONS = (
    ("get", "list", False), ("post", "post", False), ("delete", "deletecollection", False),
    ("get", "get", True), ("put", "put", True), ("patch", "patch", True),
    ("delete", "delete", True),
)  # fmt: skip
"""HTTP method, ``x-kubernetes-action``, and whether it is about one object."""
_PATCHES = (
    "application/apply-patch+yaml", "application/json-patch+json",
    "application/merge-patch+json", "application/strategic-merge-patch+json",
)  # fmt: skip


class Document(NamedTuple):
    """One document, ready to be sent."""

    body: bytes
    content_type: str
    etag: str


def find(path: str, accept: str) -> Document | None:
    """The document at a path.

    Args:
        path: ``/openapi/v2``, ``/openapi/v3`` or ``/openapi/v3/apis/apps/v1``.
        accept: The request's ``Accept``.
    """
    if path == "/openapi/v2":
        return _v2_protobuf() if V2_PROTOBUF in accept else _v2_json()
    if path == "/openapi/v3":
        return _index()
    root = path.removeprefix("/openapi/v3")
    return _v3(root) if any(each.root == root for each in RESOURCES) else None


def _made(content: Object) -> Document:
    return _sent(msgspec.json.encode(content), _JSON)


def _sent(body: bytes, content_type: str) -> Document:
    return Document(body, content_type, hashlib.sha512(body).hexdigest().upper())


@cache
def _index() -> Document:
    paths = {}
    for root in dict.fromkeys(each.root for each in RESOURCES):
        paths[root[1:]] = {"serverRelativeURL": f"/openapi/v3{root}?hash={_v3(root).etag}"}
    return _made({"paths": paths})


@cache
def _v3(root: str) -> Document:
    served = [each for each in RESOURCES if each.root == root]
    builder = _Builder("#/components/schemas/", is_v3=True)
    content = {
        "openapi": "3.0.0",
        "info": _info(),
        "paths": dict(_paths(served, builder)),
        "components": {"schemas": builder.definitions()},
    }
    return _made(content)


@cache
def v2_document() -> Object:
    """The whole of version 2."""
    builder = _Builder("#/definitions/", is_v3=False)
    paths = dict(_paths(RESOURCES, builder))
    return {
        "swagger": "2.0",
        "info": _info(),
        "paths": paths,
        "definitions": builder.definitions(),
    }


@cache
def _v2_json() -> Document:
    return _made(v2_document())


@cache
def _v2_protobuf() -> Document:
    from netproxy.apiserver.schema.openapi_protobuf import encode_v2

    return _sent(encode_v2(v2_document()), _V2_PROTOBUF_SENT)


def _info() -> Object:
    return {"title": "Kubernetes", "version": f"v{VERSION}.0"}


class _Builder:
    """Collects the definitions that paths refer to, and those that these refer to."""

    def __init__(self, prefix: str, *, is_v3: bool) -> None:
        self._prefix = prefix
        self.is_v3 = is_v3
        self._wanted: dict[str, ObjectType] = {}
        self._kinds: dict[str, list[Object]] = {}
        self._scalars: dict[str, Object] = {}

    def kind(self, resource: Resource) -> Object:
        """A reference to a resource's objects, which are marked as such."""
        found = _type_of(resource)
        self._kinds.setdefault(found.name, []).append(_gvk(resource))
        return self.reference(found)

    def reference(self, kind: ObjectType) -> Object:
        """A reference to a definition, which will be there."""
        self._wanted.setdefault(kind.name, kind)
        return {"$ref": self._prefix + kind.name}

    def definitions(self) -> Object:
        """All definitions, by name."""
        found: Object = {}
        while missing := [each for name, each in self._wanted.items() if name not in found]:
            for each in missing:
                found[each.name] = self._definition(each)
        for name, kinds in self._kinds.items():
            found[name]["x-kubernetes-group-version-kind"] = [
                dict(pairs) for pairs in dict.fromkeys(tuple(each.items()) for each in kinds)
            ]
        return dict(sorted((found | self._scalars).items()))

    def _definition(self, kind: ObjectType) -> Object:
        found: Object = {"type": "object"}
        if kind.description:
            found["description"] = kind.description
        if kind.fields:
            found["properties"] = {
                name: self._property(each) for name, each in sorted(kind.fields.items())
            }
        required = sorted(each.name for each in kind.fields.values() if each.is_required)
        if required:
            found["required"] = required
        if kind.is_atomic:
            found["x-kubernetes-map-type"] = "atomic"
        return found

    def _property(self, field: Field) -> Object:
        found = self._schema(field.type)
        if "$ref" in found and self.is_v3:
            found = {"allOf": [found]}
        head: Object = {"description": field.description} if field.description else {}
        return {**head, **found, **_merging(field)}

    def _schema(self, kind: Type) -> Object:
        if isinstance(kind, ObjectType):
            return self.reference(kind)
        if isinstance(kind, ListOf):
            return {"type": "array", "items": self._schema(kind.item)}
        if isinstance(kind, MapOf):
            return {"type": "object", "additionalProperties": self._schema(kind.value)}
        assert isinstance(kind, Scalar)
        if (name := _NAMED.get(kind.kind)) is not None:
            self._scalars[name] = dict((_NAMED_V3 if self.is_v3 else _NAMED_V2)[kind.kind])
            return {"$ref": self._prefix + name}
        return dict(_FORMATS[kind.kind])


def _merging(field: Field) -> Object:
    """How patches treat a field."""
    found: Object = {}
    strategies = []
    kind = field.type
    if isinstance(kind, ListOf):
        found["x-kubernetes-list-type"] = kind.kind
        if kind.map_keys:
            found["x-kubernetes-list-map-keys"] = list(kind.map_keys)
        if kind.merge_key:
            found["x-kubernetes-patch-merge-key"] = kind.merge_key
        if kind.merges:
            strategies.append("merge")
    if isinstance(kind, MapOf) and kind.is_atomic:
        found["x-kubernetes-map-type"] = "atomic"
    if field.retains_keys:
        strategies.append("retainKeys")
    if strategies:
        found["x-kubernetes-patch-strategy"] = ",".join(strategies)
    return found


def _paths(served: Iterable[Resource], builder: _Builder) -> Iterator[tuple[str, Object]]:
    for resource in served:
        where = "{namespace}" if resource.namespaced else ""
        methods: tuple[Object, Object] = ({}, {})
        for method, action, is_one in _ACTIONS:
            verb = {"post": "create", "put": "update"}.get(action, action)
            if verb in resource.verbs:
                operation = _operation(resource, method, action, builder)
                methods[is_one][method] = operation
        for path, found in (
            (resource.path(where), methods[0]),
            (resource.path(where, "{name}"), methods[1]),
        ):
            if found:
                yield path, found
        if resource.namespaced and "get" in methods[0]:
            yield resource.path(), {"get": methods[0]["get"]}


def _operation(resource: Resource, method: str, action: str, builder: _Builder) -> Object:
    reference = builder.kind(resource)
    words = {"post": "create", "put": "replace", "get": "read"}
    names = ["dryRun", "fieldManager", "fieldValidation"] if method in {"post", "put"} else []
    if method == "patch":
        names = ["dryRun", "fieldManager", "fieldValidation", "force"]
    if method == "delete":
        names = ["dryRun", "gracePeriodSeconds", "propagationPolicy"]
    group = resource.group.removesuffix(".k8s.io").title().replace(".", "") or "Core"
    scope = "Namespaced" if resource.namespaced else ""
    found: Object = {
        "operationId": f"{words.get(action, action)}{group}V1{scope}{resource.kind}",
        "tags": [f"{group.lower()}_{resource.version}"],
        "parameters": [_parameter(each, is_v3=builder.is_v3) for each in names],
        "responses": {"200": _response(reference, is_v3=builder.is_v3)},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(resource),
    }
    if method in {"post", "put", "patch"}:
        _add_body(found, reference if method != "patch" else {"type": "object"}, method, builder)
    return found


def _add_body(operation: Object, schema: Object, method: str, builder: _Builder) -> None:
    types = _PATCHES if method == "patch" else (_JSON,)
    if builder.is_v3:
        content = {each: {"schema": schema} for each in types}
        operation["requestBody"] = {"content": content, "required": True}
        return
    operation["consumes"] = list(types)
    body = {"name": "body", "in": "body", "required": True, "schema": schema}
    operation["parameters"] = [body, *operation["parameters"]]


def _response(reference: Object, *, is_v3: bool) -> Object:
    if is_v3:
        return {"description": "OK", "content": {_JSON: {"schema": reference}}}
    return {"description": "OK", "schema": reference}


def _parameter(name: str, *, is_v3: bool) -> Object:
    kind = {"force": "boolean", "gracePeriodSeconds": "integer"}.get(name, "string")
    head: Object = {"name": name, "in": "query"}
    return {**head, "schema": {"type": kind}} if is_v3 else {**head, "type": kind}


def _gvk(resource: Resource) -> dict[str, str]:
    return {"group": resource.group, "kind": resource.kind, "version": resource.version}


def _type_of(resource: Resource) -> ObjectType:
    group = resource.group.removesuffix(".k8s.io") or "core"
    return all_types()[f"io.k8s.api.{group}.{resource.version}.{resource.kind}"]
