"""``metadata.managedFields``: who owns which fields, and since when."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import reduce
from typing import Any, Literal, NamedTuple, TypeAlias

from netproxy.api.objects import Object
from netproxy.apiserver.patch.fields import FieldSet, read_fields, union

Operation: TypeAlias = Literal["Apply", "Update"]

MOST_UPDATERS = 10
"""Owners by updates; more of them share entries, the oldest first (Kubernetes 1.36)."""
ANCIENT = "ancient-changes"
_OPERATIONS: tuple[Operation, ...] = ("Apply", "Update")


class Owner(NamedTuple):
    """Who owns fields: a program, and the way in which it came to do so."""

    manager: str
    operation: Operation
    api_version: str
    """Empty for one that applies: it stays the same one whatever version it applies."""
    subresource: str = ""

    @property
    def told(self) -> str:
        """As conflicts name it: ``"kubectl" with subresource "status" using v1``."""
        told = json.dumps(self.manager, ensure_ascii=False)
        if self.subresource:
            told += f' with subresource "{self.subresource}"'
        return f"{told} using {self.api_version}" if self.operation == "Update" else told


class Entry(NamedTuple):
    """What somebody owns."""

    owner: Owner
    api_version: str
    """In which the fields are named."""
    fields: FieldSet
    time: str = ""
    """Of the last change, as it stands in objects; empty: nobody knows."""

    def to_object(self) -> Object:
        """As it stands in objects (``ManagedFieldsEntry``)."""
        made: Object = {
            "manager": self.owner.manager,
            "operation": self.owner.operation,
            "apiVersion": self.api_version,
        }
        if self.time:
            made["time"] = self.time
        made["fieldsType"] = "FieldsV1"
        made["fieldsV1"] = self.fields
        if self.owner.subresource:
            made["subresource"] = self.owner.subresource
        return made


def time_text(now: datetime) -> str:
    """A time as it stands in objects, to the second."""
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def stored_entries(obj: Object | None) -> list[Entry]:
    """The entries of an object that was written here: their fields need no reading."""
    entries = _said(obj) if obj is not None else None
    return [_entry(each, each.get("fieldsV1") or {}) for each in entries or []]


def starting_entries(old: Object | None, new: Object, subresource: str) -> list[Entry]:
    """Who owns what before a write.

    A client may send entries along with the object itself: other ones count instead of the old
    ones, if they can be read; ``[]`` or ``[{}]`` makes a new start, without any.
    """
    said = _said(new)
    if subresource or said is None or (old is not None and said == _said(old)):
        return stored_entries(old)
    if said in ([], [{}]):
        return []
    try:
        return _read_entries(said) or stored_entries(old)
    except (ValueError, TypeError, AttributeError):
        return stored_entries(old)


def _said(obj: Object) -> Any:
    return (obj.get("metadata") or {}).get("managedFields")


def _read_entries(said: list[Any]) -> list[Entry]:
    """Entries that somebody else wrote; of two of one owner the last counts."""
    found: dict[Owner, Entry] = {}
    for each in said:
        if each.get("operation") not in _OPERATIONS:
            raise ValueError("operation must be `Apply` or `Update`")
        if each.get("fieldsType") != "FieldsV1" or not each.get("apiVersion"):
            raise ValueError("fieldsType or apiVersion is missing")
        entry = _entry(each, read_fields(each.get("fieldsV1") or {}))
        if entry.fields:
            found[entry.owner] = entry
    return list(found.values())


def _entry(said: Object, fields: FieldSet) -> Entry:
    api_version: str = said["apiVersion"]
    operation: Operation = said["operation"]
    owner = Owner(
        said.get("manager", ""),
        operation,
        api_version if operation == "Update" else "",
        said.get("subresource", ""),
    )
    return Entry(owner, api_version, fields, said.get("time") or "")


def capped(entries: Sequence[Entry]) -> list[Entry]:
    """With at most so many owners by updates: the oldest ones of a version share an entry."""
    updates = [each for each in entries if each.owner.operation == "Update"]
    excess = len(updates) - MOST_UPDATERS
    if excess <= 0:
        return list(entries)
    updates.sort(key=lambda each: (each.owner.manager != ANCIENT, each.time, each.owner))
    oldest: dict[str, list[Entry]] = {}
    for entry in updates:
        sharing = oldest.setdefault(entry.api_version, [])
        sharing.append(entry)
        # The first of a version gives up nothing: there is nobody to share with.
        excess -= len(sharing) > 1
        if not excess:
            break
    kept = {each.owner: each for each in entries}
    for version, sharing in oldest.items():
        if len(sharing) > 1:
            for each in sharing:
                del kept[each.owner]
            owner = Owner(ANCIENT, "Update", version)
            fields = reduce(union, [each.fields for each in sharing])
            kept[owner] = Entry(owner, version, fields, sharing[-1].time)
    return list(kept.values())


def with_entries(obj: Object, entries: Iterable[Entry]) -> Object:
    """The object with these entries, those who apply first, and then by time."""
    metadata = {
        name: value
        for name, value in (obj.get("metadata") or {}).items()
        if name != "managedFields"
    }
    told = sorted(entries, key=lambda each: (each.owner.operation, each.time, each.owner))
    if told:
        metadata["managedFields"] = [each.to_object() for each in told]
    return {**obj, "metadata": metadata}
