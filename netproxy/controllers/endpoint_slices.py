"""The EndpointSlice controller: Services with a selector get the slices of the Pods it selects."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from netproxy.api.objects import Key, Object, labels_of
from netproxy.api.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES, Resource
from netproxy.controllers import pod_facts
from netproxy.controllers.contract import Delete, Objects, Plan
from netproxy.controllers.indexes import LabelIndex, SelectorIndex, selects
from netproxy.controllers.slices import (
    MANAGED_BY,
    MANAGER,
    MOST_ENDPOINTS,
    SERVICE_NAME,
    slice_actions,
    wanted_endpoints,
)

_RETRY_S = 1.0


class Selected:
    """Services with selectors, and their Pods; kept up to date by ``concerns`` of a controller."""

    def __init__(self) -> None:
        self._services = SelectorIndex()
        self._pods = LabelIndex()

    def put_service(self, key: Key, new: Object | None) -> None:
        """A Service came, changed or went."""
        self._services.put(key, new["spec"].get("selector") if new else None)

    def put_pod(self, key: Key, old: Object | None, new: Object | None) -> set[Key]:
        """A Pod came, changed or went; the Services that may care."""
        self._pods.put(key, old, new)
        found: set[Key] = set()
        for each in (old, new):
            if each is not None:
                found.update(self._services.selecting(key.namespace, labels_of(each)))
        return found

    def pods_of(self, service: Object, objects: Objects) -> list[Object]:
        """The Pods that a Service selects, in the order of their names."""
        namespace = service["metadata"].get("namespace", "")
        selector = service["spec"].get("selector") or {}
        found = []
        for key in sorted(self._pods.candidates(namespace, selector)):
            pod = objects.get(PODS, key)
            if pod is not None and selects(selector, labels_of(pod)):
                found.append(pod)
        return found


class EndpointSliceController:
    """See ``contract.Controller``.

    Args:
        most: Endpoints of a slice.
    """

    name: Final = "endpointslice"
    resources: Final = (SERVICES, PODS, NODES, ENDPOINT_SLICES)

    def __init__(self, most: int = MOST_ENDPOINTS) -> None:
        self._most = most
        self._selected = Selected()
        self._slices: dict[Key, set[Key]] = {}
        self._waiting: set[Key] = set()

    def concerns(
        self, resource: Resource, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """Services: those that changed, those of Pods that changed, those of slices."""
        if resource is SERVICES:
            self._selected.put_service(key, new)
            return [key]
        if resource is PODS:
            return self._selected.put_pod(key, old, new)
        if resource is ENDPOINT_SLICES:
            return self._slice_changed(key, old, new)
        # A node that was not known, or has another zone: whoever waits for one looks again.
        if old is None or new is None or _zone(old) != _zone(new):
            return set(self._waiting) if old is None else set(self._slices)
        return ()

    def _slice_changed(self, key: Key, old: Object | None, new: Object | None) -> set[Key]:
        found = set()
        for each, is_there in ((old, False), (new, True)):
            if each is None or labels_of(each).get(MANAGED_BY) != MANAGER:
                continue
            service = Key(key.namespace, labels_of(each).get(SERVICE_NAME, ""))
            found.add(service)
            keys = self._slices.setdefault(service, set())
            if is_there:
                keys.add(key)
            else:
                keys.discard(key)
            if not keys:
                del self._slices[service]
        return found

    def plan(self, key: Key, objects: Objects, now: datetime) -> Plan:
        """A Service's slices."""
        del now
        self._waiting.discard(key)
        existing = [
            each
            for name in sorted(self._slices.get(key, ()))
            if (each := objects.get(ENDPOINT_SLICES, name)) is not None
        ]
        service = objects.get(SERVICES, key)
        spec = service["spec"] if service else {}
        if service is None or not spec.get("selector") or spec.get("type") == "ExternalName":
            return Plan(
                [
                    Delete(
                        ENDPOINT_SLICES,
                        Key(key.namespace, each["metadata"]["name"]),
                        each["metadata"]["uid"],
                    )
                    for each in existing
                ]
            )
        pods = self._selected.pods_of(service, objects)
        nodes = {each.name: node for each, node in objects.all(NODES).items()}
        wanted, is_incomplete = wanted_endpoints(service, pods, nodes)
        trigger = max(
            [service["metadata"].get("creationTimestamp", ""), *map(pod_facts.changed_at, pods)]
        )
        if is_incomplete:
            self._waiting.add(key)
        actions = slice_actions(service, wanted, existing, trigger, self._most)
        return Plan(actions, _RETRY_S if is_incomplete else None)


def _zone(node: Object) -> str | None:
    return labels_of(node).get("topology.kubernetes.io/zone")
