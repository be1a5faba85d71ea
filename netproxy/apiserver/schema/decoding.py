"""Bodies → objects: JSON quickly, and carefully only where a field may stand twice; YAML."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from netproxy.api.objects import Object
from netproxy.api.status import StatusError, bad_request
from netproxy.errors import ManifestError

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_SHOWN = 200


def decode_any(body: bytes) -> Any:
    """Any JSON.

    Raises:
        StatusError: 400, it is none.
    """
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise bad_request(f"error decoding patch: {_fault(body, error)}") from None


def decode_json(body: bytes, kind: str) -> tuple[Object, tuple[str, ...]]:
    """An object, and the paths of fields that stand there twice, of which the last counts.

    Args:
        body: As it came.
        kind: What it should be, for the message.

    Raises:
        StatusError: 400, it is no JSON, or no object.
    """
    try:
        obj = _decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unrecognised(body, kind, _fault(body, error)) from None
    if not isinstance(obj, dict):
        raise _unrecognised(body, kind, "the body is no JSON object")
    # Who says less than he was told has dropped something: the same text, fewer colons.
    if _encode(obj).count(b'":') == body.count(b'":'):
        return obj, ()
    return obj, tuple(_duplicates(body))


def decode_yaml(body: bytes, kind: str) -> tuple[Object, tuple[str, ...]]:
    """An object from YAML, which JSON is, too; what stands there twice is refused.

    Raises:
        StatusError: 400.
    """
    from netproxy.sources.manifests.documents import read_documents

    try:
        found = read_documents(body, "body")
    except ManifestError as error:
        raise bad_request(f"error decoding YAML: {error.message}") from None
    if len(found) != 1 or not isinstance(found[0], dict):
        raise _unrecognised(body, kind, "the body is not one YAML object")
    # Through JSON, so that keys are strings and times are text, as with every other client.
    try:
        obj: Object = _decode(_encode(found[0]))
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise bad_request(f"error converting YAML to JSON: {error}") from None
    return obj, ()


def encode_yaml(obj: Object) -> bytes:
    """An object as YAML."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(obj, Dumper=dumper, encoding="utf-8", sort_keys=False, allow_unicode=True)


def _duplicates(body: bytes) -> list[str]:
    """Paths of fields that stand there twice."""
    found: list[str] = []

    class Pairs(dict[str, Any]):
        twice: tuple[str, ...] = ()

    def pairs(given: list[tuple[str, Any]]) -> Pairs:
        made = Pairs(given)
        names = [name for name, _ in given]
        made.twice = tuple({name: None for name in names if names.count(name) > 1})
        return made

    def walk(value: Any, path: str) -> None:
        if isinstance(value, Pairs):
            found.extend(f"{path}{name}" for name in value.twice)
            for name, inner in value.items():
                walk(inner, f"{path}{name}.")
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                walk(inner, f"{path.rstrip('.')}[{index}].")

    try:
        walk(json.loads(body, object_pairs_hook=pairs), "")
    except (ValueError, RecursionError):
        return []
    return found


def _fault(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "unexpected end of JSON input"
    told = str(error)
    return "unexpected end of JSON input" if "truncated" in told else told


def _unrecognised(body: bytes, kind: str, fault: str) -> StatusError:
    shown = body[:_SHOWN].decode("utf-8", "replace")
    return bad_request(
        f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; "
        f"json parse error: {fault} ({shown})"
    )
