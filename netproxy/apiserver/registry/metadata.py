"""``metadata``: the same rules for objects of every kind."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from netproxy.api.objects import Object
from netproxy.api.resources import (
    CONFIG_MAPS,
    CORE_EVENTS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    IP_ADDRESSES,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICA_SETS,
    SERVICE_CIDRS,
    SERVICES,
    Resource,
)
from netproxy.api.status import Cause
from netproxy.apiserver.contract import Dice
from netproxy.apiserver.registry import causes, names

LONGEST_ANNOTATIONS = 256 * 1024
"""All of an object's annotations together, in bytes."""
_LONGEST_PREFIX = 58
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
"""Letters of generated names: no vowels, so that no words come out."""

NameRule = Callable[[str], list[str]]
NAME_RULES: MappingProxyType[Resource, NameRule] = MappingProxyType(
    {
        SERVICES: names.label_faults,
        NAMESPACES: names.label_faults,
        ENDPOINTS: names.subdomain_faults,
        PODS: names.subdomain_faults,
        NODES: names.subdomain_faults,
        CONFIG_MAPS: names.subdomain_faults,
        CORE_EVENTS: names.subdomain_faults,
        EVENTS: names.subdomain_faults,
        ENDPOINT_SLICES: names.subdomain_faults,
        SERVICE_CIDRS: names.subdomain_faults,
        IP_ADDRESSES: names.path_segment_faults,
        DEPLOYMENTS: names.subdomain_faults,
        REPLICA_SETS: names.subdomain_faults,
        LEASES: names.subdomain_faults,
    }
)


def rfc3339(moment: datetime) -> str:
    """A moment as objects have it, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def new_metadata(
    obj: Object, now: datetime, random: Dice, is_taken: Callable[[str], bool]
) -> Object:
    """A new object's metadata: what is the server's own is made here, whatever the client said.

    Args:
        obj: What the client sent.
        now: In UTC.
        random: For uid and generated names.
        is_taken: Whether an object has that name already.
    """
    said = obj.get("metadata") or {}
    own = {
        "resourceVersion", "uid", "creationTimestamp", "deletionTimestamp", "generation",
        "deletionGracePeriodSeconds", "selfLink",
    }  # fmt: skip
    kept = {name: value for name, value in said.items() if name not in own}
    name = kept.get("name") or ""
    if not name and kept.get("generateName"):
        name = _generated(kept["generateName"], random, is_taken)
    metadata: Object = {"name": name} if name else {}
    for field in ("generateName", "namespace"):
        if kept.get(field):
            metadata[field] = kept[field]
    metadata["uid"] = str(uuid.UUID(int=random.getrandbits(128), version=4))
    metadata["creationTimestamp"] = rfc3339(now)
    return metadata | {name: value for name, value in kept.items() if name not in metadata}


def _generated(prefix: str, random: Dice, is_taken: Callable[[str], bool]) -> str:
    start = prefix[:_LONGEST_PREFIX]
    name = ""
    for _ in range(8):
        name = start + "".join(random.choice(_SUFFIX) for _ in range(5))
        if not is_taken(name):
            break
    return name


def updated_metadata(old: Object, new: Object) -> Object:
    """The metadata of an update: what only the server writes stays as it was."""
    metadata = dict(new["metadata"])
    before = old["metadata"]
    for field in ("uid", "creationTimestamp", "generateName", "selfLink", "generation"):
        if field in before:
            metadata[field] = before[field]
        else:
            metadata.pop(field, None)
    for field in ("deletionTimestamp", "deletionGracePeriodSeconds"):
        if field in before:
            metadata[field] = before[field]
        else:
            metadata.pop(field, None)
    metadata["resourceVersion"] = before.get("resourceVersion", "")
    return metadata


def metadata_faults(resource: Resource, metadata: Object) -> list[Cause]:
    """What is wrong with the metadata of a new object."""
    found: list[Cause] = []
    name = metadata.get("name", "")
    if not name:
        found.append(causes.required("metadata.name", "name or generateName is required"))
    else:
        rule = NAME_RULES.get(resource, names.path_segment_faults)
        found += [causes.invalid("metadata.name", name, each) for each in rule(name)]
    return found + shared_faults(metadata)


def shared_faults(metadata: Object) -> list[Cause]:
    """What is wrong with labels, annotations, finalizers and owners."""
    found = label_faults(metadata.get("labels") or {}, "metadata.labels")
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        found += [
            causes.invalid("metadata.annotations", key, each)
            for each in names.qualified_faults(key.lower())
        ]
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > LONGEST_ANNOTATIONS:
        found.append(causes.too_long("metadata.annotations", LONGEST_ANNOTATIONS))
    for each in metadata.get("finalizers") or ():
        found += [
            causes.invalid("metadata.finalizers", each, why) for why in names.qualified_faults(each)
        ]
    return found + _owner_faults(metadata.get("ownerReferences") or ())


def label_faults(labels: Object, field: str) -> list[Cause]:
    """What is wrong with labels."""
    found = []
    for key, value in labels.items():
        found += [causes.invalid(field, key, each) for each in names.qualified_faults(key)]
        found += [causes.invalid(field, value, each) for each in names.label_value_faults(value)]
    return found


def _owner_faults(owners: Sequence[Object]) -> list[Cause]:
    found = []
    controllers = 0
    for index, owner in enumerate(owners):
        field = f"metadata.ownerReferences[{index}]"
        found += [
            causes.invalid(f"{field}.{name}", "", "must not be empty")
            for name in ("apiVersion", "kind", "name", "uid")
            if not owner.get(name)
        ]
        controllers += owner.get("controller") is True
    if controllers > 1:
        why = "Only one reference can have Controller set to true"
        found.append(causes.invalid("metadata.ownerReferences", list(owners), why))
    return found


def update_faults(old: Object, new: Object) -> list[Cause]:
    """What an update may not change."""
    found = []
    before, after = old["metadata"], new["metadata"]
    for field in ("name", "namespace"):
        if before.get(field, "") != after.get(field, ""):
            why = "field is immutable"
            found.append(causes.invalid(f"metadata.{field}", after.get(field, ""), why))
    if "deletionTimestamp" in before:
        added = set(after.get("finalizers") or ()) - set(before.get("finalizers") or ())
        if added:
            listed = json_list(sorted(added))
            why = (
                f"no new finalizers can be added if the object is being deleted, found new {listed}"
            )
            found.append(causes.forbidden("metadata.finalizers", why))
    return found + shared_faults(after)


def json_list(values: Sequence[Any]) -> str:
    """As Go prints a list of strings in such sentences."""
    return "[]string{" + ", ".join(f'"{each}"' for each in values) + "}"
