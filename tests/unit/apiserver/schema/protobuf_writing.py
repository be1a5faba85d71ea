"""Writes objects in protobuf as Go's types have them: what ``decode_protobuf`` has to read.

Numbers and types are those of ``data/api/go-types.json``, not those of the descriptions.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

GoField: TypeAlias = tuple[str, int, int, bool]
"""Type, number in protobuf, number of the embedded message that has it, whether zero is said."""
GO_TYPES: dict[str, dict[str, GoField]] = json.loads(
    (Path(__file__).parents[3] / "data" / "api" / "go-types.json").read_text("utf-8")
)
TIME, MICRO_TIME = "2026-11-23T01:40:00Z", "2026-11-23T01:40:00.123456Z"
_SAMPLES: dict[str, Any] = {
    "string": "word",
    "boolean": True,
    "int32": 7,
    "int64": -1,
    "double": 1.5,
    "bytes": base64.b64encode(b"\x00\xff").decode(),
    "quantity": "500m",
    "int-or-string": "http",
    "raw": {"f:spec": {"f:type": {}}},
    "time": TIME,
    "micro-time": MICRO_TIME,
}


def full(shape: str) -> Any:
    """A value with every field that its type has."""
    if shape.startswith("["):
        return [full(shape[1:-1])] * 2
    if shape.startswith("{"):
        return {"some.example/key": full(shape[1:-1])}
    if shape in _SAMPLES:
        return _SAMPLES[shape]
    return {name: full(of) for name, (of, _, _, _) in GO_TYPES[shape].items()}


def body(api_version: str, kind: str, message: bytes) -> bytes:
    """A message in its envelope."""
    named = field(1, api_version) + field(2, kind)
    return b"k8s\0" + field(1, named) + field(2, message)


def message(shape: str, value: dict[str, Any]) -> bytes:
    """An object, with what is embedded in it."""
    own, embedded = b"", dict[int, bytes]()
    for name, said in value.items():
        of, number, embedded_in, _ = GO_TYPES[shape][name]
        written = b"".join(field(number, each) for each in _values(of, said))
        if embedded_in:
            embedded[embedded_in] = embedded.get(embedded_in, b"") + written
        else:
            own += written
    return own + b"".join(field(number, each) for number, each in embedded.items())


def field(number: int, value: int | float | bytes | str) -> bytes:
    """A field with its number."""
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value % (1 << 64))
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(number: int) -> bytes:
    """A number, seven bits a byte."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def _values(shape: str, said: Any) -> Iterator[int | float | bytes | str]:
    if shape.startswith("["):
        for each in said:
            yield from _values(shape[1:-1], each)
    elif shape.startswith("{"):
        for name, each in said.items():
            yield field(1, name) + b"".join(field(2, one) for one in _values(shape[1:-1], each))
    else:
        yield _value(shape, said)


def _value(shape: str, said: Any) -> int | float | bytes | str:
    match shape:
        case "string" | "int32" | "int64" | "double":
            return said  # type: ignore[no-any-return]
        case "boolean":
            return int(said)
        case "bytes":
            return base64.b64decode(said)
        case "quantity":
            return field(1, said)
        case "raw":
            return field(1, json.dumps(said))
        case "int-or-string":
            return field(1, 1) + field(3, said) if isinstance(said, str) else field(2, said)
        case "time" | "micro-time":
            at = datetime.fromisoformat(said)
            return field(1, int(at.timestamp())) + field(2, at.microsecond * 1000)
    return message(shape, said)
