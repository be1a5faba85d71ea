"""OpenAPI version 2 as protobuf: the messages of gnostic's ``openapiv2/OpenAPIv2.proto``.

Of the messages only those fields are written that the documents here have.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from netproxy.api.objects import Object

_BODY_PARAMETER, _NON_BODY_PARAMETER = 1, 2
_QUERY_PARAMETER = 3
_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def encode_v2(document: Object) -> bytes:
    """The message ``Document``."""
    info = _text(1, document["info"]["title"]) + _text(2, document["info"]["version"])
    paths = b"".join(
        _bytes(2, _text(1, path) + _bytes(2, _path_item(item)))
        for path, item in document["paths"].items()
    )
    definitions = b"".join(
        _bytes(1, _text(1, name) + _bytes(2, _schema(schema)))
        for name, schema in document["definitions"].items()
    )
    return b"".join(
        (_text(1, document["swagger"]), _bytes(2, info), _bytes(8, paths), _bytes(9, definitions))
    )


def _path_item(item: Object) -> bytes:
    return b"".join(_bytes(_METHODS[method], _operation(each)) for method, each in item.items())


def _operation(operation: Object) -> bytes:
    parts = [_text(1, each) for each in operation.get("tags", ())]
    parts.append(_text(5, operation["operationId"]))
    parts += [_text(7, each) for each in operation.get("consumes", ())]
    parts += [_bytes(8, _bytes(1, _parameter(each))) for each in operation["parameters"]]
    codes = b"".join(
        _bytes(1, _text(1, code) + _bytes(2, _bytes(1, _response(each))))
        for code, each in operation["responses"].items()
    )
    parts.append(_bytes(9, codes))
    parts += _extensions(13, operation)
    return b"".join(parts)


def _parameter(parameter: Object) -> bytes:
    if parameter["in"] == "body":
        body = b"".join(
            (
                _text(2, parameter["name"]),
                _text(3, parameter["in"]),
                _number(4, int(parameter["required"])),
                _bytes(5, _schema(parameter["schema"])),
            )
        )
        return _bytes(_BODY_PARAMETER, body)
    query = b"".join(
        (_text(2, parameter["in"]), _text(4, parameter["name"]), _text(6, parameter["type"]))
    )
    return _bytes(_NON_BODY_PARAMETER, _bytes(_QUERY_PARAMETER, query))


def _response(response: Object) -> bytes:
    schema = _bytes(1, _schema(response["schema"]))
    return _text(1, response["description"]) + _bytes(2, schema)


def _schema(schema: Object) -> bytes:
    parts = []
    if "$ref" in schema:
        parts.append(_text(1, schema["$ref"]))
    if "format" in schema:
        parts.append(_text(2, schema["format"]))
    if schema.get("description"):
        parts.append(_text(4, schema["description"]))
    parts += [_text(19, each) for each in schema.get("required", ())]
    if "additionalProperties" in schema:
        parts.append(_bytes(21, _bytes(1, _schema(schema["additionalProperties"]))))
    if "type" in schema:
        parts.append(_bytes(22, _text(1, schema["type"])))
    if "items" in schema:
        parts.append(_bytes(23, _bytes(1, _schema(schema["items"]))))
    if schema.get("properties"):
        properties = b"".join(
            _bytes(1, _text(1, name) + _bytes(2, _schema(each)))
            for name, each in schema["properties"].items()
        )
        parts.append(_bytes(25, properties))
    parts += _extensions(31, schema)
    return b"".join(parts)


def _extensions(number: int, holder: Object) -> Iterable[bytes]:
    """``NamedAny``: a name, and a value as YAML."""
    for name, value in holder.items():
        if name.startswith("x-"):
            yield _bytes(number, _text(1, name) + _bytes(2, _any(value)))


def _any(value: Any) -> bytes:
    return _text(2, yaml.safe_dump(value, default_flow_style=False))


def _text(number: int, text: str) -> bytes:
    return _bytes(number, text.encode())


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
