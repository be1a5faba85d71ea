"""How values of a type come apart: what is owned as a whole, and what elements are called."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from netproxy.apiserver.patch.fields import element_name
from netproxy.apiserver.schema.types import ListOf, MapOf, ObjectType, Type

_KEY_DEFAULTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "ServicePort": {"protocol": "TCP"},
        "ContainerPort": {"protocol": "TCP"},
        "LocalObjectReference": {"name": ""},
    }
)
"""Keys of lists that may be left out, and what they are then (``default`` in OpenAPI)."""


class Unnamed(Exception):
    """An element of a list has no key, so nobody can own it; says why."""


def is_whole(kind: Type | None) -> bool:
    """Whether a value has one owner, whatever is in it; so has one that nobody knows."""
    if isinstance(kind, ListOf):
        return kind.kind == "atomic"
    if isinstance(kind, (MapOf, ObjectType)):
        return kind.is_atomic
    return True


def member_type(kind: Type, name: str) -> Type | None:
    """The type of a struct's field, or of a map's value; None: nobody knows."""
    if isinstance(kind, ObjectType):
        field = kind.fields.get(name)
        return field.type if field else None
    return kind.value if isinstance(kind, MapOf) else None


def element_key(element: Any, kind: ListOf) -> str:
    """What an element is called in a set of fields.

    Raises:
        Unnamed: It has no such name.
    """
    if kind.kind == "set":
        if element is None or isinstance(element, (dict, list)):
            raise Unnamed("associative list without keys has an element that is no scalar")
        return element_name("v:", element)
    if not isinstance(element, dict):
        raise Unnamed("associative list with keys may not have non-map elements")
    values = {}
    for key in sorted(kind.map_keys):
        value = element.get(key)
        if value is None:
            value = _default(kind.item, key)
        values[key] = value
    return element_name("k:", values)


def _default(item: Type, key: str) -> str:
    name = item.name.rsplit(".", 1)[-1] if isinstance(item, ObjectType) else ""
    default = _KEY_DEFAULTS.get(name, {}).get(key)
    if default is None:
        raise Unnamed(
            f'associative list with keys has an element that omits key field "{key}" (and '
            "doesn't have default value)"
        )
    return default


def by_key(elements: list[Any], kind: ListOf) -> dict[str, list[Any]]:
    """Elements by what they are called; mostly one each.

    Raises:
        Unnamed: See ``element_key``.
    """
    found: dict[str, list[Any]] = {}
    for element in elements:
        found.setdefault(element_key(element, kind), []).append(element)
    return found
