"""Reads the descriptions of types in ``descriptions/*.txt``.

A file begins with its package. A type is a line at the margin, its fields are indented below it::

    ServicePort -- One port of a Service.
      port* int32 -- The port at the virtual address.
      targetPort int-or-string

A field is its name (``*``: required), its type, how patches merge it, and what it is for. Types are
scalars, ``[item]`` lists, ``{value}`` maps from strings, and other types: of this package by their
name, of another one as ``meta.v1.ObjectMeta``. How they merge: ``atomic``, ``set``, ``map(key,…)``
for server-side apply; ``merge`` and ``merge(key)`` for strategic merge patches; ``retain`` where
keys that are not named go (retainKeys). ``#3`` is the number in protobuf, ``#2.3`` the number in a
message that is embedded as number 2; ``?`` after it: zero is a value there, and not the same as
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import get_args

from netproxy.apiserver.schema.types import (
    Field,
    ListKind,
    ListOf,
    MapOf,
    ObjectType,
    Scalar,
    ScalarKind,
    Type,
)

PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "core.v1": "io.k8s.api.core.v1",
        "meta.v1": "io.k8s.apimachinery.pkg.apis.meta.v1",
        "apps.v1": "io.k8s.api.apps.v1",
        "authorization.v1": "io.k8s.api.authorization.v1",
        "autoscaling.v1": "io.k8s.api.autoscaling.v1",
        "coordination.v1": "io.k8s.api.coordination.v1",
        "discovery.v1": "io.k8s.api.discovery.v1",
        "events.v1": "io.k8s.api.events.v1",
        "networking.v1": "io.k8s.api.networking.v1",
        "policy.v1": "io.k8s.api.policy.v1",
    }
)
"""The short name of a package, and of its file, → its name in OpenAPI documents."""

_SCALARS = {kind: Scalar(kind) for kind in get_args(ScalarKind)}
_NUMBER = re.compile(r"#(?:(\d+)\.)?(\d+)(\?)?\Z")
_MERGING = re.compile(r"(atomic|set|map|merge|retain)(?:\((.*)\))?\Z")


class _Loader:
    """Types may refer to each other in circles, so they come first and their fields after."""

    def __init__(self) -> None:
        self.types: dict[str, ObjectType] = {}
        self._fields: dict[str, dict[str, Field]] = {}

    def load(self, texts: Mapping[str, str]) -> None:
        """Read all files."""
        for package, text in texts.items():
            for line in _lines(text):
                if not line.startswith(" "):
                    self._declare(package, line)
        for package, text in texts.items():
            fields: dict[str, Field] = {}
            for line in _lines(text):
                if line.startswith(" "):
                    field = self._field(package, line)
                    fields[field.name] = field
                else:
                    fields = self._fields[f"{PACKAGES[package]}.{line.split(None, 1)[0]}"]

    def _declare(self, package: str, line: str) -> None:
        head, _, description = line.partition(" -- ")
        short, *flags = head.split()
        name = f"{PACKAGES[package]}.{short}"
        self._fields[name] = {}
        self.types[name] = ObjectType(
            name, MappingProxyType(self._fields[name]), description, is_atomic="atomic" in flags
        )

    def _field(self, package: str, line: str) -> Field:
        head, _, description = line.partition(" -- ")
        name, kind, *merging = head.split()
        numbered = _NUMBER.match(merging[-1]) if merging else None
        how = {
            match[1]: match[2] or ""
            for each in merging
            if (match := _MERGING.match(each)) is not None
        }
        return Field(
            name=name.rstrip("*"),
            type=_merged(self._type(package, kind), how),
            number=int(numbered[2]) if numbered else 0,
            embedded_in=int(numbered[1] or 0) if numbered else 0,
            says_zero=bool(numbered and numbered[3]),
            is_required=name.endswith("*"),
            description=description,
            retains_keys="retain" in how,
        )

    def _type(self, package: str, kind: str) -> Type:
        if kind in _SCALARS:
            return _SCALARS[kind]
        if kind.startswith("["):
            return ListOf(self._type(package, kind[1:-1]))
        if kind.startswith("{"):
            return MapOf(self._type(package, kind[1:-1]))
        if "." in kind:
            package, _, kind = kind.rpartition(".")
        return self.types[f"{PACKAGES[package]}.{kind}"]


def _merged(kind: Type, how: Mapping[str, str]) -> Type:
    if isinstance(kind, MapOf):
        return MapOf(kind.value, is_atomic="atomic" in how)
    if not isinstance(kind, ListOf):
        return kind
    list_kind: ListKind = "map" if "map" in how else "set" if "set" in how else "atomic"
    keys = tuple(how["map"].split(",")) if "map" in how else ()
    return ListOf(kind.item, list_kind, keys, how.get("merge", ""), merges="merge" in how)


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line and not line.startswith(("#", "package ")):
            yield line


@cache
def all_types() -> Mapping[str, ObjectType]:
    """Every type by its name in OpenAPI documents; read once, in some milliseconds."""
    directory = files(__package__) / "descriptions"
    loader = _Loader()
    loader.load({short: (directory / f"{short}.txt").read_text("utf-8") for short in PACKAGES})
    return MappingProxyType(loader.types)
