"""Objects that a workload controls: found by its uid, adopted when its selector selects them."""

from __future__ import annotations

from typing import Any

from netproxy.api.objects import Key, Object, is_leaving, labels_of
from netproxy.api.resources import Resource
from netproxy.controllers.contract import Action, Objects, Update
from netproxy.controllers.slices import owner_reference


def controller_of(obj: Object) -> Object | None:
    """The owner that controls it."""
    owners = obj["metadata"].get("ownerReferences") or ()
    return next((each for each in owners if each.get("controller")), None)


class Owned:
    """Who owns what, and who could.

    Args:
        owners: The resource of the owners.
    """

    def __init__(self, owners: Resource) -> None:
        self._resource = owners
        self._selectors: dict[str, dict[Key, Object]] = {}
        self._owned: dict[str, dict[Key, None]] = {}
        self._orphans: dict[str, dict[Key, None]] = {}

    def put_owner(self, key: Key, new: Object | None) -> None:
        """An owner came, changed or went."""
        selectors = self._selectors.setdefault(key.namespace, {})
        if new is None:
            selectors.pop(key, None)
        else:
            selectors[key] = new["spec"].get("selector") or {}

    def put_owned(self, key: Key, old: Object | None, new: Object | None) -> set[Key]:
        """Something that may be owned came, changed or went; the owners that may care."""
        found: set[Key] = set()
        for each in (old, new):
            if each is None:
                continue
            owner = controller_of(each)
            if owner is None:
                listed = self._orphans.setdefault(key.namespace, {})
                found |= self._adopters(key.namespace, each)
            elif owner["kind"] == self._resource.kind:
                listed = self._owned.setdefault(owner["uid"], {})
                found.add(Key(key.namespace, owner["name"]))
            else:
                continue
            if each is new:
                listed[key] = None
            else:
                listed.pop(key, None)
        return found

    def _adopters(self, namespace: str, obj: Object) -> set[Key]:
        return {
            key
            for key, selector in self._selectors.get(namespace, {}).items()
            if matches_selector(selector, labels_of(obj))
        }

    def claim(
        self, owner: Object, resource: Resource, objects: Objects
    ) -> tuple[list[Action], list[Object]]:
        """What an owner has: writes that adopt and release, and the objects that are its own."""
        metadata = owner["metadata"]
        selector = owner["spec"].get("selector") or {}
        actions: list[Action] = []
        found: list[Object] = []
        for key in sorted(self._owned.get(metadata["uid"], ())):
            obj = objects.get(resource, key)
            if obj is None:
                continue
            if matches_selector(selector, labels_of(obj)):
                found.append(obj)
            elif not is_leaving(obj):
                actions.append(Update(resource, _owned_by(obj, metadata["uid"], None)))
        namespace = metadata.get("namespace", "")
        for key in sorted(self._orphans.get(namespace, ())):
            obj = objects.get(resource, key)
            if obj is None or is_leaving(obj) or not matches_selector(selector, labels_of(obj)):
                continue
            reference = owner_reference(self._resource.api_version, self._resource.kind, metadata)
            adopted = _owned_by(obj, metadata["uid"], reference)
            actions.append(Update(resource, adopted))
            found.append(adopted)
        return actions, found


def _owned_by(obj: Object, uid: str, reference: Object | None) -> Object:
    owners = [each for each in obj["metadata"].get("ownerReferences") or () if each["uid"] != uid]
    if reference is not None:
        owners.append(reference)
    metadata = {**obj["metadata"], "ownerReferences": owners}
    if not owners:
        del metadata["ownerReferences"]
    return {**obj, "metadata": metadata}


def matches_selector(selector: Object, labels: Any) -> bool:
    """Whether a ``LabelSelector`` selects labels; an empty one selects nothing here."""
    equal = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or ()
    if not equal and not expressions:
        return False
    if any(labels.get(name) != value for name, value in equal.items()):
        return False
    return all(_holds(each, labels) for each in expressions)


def _holds(requirement: Object, labels: Any) -> bool:
    key, values = requirement["key"], requirement.get("values") or ()
    match requirement["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels
