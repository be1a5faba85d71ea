"""What the API server of the tests holds: objects, their versions, and what happened.

Each version of an object is encoded once; lists and watches share the bytes.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import msgspec

Object = dict[str, Any]
Selection = Callable[[Object], bool]


class Kind(NamedTuple):
    """How objects of a kind are found over HTTP."""

    name: str
    version: str
    plural: str
    is_namespaced: bool = True

    @property
    def path(self) -> str:
        root = "apis" if "/" in self.version else "api"
        return f"/{root}/{self.version}/{self.plural}"


KINDS = {
    kind.name: kind
    for kind in (
        Kind("Service", "v1", "services"),
        Kind("EndpointSlice", "discovery.k8s.io/v1", "endpointslices"),
        Kind("Node", "v1", "nodes", is_namespaced=False),
        Kind("ServiceCIDR", "networking.k8s.io/v1", "servicecidrs", is_namespaced=False),
        Kind("Namespace", "v1", "namespaces", is_namespaced=False),
        Kind("Pod", "v1", "pods"),
        Kind("Event", "events.k8s.io/v1", "events"),
    )
}


class Backup(NamedTuple):
    """What was there at some time."""

    version: int
    objects: dict[str, dict[tuple[str, str], Stored]]


class Expired(Exception):
    """This version is older than what is remembered."""


class Stored:
    """One version of an object."""

    def __init__(self, obj: Object, version: int) -> None:
        self.object = obj
        self.version = version
        self.raw = msgspec.json.encode(obj)

    @cached_property
    def added(self) -> bytes:
        """The line that tells a watcher of it for the first time."""
        return line("ADDED", self.raw)

    @cached_property
    def modified(self) -> bytes:
        return line("MODIFIED", self.raw)


class Change:
    """What happened to one object."""

    def __init__(self, version: int, before: Stored | None, after: Stored | None) -> None:
        self.version = version
        self._before = before
        self._after = after

    def line(self, is_selected: Selection) -> bytes | None:
        """How somebody hears of it who watches a selection; None: not at all."""
        was = self._before is not None and is_selected(self._before.object)
        if self._after is not None and is_selected(self._after.object):
            return self._after.modified if was else self._after.added
        return self._deleted if was else None

    @cached_property
    def _deleted(self) -> bytes:
        """The object as it was, in the version in which it is gone from the selection."""
        assert self._before is not None
        obj = self._before.object
        metadata = {**obj["metadata"], "resourceVersion": str(self.version)}
        return line("DELETED", msgspec.json.encode({**obj, "metadata": metadata}))


class Storage:
    """Everything of every kind. Threads may share it.

    Args:
        changed: Called with a kind's plural after each change, in the changing thread.
    """

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._lock = threading.RLock()
        self._objects: dict[str, dict[tuple[str, str], Stored]] = {}
        self._changes: dict[str, list[Change]] = {}
        self._oldest: dict[str, int] = {}
        self.version = 1

    def put(self, obj: Object) -> int:
        """Create or replace; returns the version."""
        kind = KINDS[obj["kind"]]
        metadata = obj["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        with self._lock:
            self.version += 1
            before = self._objects.setdefault(kind.plural, {}).get(key)
            uid = before.object["metadata"]["uid"] if before else f"uid-{self.version}"
            named = {"uid": uid, **metadata, "resourceVersion": str(self.version)}
            after = Stored({**obj, "metadata": named}, self.version)
            self._objects[kind.plural][key] = after
            self._note(kind.plural, before, after)
            version = self.version
        self._changed(kind.plural)
        return version

    def delete(self, plural: str, name: str, namespace: str = "") -> int:
        """Delete; returns the version in which it is gone. KeyError: there is none."""
        with self._lock:
            before = self._objects.get(plural, {}).pop((namespace, name))
            self.version += 1
            self._note(plural, before, None)
            version = self.version
        self._changed(plural)
        return version

    def get(self, plural: str, name: str, namespace: str = "") -> Stored | None:
        with self._lock:
            return self._objects.get(plural, {}).get((namespace, name))

    def snapshot(self, plural: str, is_selected: Selection) -> tuple[int, list[Stored]]:
        """The present version, and all objects in the order of their names."""
        with self._lock:
            objects = sorted(self._objects.get(plural, {}).items())
            version = self.version
        return version, [stored for _, stored in objects if is_selected(stored.object)]

    def changes_after(self, plural: str, version: int) -> list[Change]:
        """What happened since. Expired: nobody knows any more."""
        with self._lock:
            if version < self._oldest.get(plural, 0):
                raise Expired
            changes = self._changes.get(plural, [])
            return changes[bisect.bisect_right(changes, version, key=lambda c: c.version) :]

    def forget_changes(self, plural: str) -> None:
        """From now on only the present version is known, as after etcd was compacted."""
        with self._lock:
            self.version += 1
            self._changes[plural] = []
            self._oldest[plural] = self.version

    def backup(self) -> Backup:
        """All that is there, to be restored."""
        with self._lock:
            return Backup(self.version, {p: dict(each) for p, each in self._objects.items()})

    def restore(self, backup: Backup) -> None:
        """Be as it was then; versions count on from there, and nobody knows what came before."""
        with self._lock:
            self.version = backup.version
            self._objects = {plural: dict(each) for plural, each in backup.objects.items()}
            self._changes = {}
            self._oldest = dict.fromkeys(self._objects, backup.version)

    def _note(self, plural: str, before: Stored | None, after: Stored | None) -> None:
        self._changes.setdefault(plural, []).append(Change(self.version, before, after))


def line(type_: str, raw: bytes) -> bytes:
    """One event of a watch."""
    return b'{"type":"%s","object":%s}\n' % (type_.encode(), raw)


def bookmark(kind: Kind, version: int, *, ends_initial_events: bool = False) -> bytes:
    """The line that only says how far the watcher is."""
    metadata: Object = {"resourceVersion": str(version)}
    if ends_initial_events:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    obj = {"kind": kind.name, "apiVersion": kind.version, "metadata": metadata}
    return line("BOOKMARK", msgspec.json.encode(obj))


def selection(label_selector: str, field_selector: str) -> Selection:
    """What the two selectors of a request choose together.

    Example:
        >>> chosen = selection("!odd,app=web", "spec.clusterIP!=None")
        >>> [chosen({"metadata": {"labels": {"app": app}}}) for app in ("web", "db")]
        [True, False]
        >>> chosen({"metadata": {"labels": {"app": "web", "odd": ""}}})
        False
    """
    terms = [*_label_terms(label_selector), *_field_terms(field_selector)]
    return lambda obj: all(term(obj) for term in terms)


def _label_terms(selector: str) -> Iterator[Selection]:
    for term in _split(selector):
        key, sign, value = _parse_term(term)
        if sign:
            yield partial(_has_label_value, key, value, sign == "=")
        else:
            yield partial(_has_label, key.removeprefix("!"), not key.startswith("!"))


def _field_terms(selector: str) -> Iterator[Selection]:
    for term in _split(selector):
        key, sign, value = _parse_term(term)
        yield partial(_has_field_value, tuple(key.split(".")), value, sign == "=")


def _has_label(key: str, wanted: bool, obj: Object) -> bool:
    return (key in _labels(obj)) is wanted


def _has_label_value(key: str, value: str, wanted: bool, obj: Object) -> bool:
    return (_labels(obj).get(key) == value) is wanted


def _has_field_value(steps: Sequence[str], value: str, wanted: bool, obj: Object) -> bool:
    found: Any = obj
    for step in steps:
        found = found.get(step, "") if isinstance(found, dict) else ""
    return (str(found) == value) is wanted


def _split(selector: str) -> list[str]:
    return [term for term in selector.split(",") if term]


def _parse_term(term: str) -> tuple[str, str, str]:
    if "!=" in term:
        key, _, value = term.partition("!=")
        return key, "!=", value
    key, sign, value = term.replace("==", "=").partition("=")
    return key, sign, value


def _labels(obj: Object) -> dict[str, str]:
    labels: dict[str, str] = obj["metadata"].get("labels") or {}
    return labels
