"""The types of the API's fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

ScalarKind: TypeAlias = Literal[
    "string", "boolean", "int32", "int64", "double", "int-or-string", "quantity", "time",
    "micro-time", "bytes", "raw",
]  # fmt: skip
"""``raw``: any JSON, kept as it is (managedFields' fieldsV1)."""
ListKind: TypeAlias = Literal["atomic", "set", "map"]


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value."""

    kind: ScalarKind


@dataclass(frozen=True, slots=True)
class ListOf:
    """A list, and how patches merge it."""

    item: Type
    kind: ListKind = "atomic"
    """``x-kubernetes-list-type``: what server-side apply goes by."""
    map_keys: tuple[str, ...] = ()
    """``x-kubernetes-list-map-keys`` of a list of kind map."""
    merge_key: str = ""
    """``x-kubernetes-patch-merge-key``; empty: a strategic merge patch replaces the list, or, of
    scalars with ``merges``, joins it."""
    merges: bool = False
    """``x-kubernetes-patch-strategy`` has ``merge``."""


@dataclass(frozen=True, slots=True)
class MapOf:
    """From strings to values of one type: labels, selectors."""

    value: Type
    is_atomic: bool = False
    """``x-kubernetes-map-type: atomic``: server-side apply owns it as a whole."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an object type."""

    name: str
    """As in JSON."""
    type: Type
    number: int = 0
    """In protobuf; 0: there is none."""
    embedded_in: int = 0
    """In protobuf: the number of the message that has the field for this type, as ``VolumeSource``
    has those of a Volume; 0: it is the type's own."""
    says_zero: bool = False
    """Go has a pointer there, or says zero in JSON too: 0, false and "" are values. Of all others
    they mean that nothing is said."""
    is_required: bool = False
    description: str = ""
    """For ``kubectl explain``; our words."""
    retains_keys: bool = False
    """``x-kubernetes-patch-strategy`` has ``retainKeys``."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectType:
    """A struct of the API, shared by all fields that have it (types may refer to themselves)."""

    name: str
    """As OpenAPI documents name it: ``io.k8s.api.core.v1.ServiceSpec``."""
    fields: Mapping[str, Field] = field(repr=False)
    description: str = ""
    is_atomic: bool = False
    """``x-kubernetes-map-type: atomic``."""


Type: TypeAlias = Scalar | ListOf | MapOf | ObjectType
