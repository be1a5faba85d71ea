"""API objects as JSON spells them, and the few questions everybody asks about them."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

Object: TypeAlias = dict[str, Any]
"""One API object: what ``json.loads`` makes of it, with ``apiVersion`` and ``kind``.

An object that came out of a store, a list or a watch is shared: nobody changes it in place; who
wants another one copies what differs.
"""


class Key(NamedTuple):
    """Which object of a resource."""

    namespace: str
    """Empty for resources that are not namespaced."""
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def key_of(obj: Object) -> Key:
    """The object's own name and namespace."""
    metadata = obj["metadata"]
    return Key(metadata.get("namespace", ""), metadata["name"])


def uid_of(obj: Object) -> str:
    """Which of all objects that ever had this name; empty before it is stored."""
    uid: str = obj["metadata"].get("uid", "")
    return uid


def resource_version_of(obj: Object) -> int:
    """The write that made it what it is; 0 before it is stored."""
    return int(obj["metadata"].get("resourceVersion") or 0)


def labels_of(obj: Object) -> dict[str, str]:
    """Its labels; empty if it has none."""
    return obj["metadata"].get("labels") or {}


def is_leaving(obj: Object) -> bool:
    """Whether it was deleted and only waits for somebody: a finalizer or a grace period."""
    return "deletionTimestamp" in obj["metadata"]
