"""What fields the API's objects have: one description, from which everything else is made.

Checking and pruning what clients send, OpenAPI documents, ``kubectl explain``, protobuf, the keys
by which patches merge lists.

* ``type_of(resource, subresource)``, ``named(name)``: types;
* ``check(obj, type, mode, duplicates)``: an object without unknown fields;
* ``decode_json``, ``decode_yaml``, ``decode_protobuf``, ``decode_any``, ``encode_yaml``: bodies.
"""

from __future__ import annotations

from netproxy.api.resources import Resource
from netproxy.apiserver.schema.checking import Checked, Mode, check
from netproxy.apiserver.schema.decoding import (
    decode_any,
    decode_json,
    decode_yaml,
    encode_yaml,
)
from netproxy.apiserver.schema.loading import all_types
from netproxy.apiserver.schema.protobuf import decode_protobuf
from netproxy.apiserver.schema.types import ObjectType

_SUBRESOURCES = {
    "binding": "io.k8s.api.core.v1.Binding",
    "eviction": "io.k8s.api.policy.v1.Eviction",
    "scale": "io.k8s.api.autoscaling.v1.Scale",
}

__all__ = [
    "Checked", "Mode", "check", "decode_any", "decode_json", "decode_protobuf", "decode_yaml",
    "encode_yaml", "named", "type_of",
]  # fmt: skip


def named(name: str) -> ObjectType:
    """A type by its name in OpenAPI documents; ``KeyError`` if there is none."""
    return all_types()[name]


def type_of(resource: Resource, subresource: str = "") -> ObjectType:
    """The type of a resource's objects, or of what a subresource takes and gives."""
    if subresource in _SUBRESOURCES:
        return named(_SUBRESOURCES[subresource])
    group = resource.group.removesuffix(".k8s.io") or "core"
    return named(f"io.k8s.api.{group}.{resource.version}.{resource.kind}")
