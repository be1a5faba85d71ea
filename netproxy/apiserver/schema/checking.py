"""Is this JSON an object of that type? Fields that nobody knows are found, and left out."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

from netproxy.api.objects import Object
from netproxy.api.status import StatusError, bad_request
from netproxy.apiserver.schema.types import ListOf, MapOf, ObjectType, Scalar, Type

Mode: TypeAlias = Literal["Strict", "Warn", "Ignore"]
"""``fieldValidation``."""

_DEEPEST = 64
_INT32 = 2**31
_INT64 = 2**63
_TIME = re.compile(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d"
    r"(\.\d+)?(Z|[+-]\d\d:\d\d)\Z"
)
_QUANTITY = re.compile(r"[+-]?(\d+|\d+\.\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?\Z")
_GO_TYPES = MappingProxyType(
    {
        "string": "string", "boolean": "bool", "int32": "int32", "int64": "int64",
        "double": "float64",
    }
)  # fmt: skip


class Checked(NamedTuple):
    """An object with the fields of its type only."""

    object: Object
    warnings: tuple[str, ...] = ()


class Mistyped(Exception):
    """A value is of another type than its field."""

    def __init__(self, path: str, told: str) -> None:
        super().__init__(told)
        self.path = path
        self.told = told


def check(
    obj: Object, kind: ObjectType, mode: Mode = "Warn", duplicates: tuple[str, ...] = ()
) -> Checked:
    """An object without what its type does not know; ``null`` is the same as absent.

    Args:
        obj: Decoded JSON, with ``kind`` and ``apiVersion``.
        kind: What it should be.
        mode: What becomes of fields that are unknown or stand there twice: Strict refuses the
            object, Warn tells, Ignore drops them.
        duplicates: Paths of fields that stand there twice, which decoding has found.

    Raises:
        StatusError: 400, as kube-apiserver 1.36 words it.
    """
    walk = _Walk()
    try:
        found: Object = walk.object(obj, kind, "", 0, kind)
    except Mistyped as error:
        raise bad_request(f"{_handled(obj)}: {error.told}") from None
    told = [f'duplicate field "{each}"' for each in duplicates]
    told += [f'unknown field "{each}"' for each in walk.unknown]
    if told and mode == "Strict":
        raise bad_request(f"{_handled(obj)}: strict decoding error: {', '.join(told)}")
    return Checked(found, tuple(told) if mode == "Warn" else ())


def _handled(obj: Object) -> str:
    kind, version = obj.get("kind", ""), obj.get("apiVersion", "")
    return f'{kind} in version "{version}" cannot be handled as a {kind}'


class _Walk:
    """One pass through an object."""

    def __init__(self) -> None:
        self.unknown: list[str] = []

    def object(
        self, value: Any, kind: ObjectType, path: str, depth: int, owner: ObjectType
    ) -> Object:
        if not isinstance(value, dict):
            raise Mistyped(path, _cannot(value, _go_name(kind), path, owner))
        if depth > _DEEPEST:
            raise StatusError(400, "BadRequest", f"{path}: is nested too deeply")
        fields = kind.fields
        found = {}
        for name, inner in value.items():
            if inner is None:
                continue
            field = fields.get(name)
            where = f"{path}.{name}" if path else name
            if field is None:
                self.unknown.append(where)
            else:
                found[name] = self.value(inner, field.type, where, depth, kind)
        return found

    def value(self, value: Any, kind: Type, path: str, depth: int, owner: ObjectType) -> Any:
        if isinstance(kind, Scalar):
            return _SCALARS[kind.kind](value, path, owner)
        if isinstance(kind, ObjectType):
            return self.object(value, kind, path, depth + 1, owner)
        if isinstance(kind, ListOf):
            if not isinstance(value, list):
                raise Mistyped(path, _cannot(value, f"[]{_go_name(kind.item)}", path, owner))
            return [
                self.value(each, kind.item, f"{path}[{index}]", depth, owner)
                for index, each in enumerate(value)
                if each is not None
            ]
        assert isinstance(kind, MapOf)
        if not isinstance(value, dict):
            told = f"map[string]{_go_name(kind.value)}"
            raise Mistyped(path, _cannot(value, told, path, owner))
        return {
            name: self.value(each, kind.value, f"{path}.{name}", depth, owner)
            for name, each in value.items()
            if each is not None
        }


def _cannot(value: object, wanted: str, path: str, owner: ObjectType) -> str:
    """As Go's decoder says it, in which fields have no indexes."""
    struct = owner.name.rsplit(".", 1)[-1]
    plain = re.sub(r"\[\d+\]", "", path)
    where = f"Go struct field {struct}.{plain} of type {wanted}"
    return f"json: cannot unmarshal {_json_name(value)} into {where}"


def _json_name(value: object) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return f"number {value}" if isinstance(value, float) or abs(value) >= _INT32 else "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _go_name(kind: Type) -> str:
    if isinstance(kind, ObjectType):
        _, package, version, name = kind.name.rsplit(".", 3)
        return f"{package}{version}.{name}" if package == "meta" else f"{version}.{name}"
    if isinstance(kind, Scalar):
        return _GO_TYPES.get(kind.kind, kind.kind)
    return "string"


def _string(value: Any, path: str, owner: ObjectType) -> str:
    if isinstance(value, str):
        return value
    raise Mistyped(path, _cannot(value, "string", path, owner))


def _boolean(value: Any, path: str, owner: ObjectType) -> bool:
    if isinstance(value, bool):
        return value
    raise Mistyped(path, _cannot(value, "bool", path, owner))


def _integer(limit: int, name: str) -> Callable[[Any, str, ObjectType], int]:
    def integer(value: Any, path: str, owner: ObjectType) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and -limit <= value < limit:
            return value
        raise Mistyped(path, _cannot(value, name, path, owner))

    return integer


def _double(value: Any, path: str, owner: ObjectType) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    raise Mistyped(path, _cannot(value, "float64", path, owner))


def _int_or_string(value: Any, path: str, owner: ObjectType) -> int | str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and -_INT32 <= value < _INT32:
        return value
    raise Mistyped(path, _cannot(value, "intstr.IntOrString", path, owner))


def _quantity(value: Any, path: str, owner: ObjectType) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and _QUANTITY.match(value):
        return value
    if isinstance(value, str):
        raise Mistyped(
            path, "quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        )  # fmt: skip
    raise Mistyped(path, _cannot(value, "resource.Quantity", path, owner))


def _time(value: Any, path: str, owner: ObjectType) -> str:
    if isinstance(value, str) and _TIME.match(value):
        return value
    if isinstance(value, str):
        raise Mistyped(path, f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": {path}')
    raise Mistyped(path, _cannot(value, "v1.Time", path, owner))


def _bytes(value: Any, path: str, owner: ObjectType) -> str:
    text = _string(value, path, owner)
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Mistyped(path, f"illegal base64 data: {path}") from None
    return text


def _raw(value: Any, path: str, owner: ObjectType) -> Any:
    del path, owner
    return value


_SCALARS: MappingProxyType[str, Callable[[Any, str, ObjectType], Any]] = MappingProxyType(
    {
        "string": _string,
        "boolean": _boolean,
        "int32": _integer(_INT32, "int32"),
        "int64": _integer(_INT64, "int64"),
        "double": _double,
        "int-or-string": _int_or_string,
        "quantity": _quantity,
        "time": _time,
        "micro-time": _time,
        "bytes": _bytes,
        "raw": _raw,
    }
)
