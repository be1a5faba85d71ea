"""What nobody needs any more.

Objects whose owners are gone, Pods of nodes that are gone, the contents of namespaces that are
being deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from netproxy.api.objects import Key, Object, is_leaving, key_of
from netproxy.api.resources import (
    BY_KIND,
    CONFIG_MAPS,
    CORE_EVENTS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    ENDPOINTS,
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
from netproxy.controllers import pod_facts
from netproxy.controllers.contract import Action, Delete, Objects, Plan, Update

_FOREGROUND, _ORPHAN = "foregroundDeletion", "orphan"
_CIDR_FINALIZER = "networking.k8s.io/service-cidr-finalizer"
_NAMESPACED = (
    DEPLOYMENTS, REPLICA_SETS, PODS, SERVICES, ENDPOINT_SLICES, ENDPOINTS, CONFIG_MAPS, LEASES,
    CORE_EVENTS,
)  # fmt: skip
_OWNED = (REPLICA_SETS, PODS, ENDPOINT_SLICES, ENDPOINTS, CONFIG_MAPS, SERVICES)
_OWNERS = (DEPLOYMENTS, REPLICA_SETS, SERVICES, ENDPOINTS, PODS, NODES, CONFIG_MAPS)
_SEPARATOR = "\0"
EVENTS_KEPT_S = 3600.0
"""Events are forgotten after so many seconds (``--event-ttl``)."""


class OwnerController:
    """Objects go when all of their owners have gone; keys have name and resource."""

    name: Final = "garbage"
    resources: Final = tuple(dict.fromkeys((*_OWNERS, *_OWNED)))

    def __init__(self) -> None:
        self._owned: dict[str, set[tuple[Resource, Key]]] = {}
        self._resources = {each.qualified: each for each in self.resources}

    def concerns(
        self, resource: Resource, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """Objects with owners, and what is owned by an object that goes."""
        mine = (resource, key)
        for each in (old, new):
            for owner in (each or {}).get("metadata", {}).get("ownerReferences") or ():
                owned = self._owned.setdefault(owner["uid"], set())
                owned.discard(mine) if each is old else owned.add(mine)
                if not owned:
                    del self._owned[owner["uid"]]
        found = []
        if new is not None and (new["metadata"].get("ownerReferences") or is_leaving(new)):
            found.append(_work(resource, key))
        gone = old if new is None else new if is_leaving(new) else None
        if gone is not None:
            found += [_work(*each) for each in self._owned.get(gone["metadata"].get("uid", ""), ())]
        if new is None and old is not None:
            # Who waits for what it owns to go first looks again.
            for owner in old["metadata"].get("ownerReferences") or ():
                owners = BY_KIND.get((owner["apiVersion"], owner["kind"]))
                if owners is not None and owners.qualified in self._resources:
                    found.append(_work(owners, _owner_key(owners, key, owner)))
        return found

    def plan(self, key: Key, objects: Objects, now: datetime) -> Plan:
        """One object: does it still have an owner, does it wait for what it owns?"""
        del now
        name, _, resource_name = key.name.partition(_SEPARATOR)
        resource = self._resources[resource_name]
        mine = Key(key.namespace, name)
        obj = objects.get(resource, mine)
        if obj is None:
            return Plan()
        if is_leaving(obj):
            finalizers = obj["metadata"].get("finalizers") or ()
            if _FOREGROUND in finalizers:
                return self._foreground(resource, obj, objects)
            if _ORPHAN in finalizers:
                return self._orphan(resource, obj, objects)
            return Plan()
        owners = obj["metadata"].get("ownerReferences") or ()
        if not owners or any(self._is_there(mine, each, objects) for each in owners):
            return Plan()
        return Plan([Delete(resource, mine, obj["metadata"]["uid"])])

    def _is_there(self, mine: Key, owner: Object, objects: Objects) -> bool:
        resource = BY_KIND.get((owner["apiVersion"], owner["kind"]))
        if resource is None or resource.qualified not in self._resources:
            return True  # nobody here can tell, so it stays
        found = objects.get(resource, _owner_key(resource, mine, owner))
        if found is None or found["metadata"]["uid"] != owner["uid"]:
            return False
        finalizers = found["metadata"].get("finalizers") or ()
        return not (is_leaving(found) and _FOREGROUND in finalizers)

    def _foreground(self, resource: Resource, obj: Object, objects: Objects) -> Plan:
        """Its own go first; those that do not hold it up may go later."""
        uid = obj["metadata"]["uid"]
        actions: list[Action] = []
        waits = False
        for owned_resource, key in sorted(self._owned.get(uid, ())):
            owned = objects.get(owned_resource, key)
            if owned is None:
                continue
            references = owned["metadata"].get("ownerReferences") or ()
            waits = waits or any(
                each["uid"] == uid and each.get("blockOwnerDeletion") for each in references
            )
            if not is_leaving(owned):
                actions.append(Delete(owned_resource, key, owned["metadata"]["uid"]))
        if not waits:
            actions.append(_without_finalizer(resource, obj, _FOREGROUND))
        return Plan(actions)

    def _orphan(self, resource: Resource, obj: Object, objects: Objects) -> Plan:
        """Its own stay, and forget it."""
        uid = obj["metadata"]["uid"]
        actions: list[Action] = []
        for owned_resource, key in sorted(self._owned.get(uid, ())):
            owned = objects.get(owned_resource, key)
            if owned is None:
                continue
            metadata = dict(owned["metadata"])
            kept = [each for each in metadata["ownerReferences"] if each["uid"] != uid]
            metadata["ownerReferences"] = kept
            actions.append(Update(owned_resource, {**owned, "metadata": metadata}))
        actions.append(_without_finalizer(resource, obj, _ORPHAN))
        return Plan(actions)


def _work(resource: Resource, key: Key) -> Key:
    return Key(key.namespace, f"{key.name}{_SEPARATOR}{resource.qualified}")


def _owner_key(resource: Resource, mine: Key, owner: Object) -> Key:
    return Key(mine.namespace if resource.namespaced else "", owner["name"])


def _without_finalizer(resource: Resource, obj: Object, finalizer: str) -> Update:
    metadata = dict(obj["metadata"])
    metadata["finalizers"] = [each for each in metadata["finalizers"] if each != finalizer]
    if not metadata["finalizers"]:
        del metadata["finalizers"]
    return Update(resource, {**obj, "metadata": metadata})


class NamespaceController:
    """Empties namespaces that are being deleted, and then lets them go; keys are namespaces."""

    name: Final = "namespace"
    resources: Final = (NAMESPACES, *_NAMESPACED)

    def __init__(self) -> None:
        self._contents: dict[str, set[tuple[Resource, Key]]] = {}
        self._leaving: set[str] = set()

    def concerns(
        self, resource: Resource, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """Namespaces that are being deleted, and those of them whose contents change."""
        del old
        if resource is NAMESPACES:
            if new is not None and is_leaving(new):
                self._leaving.add(key.name)
                return [key]
            self._leaving.discard(key.name)
            return ()
        contents = self._contents.setdefault(key.namespace, set())
        if new is None:
            contents.discard((resource, key))
        else:
            contents.add((resource, key))
        return [Key("", key.namespace)] if key.namespace in self._leaving else ()

    def plan(self, key: Key, objects: Objects, now: datetime) -> Plan:
        """Delete what is in it; or, if nothing is, finalize it."""
        del now
        namespace = objects.get(NAMESPACES, key)
        if namespace is None or not is_leaving(namespace):
            return Plan()
        actions: list[Action] = []
        is_empty = True
        for resource, each in sorted(self._contents.get(key.name, ())):
            obj = objects.get(resource, each)
            if obj is None:
                continue
            is_empty = False
            if not is_leaving(obj):
                actions.append(Delete(resource, each, obj["metadata"]["uid"]))
        if is_empty:
            spec = {**namespace["spec"], "finalizers": []}
            actions.append(Update(NAMESPACES, {**namespace, "spec": spec}, "finalize"))
        return Plan(actions, None if is_empty else 1.0)


class PodGarbageController:
    """Pods of nodes that are gone, and Pods that ended long ago; keys are Pods.

    Args:
        most_ended: So many that have ended are kept.
    """

    name: Final = "podgc"
    resources: Final = (PODS, NODES)

    def __init__(self, most_ended: int = 1000) -> None:
        self._most = most_ended
        self._by_node: dict[str, set[Key]] = {}
        self._ended: dict[Key, None] = {}

    def concerns(
        self, resource: Resource, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """Pods; of a node that goes all of its Pods."""
        if resource is NODES:
            return list(self._by_node.get(key.name, ())) if new is None else ()
        for each in (old, new):
            node = each["spec"].get("nodeName") if each else None
            if node:
                keys = self._by_node.setdefault(node, set())
                keys.discard(key) if each is old else keys.add(key)
        if new is not None and pod_facts.is_over(new):
            self._ended[key] = None
        else:
            self._ended.pop(key, None)
        oldest = next(iter(self._ended)) if len(self._ended) > self._most else None
        return [each for each in (key, oldest) if each is not None]

    def plan(self, key: Key, objects: Objects, now: datetime) -> Plan:
        """Delete it if it has no node any more, or has to make room."""
        del now
        pod = objects.get(PODS, key)
        if pod is None:
            return Plan()
        node = pod["spec"].get("nodeName")
        is_lost = bool(node) and objects.get(NODES, Key("", node)) is None
        is_old = key in self._ended and len(self._ended) > self._most
        if is_lost or is_old:
            return Plan([Delete(PODS, key, pod["metadata"]["uid"], 0)])
        return Plan()


class EventController:
    """Events do not last; keys are Events."""

    name: Final = "events"
    resources: Final = (CORE_EVENTS,)

    def concerns(
        self, resource: Resource, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """Each one, once."""
        del resource
        return [key] if old is None and new is not None else ()

    def plan(self, key: Key, objects: Objects, now: datetime) -> Plan:
        """Delete it when its time is over."""
        found = objects.get(CORE_EVENTS, key)
        if found is None:
            return Plan()
        last = found.get("lastTimestamp") or found["metadata"]["creationTimestamp"]
        age = (now - datetime.fromisoformat(last.replace("Z", "+00:00"))).total_seconds()
        if age < EVENTS_KEPT_S:
            return Plan(again_s=EVENTS_KEPT_S - age + 1.0)
        return Plan([Delete(CORE_EVENTS, key, found["metadata"]["uid"])])


class ServiceCidrController:
    """Ranges that were deleted go when no address of theirs is taken any more; keys are ranges."""

    name: Final = "servicecidr"
    resources: Final = (SERVICE_CIDRS, IP_ADDRESSES)

    def __init__(self) -> None:
        self._leaving: set[Key] = set()

    def concerns(
        self, resource: Resource, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """Ranges that wait; when an address is given back, all of them."""
        del old
        if resource is IP_ADDRESSES:
            return list(self._leaving) if new is None else ()
        if new is not None and is_leaving(new):
            self._leaving.add(key)
            return [key]
        self._leaving.discard(key)
        return ()

    def plan(self, key: Key, objects: Objects, now: datetime) -> Plan:
        """Ask for its deletion again: the registry knows whether it is used."""
        del now
        cidr = objects.get(SERVICE_CIDRS, key)
        if cidr is None or not is_leaving(cidr):
            return Plan()
        return Plan([Delete(SERVICE_CIDRS, key_of(cidr), cidr["metadata"]["uid"])], 30.0)
