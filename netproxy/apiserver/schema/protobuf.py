r"""Kubernetes' protobuf form of objects → objects: kubectl sends so what it makes itself.

An envelope (``k8s\0`` and a ``runtime.Unknown``) says which kind it is; its body is a message
whose fields have the numbers of ``descriptions/``. Numbers that are not known here are refused: an
object from which something is missing is worse than none. Answers are JSON, which every client
takes.

Source: apimachinery's serializer/protobuf; numbers from the tags of the Go types, 1.36.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from types import MappingProxyType
from typing import Any

from netproxy.api.objects import Object
from netproxy.api.resources import RESOURCES
from netproxy.api.status import StatusError, bad_request
from netproxy.apiserver.schema.loading import all_types
from netproxy.apiserver.schema.types import Field, ListOf, MapOf, ObjectType, Scalar, Type

_MAGIC = b"k8s\0"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_OTHER_KINDS = {
    ("v1", "Binding"): "io.k8s.api.core.v1.Binding",
    ("v1", "DeleteOptions"): "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    ("meta.k8s.io/v1", "DeleteOptions"): "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    ("policy/v1", "Eviction"): "io.k8s.api.policy.v1.Eviction",
    ("autoscaling/v1", "Scale"): "io.k8s.api.autoscaling.v1.Scale",
}


def decode_protobuf(body: bytes) -> Object:
    """The object of a body.

    Raises:
        StatusError: 400, it cannot be read, or has something that is not known here.
    """
    if not body.startswith(_MAGIC):
        raise bad_request("the body is no protobuf of Kubernetes: it does not begin with k8s")
    try:
        envelope = dict(_fields(memoryview(body)[len(_MAGIC) :]))
        named = dict(_fields(envelope.get(1, memoryview(b""))))
        api_version = str(named.get(1, b""), "utf-8")
        kind = str(named.get(2, b""), "utf-8")
        found = _message(envelope.get(2, memoryview(b"")), _type(api_version, kind))
    except (ValueError, IndexError, TypeError, OverflowError, struct.error) as error:
        raise bad_request(f"the body is no protobuf of Kubernetes: {error}") from None
    return {"apiVersion": api_version, "kind": kind, **found}


def _type(api_version: str, kind: str) -> ObjectType:
    name = _OTHER_KINDS.get((api_version, kind))
    if name is None:
        for each in RESOURCES:
            if (each.api_version, each.kind) == (api_version, kind):
                group = each.group.removesuffix(".k8s.io") or "core"
                name = f"io.k8s.api.{group}.{each.version}.{each.kind}"
    if name is None:
        raise bad_request(f'no kind "{kind}" is registered for version "{api_version}"')
    return all_types()[name]


@cache
def _by_number(kind: ObjectType, embedded_in: int = 0) -> dict[int, Field]:
    """The fields that a message, or one embedded in it, has under their numbers."""
    return {
        each.number: each
        for each in kind.fields.values()
        if each.number and each.embedded_in == embedded_in
    }


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Number and raw value of each field: an int, or bytes."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in {_FIXED64, _FIXED32}:
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"field {number} has wire type {wire}")
        if at + size > end:
            raise ValueError(f"field {number} is cut")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _message(data: memoryview, kind: ObjectType, embedded_in: int = 0) -> Object:
    known = _by_number(kind, embedded_in)
    found: Object = {}
    for number, raw in _fields(data):
        field = known.get(number)
        if field is not None:
            _add(found, field, raw)
        elif not embedded_in and _by_number(kind, number):
            found |= _message(raw, kind, number)
        else:
            short = kind.name.rsplit(".", 1)[-1]
            raise StatusError(
                400,
                "BadRequest",
                f"field {number} of {short} is not known in protobuf; send it as JSON: kubectl "
                "apply -f does",
            )
    return found


def _add(found: Object, field: Field, raw: Any) -> None:
    if isinstance(field.type, ListOf):
        found.setdefault(field.name, []).extend(_items(raw, field.type.item))
    elif isinstance(field.type, MapOf):
        name, value = _entry(raw, field.type.value)
        found.setdefault(field.name, {})[name] = value
    else:
        value = _value(raw, field.type)
        if _is_said(field, value):
            found[field.name] = value


def _is_said(field: Field, value: Any) -> bool:
    """As Go's JSON says it. A message is said when it is there: ``emptyDir: {}`` is a volume."""
    if value is None:
        return False
    if value or not isinstance(field.type, Scalar) or field.type.kind in {"raw", "int-or-string"}:
        return True
    return field.says_zero


def _items(raw: Any, kind: Type) -> list[Any]:
    is_number = isinstance(kind, Scalar) and kind.kind in {"int32", "int64"}
    if is_number and not isinstance(raw, int):  # packed
        found, at = [], 0
        while at < len(raw):
            number, at = _varint(raw, at)
            found.append(_value(number, kind))
        return found
    return [_value(raw, kind)]


def _entry(raw: memoryview, kind: Type) -> tuple[str, Any]:
    parts = dict(_fields(raw))
    name = str(parts.get(1, b""), "utf-8")
    return name, _value(parts.get(2, memoryview(b"")), kind)


def _value(raw: Any, kind: Type) -> Any:
    if isinstance(kind, ObjectType):
        return _message(raw, kind)
    assert isinstance(kind, Scalar)
    return _SCALARS[kind.kind](raw)


def _text(raw: Any) -> str:
    return str(raw, "utf-8")


def _whole(raw: int) -> int:
    return raw - (1 << 64) if raw >= 1 << 63 else raw


def _wrapped_text(raw: Any) -> str:
    return _text(dict(_fields(raw)).get(1, b""))


def _json(raw: Any) -> Any:
    text = bytes(dict(_fields(raw)).get(1, b""))
    return json.loads(text) if text else None


def _int_or_string(raw: Any) -> int | str:
    parts = dict(_fields(raw))
    return _text(parts.get(3, b"")) if parts.get(1) else _whole(parts.get(2, 0))


def _time(raw: Any) -> str | None:
    parts = dict(_fields(raw))
    if not parts:
        return None
    return datetime.fromtimestamp(_whole(parts.get(1, 0)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _micro_time(raw: Any) -> str | None:
    text, parts = _time(raw), dict(_fields(raw))
    return text and f"{text[:-1]}.{parts.get(2, 0) // 1000:06}Z"


_SCALARS: MappingProxyType[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "string": _text,
        "boolean": bool,
        "int32": _whole,
        "int64": _whole,
        "double": lambda raw: struct.unpack("<d", raw)[0],
        "bytes": lambda raw: base64.b64encode(raw).decode(),
        "quantity": _wrapped_text,
        "raw": _json,
        "int-or-string": _int_or_string,
        "time": _time,
        "micro-time": _micro_time,
    }
)
