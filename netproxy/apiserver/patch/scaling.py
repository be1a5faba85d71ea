"""``Scale``: the number of replicas of another object, which it is owned with."""

from __future__ import annotations

from types import MappingProxyType

from netproxy.api.objects import Object
from netproxy.apiserver.schema.types import Field, ObjectType, Scalar

_SPEC = ObjectType("ScaledSpec", MappingProxyType({"replicas": Field("replicas", Scalar("int32"))}))
SCALED = ObjectType("Scaled", MappingProxyType({"spec": Field("spec", _SPEC)}))
"""Of whatever is scaled, the part that a ``Scale`` is about."""


def is_scale(obj: Object) -> bool:
    """Whether it is a ``Scale``, which is about another object."""
    return obj.get("kind") == "Scale"


def scaled(parent: Object, scale: Object) -> Object:
    """The scaled object as the ``Scale`` wants it."""
    return {**parent, "spec": {**(parent.get("spec") or {}), "replicas": _replicas(scale)}}


def scaled_configuration(parent: Object, scale: Object) -> Object:
    """The part of the scaled object that a ``Scale`` applies."""
    return {
        "apiVersion": parent["apiVersion"],
        "kind": parent["kind"],
        "spec": {"replicas": _replicas(scale)},
    }


def scale_of(parent: Object, scale: Object) -> Object:
    """The ``Scale``, with the ``managedFields`` of the scaled object."""
    metadata = {**(scale.get("metadata") or {})}
    metadata.pop("managedFields", None)
    if entries := parent["metadata"].get("managedFields"):
        metadata["managedFields"] = entries
    return {**scale, "metadata": metadata, "spec": {"replicas": parent["spec"]["replicas"]}}


def _replicas(scale: Object) -> int:
    """What is not said is 0, as Go has it."""
    replicas: int = (scale.get("spec") or {}).get("replicas") or 0
    return replicas
