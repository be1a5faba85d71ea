"""The types are Kubernetes' own: compared with the Go types that kubectl 1.36.3 was built from."""

from __future__ import annotations

import pytest

from netproxy.api.resources import RESOURCES, Resource
from netproxy.apiserver import schema
from netproxy.apiserver.schema.loading import all_types
from netproxy.apiserver.schema.types import ListOf, MapOf, ObjectType, Scalar, Type
from tests.unit.apiserver.schema.protobuf_writing import GO_TYPES

_TYPE_META = {"apiVersion", "kind"}
_WITHOUT_ZERO = {"quantity", "int-or-string", "raw", "time", "micro-time", "bytes"}


def _shape(kind: Type) -> str:
    if isinstance(kind, ListOf):
        return f"[{_shape(kind.item)}]"
    if isinstance(kind, MapOf):
        return f"{{{_shape(kind.value)}}}"
    return kind.name if isinstance(kind, ObjectType) else kind.kind


@pytest.mark.parametrize("kind", all_types().values(), ids=lambda each: each.name)
def test_fields_and_their_numbers_are_those_of_kubernetes(kind: ObjectType) -> None:
    expected = GO_TYPES[kind.name]
    assert kind.fields.keys() - _TYPE_META == expected.keys() - _TYPE_META
    for name, (shape, number, embedded_in, says_zero) in expected.items():
        field = kind.fields[name]
        assert (_shape(field.type), field.number, field.embedded_in) == (shape, number, embedded_in)
        if isinstance(field.type, Scalar) and field.type.kind not in _WITHOUT_ZERO:
            assert field.says_zero == says_zero, name


@pytest.mark.parametrize("kind", all_types().values(), ids=lambda each: each.name)
def test_no_two_fields_have_one_number(kind: ObjectType) -> None:
    numbered = [each for each in kind.fields.values() if each.number]
    assert len({(each.embedded_in, each.number) for each in numbered}) == len(numbered)
    embedded = {each.embedded_in for each in numbered} - {0}
    assert embedded.isdisjoint(each.number for each in numbered if not each.embedded_in)


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
