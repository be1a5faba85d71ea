"""JSON patch, RFC 6902: operations one after the other, all of them or none.

Where the RFC and kube-apiserver 1.36 differ, this follows kube-apiserver: an index may count from
the end (``-1``), ``replace`` makes a member that is not there, ``copy`` of what is not there is
null. Its words for what does not work are kept as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

from netproxy.api.objects import Object
from netproxy.api.status import StatusError, bad_request
from netproxy.apiserver.patch.json_values import copied, is_same, not_too_deep, type_name

MOST_OPERATIONS = 10_000
LARGEST_COPIES = 3 * 1024 * 1024
"""Bytes that all ``copy`` operations of a patch may add, as JSON; or a short patch could make an
object that fills the memory."""

_INDEX = re.compile(r"[+-]?[0-9]{1,9}\Z")
_REFUSED = "the server rejected our request due to an error in our request"
_Container: TypeAlias = "dict[str, Any] | list[Any]"


class _Refused(Exception):
    """An operation that cannot be done; says why."""


class _Missing(Exception):
    """A place that is not there; says what of it."""


@not_too_deep
def apply_json_patch(old: Object, patch: object) -> Object:
    """The object after all operations; ``old`` stays as it is.

    Args:
        old: What is patched.
        patch: Decoded JSON. null is taken for an empty patch, as kube-apiserver does.

    Raises:
        StatusError: 400, it is no list of operations; 413, it has too many; 422, one of them
            cannot be done, or a ``test`` failed. kube-apiserver keeps to itself which and why;
            here the sentence goes on with it.
    """
    operations = _read(patch)
    document = _Document(copied(old))
    try:
        for operation in operations:
            document.perform(operation)
    except _Refused as error:
        raise StatusError(422, "Invalid", f"{_REFUSED}: {error}") from None
    if not isinstance(document.root, dict):
        raise StatusError(422, "Invalid", f"{_REFUSED}: the outcome is no object")
    return document.root


def _read(patch: object) -> list[Mapping[str, Any]]:
    if patch is None:
        return []
    cannot = "error decoding patch: json: cannot unmarshal"
    if not isinstance(patch, list):
        raise bad_request(
            f"{cannot} {type_name(patch)} into Go value of type []handlers.jsonPatchOp"
        )
    if len(patch) > MOST_OPERATIONS:
        raise StatusError(
            413,
            "RequestEntityTooLarge",
            "Request entity is too large: The allowed maximum operations in a JSON patch is "
            f"{MOST_OPERATIONS}, got {len(patch)}",
        )
    for operation in patch:
        if not isinstance(operation, dict):
            raise bad_request(
                f"{cannot} {type_name(operation)} into Go value of type handlers.jsonPatchOp"
            )
        for name in ("op", "path", "from"):
            value = operation.get(name)
            if value is not None and not isinstance(value, str):
                raise bad_request(
                    f"{cannot} {type_name(value)} into Go struct field jsonPatchOp.{name} of type "
                    "string"
                )
    return patch


class _Document:
    """What the operations change, in place."""

    def __init__(self, root: _Container) -> None:
        self.root = root
        self._copied_bytes = 0

    def perform(self, operation: Mapping[str, Any]) -> None:
        kind = operation.get("op") or "unknown"
        if kind not in _OPERATIONS:
            raise _Refused(f"Unexpected kind: {kind}")
        _OPERATIONS[kind](self, operation)

    def add(self, operation: Mapping[str, Any]) -> None:
        path = _path(operation, "add", "path")
        container, key = self._place(
            path, f'add operation does not apply: doc is missing path: "{path}"'
        )
        try:
            _insert(container, key, copied(operation.get("value")))
        except _Missing as error:
            raise _Refused(f"error in add for path: '{path}': {error}") from None

    def remove(self, operation: Mapping[str, Any]) -> None:
        path = _path(operation, "remove", "path")
        container, key = self._place(
            path, f'remove operation does not apply: doc is missing path: "{path}"'
        )
        try:
            _take(container, key)
        except _Missing as error:
            raise _Refused(f"error in remove for path: '{path}': {error}") from None

    def replace(self, operation: Mapping[str, Any]) -> None:
        path = _path(operation, "replace", "path")
        value = copied(operation.get("value"))
        if not path:
            if not isinstance(value, (dict, list)):
                raise _Refused("replace operation value must be object or array")
            self.root = value
            return
        container, key = self._place(
            path, f"replace operation does not apply: doc is missing path: {path}"
        )
        if isinstance(container, dict):
            container[key] = value
            return
        try:
            container[_index(key, len(container))] = value
        except _Missing:
            raise _Refused(
                f"replace operation does not apply: doc is missing key: {path}: missing value"
            ) from None

    def move(self, operation: Mapping[str, Any]) -> None:
        origin = _path(operation, "move", "from")
        container, key = self._place(
            origin, f"move operation does not apply: doc is missing from path: {origin}"
        )
        try:
            value = _take(container, key)
        except _Missing as error:
            raise _Refused(f"error in move for path: '{key}': {error}") from None
        path = _path(operation, "move", "path")
        container, key = self._place(
            path, f"move operation does not apply: doc is missing destination path: {path}"
        )
        try:
            _insert(container, key, value)
        except _Missing as error:
            raise _Refused(f"error in move for path: '{path}': {error}") from None

    def copy(self, operation: Mapping[str, Any]) -> None:
        origin = _path(operation, "copy", "from")
        container, key = self._place(
            origin, f"copy operation does not apply: doc is missing from path: {origin}"
        )
        try:
            value = _look(container, key)
        except _Missing as error:
            raise _Refused(f"error in copy for from: '{origin}': {error}") from None
        path = _path(operation, "copy", "path")
        container, key = self._place(
            path, f"copy operation does not apply: doc is missing destination path: {path}"
        )
        self._copied_bytes += len(msgspec.json.encode(value))
        if self._copied_bytes > LARGEST_COPIES:
            raise _Refused(
                "Unable to complete the copy, the accumulated size increase of copy is "
                f"{self._copied_bytes}, exceeding the limit {LARGEST_COPIES}"
            )
        try:
            _insert(container, key, copied(value))
        except _Missing as error:
            raise _Refused(f"error while adding value during copy: {error}") from None

    def test(self, operation: Mapping[str, Any]) -> None:
        path = _path(operation, "test", "path")
        value: Any = self.root
        if path:
            container, key = self._place(
                path, f"test operation does not apply: is missing path: {path}"
            )
            try:
                value = _look(container, key)
            except _Missing as error:
                raise _Refused(f"error in test for path: '{path}': {error}") from None
        if not is_same(value, operation.get("value")):
            raise _Refused(f"testing value {path} failed: test failed")

    def _place(self, path: str, missing: str) -> tuple[_Container, str]:
        """The container that has, or is to have, the last part of the path; and that part."""
        start, *parts = path.split("/")
        if start or not parts:
            raise _Refused(f"{missing}: missing value")
        *way, key = [part.replace("~1", "/").replace("~0", "~") for part in parts]
        container: Any = self.root
        for part in way:
            try:
                container = _look(container, part)
            except _Missing:
                container = None
            if not isinstance(container, (dict, list)):
                raise _Refused(f"{missing}: missing value")
        return container, key


_OPERATIONS: Mapping[str, Callable[[_Document, Mapping[str, Any]], None]] = MappingProxyType(
    {
        "add": _Document.add,
        "remove": _Document.remove,
        "replace": _Document.replace,
        "move": _Document.move,
        "copy": _Document.copy,
        "test": _Document.test,
    }
)


def _path(operation: Mapping[str, Any], kind: str, member: str) -> str:
    path: str | None = operation.get(member)
    if path is None:
        raise _Refused(f"{kind} operation failed to decode {member}: missing value")
    return path


def _index(key: str, length: int) -> int:
    if not _INDEX.match(key):
        raise _Missing(f'strconv.Atoi: parsing "{key}": invalid syntax')
    index = int(key)
    if not -length <= index < length:
        raise _Missing(f"Unable to access invalid index: {index}: invalid index referenced")
    return index % length


def _look(container: _Container, key: str) -> Any:
    if isinstance(container, dict):
        return container.get(key)
    return container[_index(key, len(container))]


def _take(container: _Container, key: str) -> Any:
    if isinstance(container, list):
        return container.pop(_index(key, len(container)))
    if key not in container:
        raise _Missing(f"Unable to remove nonexistent key: {key}: missing value")
    return container.pop(key)


def _insert(container: _Container, key: str, value: Any) -> None:
    if isinstance(container, dict):
        container[key] = value
    elif key == "-":
        container.append(value)
    else:
        if not _INDEX.match(key):
            raise _Missing(
                f"value was not a proper array index: '{key}': strconv.Atoi: parsing \"{key}\": "
                "invalid syntax"
            )
        container.insert(_index(key, len(container) + 1), value)
