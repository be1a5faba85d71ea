"""The types are Kubernetes' own: compared with what the official Python client has."""

from __future__ import annotations

import kubernetes.client.models as official
import pytest

from netproxy.api.resources import RESOURCES, Resource
from netproxy.apiserver import schema
from netproxy.apiserver.schema.loading import all_types
from netproxy.apiserver.schema.types import ListOf, MapOf, ObjectType, Scalar, Type

_NAMES = {
    "io.k8s.api.core.v1.Event": "CoreV1Event",
    "io.k8s.api.core.v1.EventSeries": "CoreV1EventSeries",
    "io.k8s.api.events.v1.Event": "EventsV1Event",
    "io.k8s.api.events.v1.EventSeries": "EventsV1EventSeries",
    "io.k8s.api.core.v1.EndpointPort": "CoreV1EndpointPort",
    "io.k8s.api.core.v1.ResourceClaim": "CoreV1ResourceClaim",
    "io.k8s.api.discovery.v1.EndpointPort": "DiscoveryV1EndpointPort",
}


def _official(kind: ObjectType) -> type:
    name = _NAMES.get(kind.name, "V1" + kind.name.rsplit(".", 1)[-1])
    found: type = getattr(official, name)
    return found


def _shape(kind: Type) -> str:
    """A type as the official client spells it, as far as it tells."""
    if isinstance(kind, ListOf):
        return f"List[{_shape(kind.item)}]"
    if isinstance(kind, MapOf):
        return f"Dict[str, {_shape(kind.value)}]"
    if isinstance(kind, ObjectType):
        return _official(kind).__name__
    return {
        "string": "str",
        "quantity": "str",
        "boolean": "bool",
        "int32": "int",
        "int64": "int",
        "double": "float",
        "int-or-string": "object",
        "raw": "object",
        "time": "datetime",
        "micro-time": "datetime",
        "bytes": "str",
    }[kind.kind]


@pytest.mark.parametrize("kind", all_types().values(), ids=lambda each: each.name)
def test_fields_are_those_of_the_official_client(kind: ObjectType) -> None:
    theirs = _official(kind)
    types, names = theirs.openapi_types, theirs.attribute_map  # type: ignore[attr-defined]
    expected = {names[attribute]: shape for attribute, shape in types.items()}
    ours = {name: _shape(each.type) for name, each in kind.fields.items()}
    assert ours.keys() == expected.keys()
    assert ours == {
        name: each.replace("bytearray", "str").replace("bytes", "str")
        for name, each in expected.items()
    }


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: each.qualified)
def test_every_resource_and_subresource_has_a_type(resource: Resource) -> None:
    assert {"apiVersion", "kind", "metadata"} <= schema.type_of(resource).fields.keys()
    for subresource in resource.subresources:
        assert "metadata" in schema.type_of(resource, subresource).fields


def test_merge_keys_are_fields_of_what_is_merged() -> None:
    seen = 0
    for kind in all_types().values():
        for field in kind.fields.values():
            if isinstance(field.type, ListOf) and isinstance(field.type.item, ObjectType):
                keys = {*field.type.map_keys, field.type.merge_key} - {""}
                assert keys <= field.type.item.fields.keys(), f"{kind.name}.{field.name}"
                seen += bool(keys)
    assert seen > 20


def test_types_that_people_look_up_are_explained() -> None:
    for name in ("Service", "Pod", "Endpoints", "Node"):
        kind = schema.named(f"io.k8s.api.core.v1.{name}")
        assert kind.description
    spec = schema.named("io.k8s.api.core.v1.ServiceSpec")
    assert [each.name for each in spec.fields.values() if not each.description] == []


def test_lists_of_scalars_never_have_merge_keys() -> None:
    for kind in all_types().values():
        for field in kind.fields.values():
            if isinstance(field.type, ListOf) and isinstance(field.type.item, Scalar):
                assert not field.type.merge_key
                assert field.type.kind != "map"
