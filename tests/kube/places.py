"""Paths of the API → kinds and names; and what clients may write there."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from tests.kube.faults import Reply, status
from tests.kube.storage import KINDS, Kind, Object, Storage

_BY_PLACE = {(kind.version, kind.plural): kind for kind in KINDS.values()}


class Place(NamedTuple):
    """What a path names: a kind in all namespaces or one, or an object."""

    kind: Kind
    namespace: str = ""
    name: str = ""


def find_place(path: str) -> Place | None:
    """What a path names; None: nothing.

    Example:
        >>> place = find_place("/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices/web-1")
        >>> place.kind.name, place.namespace, place.name
        ('EndpointSlice', 'ns', 'web-1')
    """
    _, root, *rest = path.split("/")
    if root == "apis" and rest:
        rest = ["/".join(rest[:2]), *rest[2:]]
    if root not in ("api", "apis") or len(rest) < 2:
        return None
    version, *rest = rest
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    kind = _BY_PLACE.get((version, rest[0]))
    if kind is None or len(rest) > 2:
        return None
    return Place(kind, namespace, rest[1] if len(rest) == 2 else "")


def write(storage: Storage, place: Place, method: str, body: bytes) -> Reply:
    """POST, PUT, PATCH (of whatever type: as a merge patch) or DELETE."""
    try:
        given = msgspec.json.decode(body) if body else {}
    except msgspec.DecodeError:
        return status(400, "BadRequest", "the object provided is unrecognized")
    kind = place.kind
    found = storage.get(kind.plural, place.name, place.namespace) if place.name else None
    if method == "POST":
        given["metadata"].setdefault("namespace", place.namespace)
        name = given["metadata"].get("name", "")
        if storage.get(kind.plural, name, place.namespace) is not None:
            return status(409, "AlreadyExists", f'{kind.plural} "{name}" already exists')
        return _store(storage, kind, given, 201)
    if found is None:
        return status(404, "NotFound", f'{kind.plural} "{place.name}" not found')
    if method == "DELETE":
        storage.delete(kind.plural, place.name, place.namespace)
        return Reply(200, found.raw)
    return _store(storage, kind, _merge(found.object, given) if method == "PATCH" else given, 200)


def _store(storage: Storage, kind: Kind, obj: Object, code: int) -> Reply:
    storage.put({**obj, "kind": kind.name, "apiVersion": kind.version})
    metadata = obj["metadata"]
    stored = storage.get(kind.plural, metadata["name"], metadata.get("namespace", ""))
    assert stored is not None
    return Reply(code, stored.raw)


def _merge(old: Any, patch: Any) -> Any:
    """Source: RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged
