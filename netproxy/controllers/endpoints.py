"""Endpoints, for those who still read them; and slices for Endpoints that were written by hand."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from netproxy.api.objects import Key, Object, key_of, labels_of
from netproxy.api.resources import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES, Resource
from netproxy.controllers import pod_facts
from netproxy.controllers.contract import Action, Create, Delete, Objects, Plan, Update
from netproxy.controllers.endpoint_slices import Selected
from netproxy.controllers.slices import (
    HEADLESS,
    MANAGED_BY,
    SERVICE_NAME,
    TRIGGER_TIME,
    PortSet,
    owner_reference,
)

MOST_ADDRESSES = 1000
"""Of an Endpoints object, and of a subset that is mirrored."""
_OWN_LABEL = "endpoints.kubernetes.io/managed-by"
_OWN_NAME = "endpoint-controller"
_OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
_SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_MIRROR = "endpointslicemirroring-controller.k8s.io"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class EndpointsController:
    """One Endpoints object for each Service with a selector, in its first family."""

    name: Final = "endpoints"
    resources: Final = (SERVICES, PODS, ENDPOINTS)

    def __init__(self) -> None:
        self._selected = Selected()
        # Services that went, until what they leave behind has gone as well. Endpoints that somebody
        # writes before their Service comes stay.
        self._gone: set[Key] = set()

    def concerns(
        self, resource: Resource, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """Services: those that changed, and those of Pods that changed."""
        if resource is PODS:
            return self._selected.put_pod(key, old, new)
        if resource is SERVICES:
            self._selected.put_service(key, new)
            (self._gone.add if new is None else self._gone.discard)(key)
        return [key]

    def plan(self, key: Key, objects: Objects, now: datetime) -> Plan:
        """A Service's Endpoints."""
        del now
        service, known = objects.get(SERVICES, key), objects.get(ENDPOINTS, key)
        spec = service["spec"] if service else {}
        is_ours = known is not None and _OWN_LABEL in labels_of(known)
        if service is None or not spec.get("selector") or spec.get("type") == "ExternalName":
            if known is None:
                self._gone.discard(key)
            elif service is None and (is_ours or key in self._gone):
                return Plan([Delete(ENDPOINTS, key, known["metadata"]["uid"])])
            return Plan()
        pods = self._selected.pods_of(service, objects)
        subsets, is_cut = subsets_of(service, pods)
        labels = {
            name: value
            for name, value in labels_of(service).items()
            if name not in {HEADLESS, _OWN_LABEL}
        }
        labels[_OWN_LABEL] = _OWN_NAME
        if spec.get("clusterIP") == "None":
            labels[HEADLESS] = ""
        if known is not None and is_ours and _is_same(known, subsets, labels):
            return Plan()
        annotations = dict((known or {}).get("metadata", {}).get("annotations") or {})
        trigger = [service["metadata"].get("creationTimestamp", "")]
        annotations[TRIGGER_TIME] = max(trigger + [pod_facts.changed_at(each) for each in pods])
        annotations.pop(_OVER_CAPACITY, None)
        if is_cut:
            annotations[_OVER_CAPACITY] = "truncated"
        metadata: Object = {
            **(known["metadata"] if known else {"name": key.name, "namespace": key.namespace}),
            "labels": labels,
            "annotations": annotations,
        }
        obj: Object = {
            "apiVersion": ENDPOINTS.api_version,
            "kind": ENDPOINTS.kind,
            "metadata": metadata,
        }
        if subsets:
            obj["subsets"] = subsets
        action: Action = Update(ENDPOINTS, obj) if known else Create(ENDPOINTS, obj)
        return Plan([action])


def _is_same(known: Object, subsets: list[Object], labels: dict[str, str]) -> bool:
    return (known.get("subsets") or []) == subsets and labels_of(known) == labels


def subsets_of(service: Object, pods: Iterable[Object]) -> tuple[list[Object], bool]:
    """Addresses by their ports, in order; and whether some had to be left out."""
    spec = service["spec"]
    publishes = bool(spec.get("publishNotReadyAddresses"))
    family = (spec.get("ipFamilies") or ["IPv4"])[0]
    groups: dict[PortSet, tuple[list[Object], list[Object]]] = {}
    for pod in pods:
        if pod_facts.is_over(pod) or ("deletionTimestamp" in pod["metadata"] and not publishes):
            continue
        ips = pod_facts.addresses(pod, family)
        ports = tuple(
            (
                port.get("name") or "",
                number,
                port.get("protocol") or "TCP",
                port.get("appProtocol") or "",
            )
            for port in spec.get("ports") or ()
            if (number := pod_facts.port_of(pod, port)) is not None
        )
        if not ips or (not ports and spec.get("ports")):
            continue
        ready, not_ready = groups.setdefault(ports, ([], []))
        is_ready = publishes or pod_facts.is_ready(pod)
        (ready if is_ready else not_ready).append(_address(service, pod, ips[0]))
    found, count, is_cut = [], 0, False
    for ports, (ready, not_ready) in sorted(groups.items(), key=_first_address):
        subset: Object = {}
        for name, listed in (("addresses", ready), ("notReadyAddresses", not_ready)):
            room = MOST_ADDRESSES - count
            is_cut = is_cut or len(listed) > room
            if listed[:room]:
                subset[name] = sorted(listed, key=lambda each: str(each["ip"]))[:room]
                count += len(subset[name])
        if subset:
            if ports:
                subset["ports"] = [_port(each) for each in ports]
            found.append(subset)
    return found, is_cut


def _first_address(group: tuple[object, tuple[list[Object], list[Object]]]) -> str:
    ready, not_ready = group[1]
    return min(str(each["ip"]) for each in [*ready, *not_ready])


def _address(service: Object, pod: Object, ip: str) -> Object:
    address: Object = {"ip": ip}
    hostname = pod_facts.hostname_for(pod, service)
    if hostname:
        address["hostname"] = hostname
    if pod["spec"].get("nodeName"):
        address["nodeName"] = pod["spec"]["nodeName"]
    return {**address, "targetRef": pod_facts.reference(pod)}


def _port(port: tuple[str, int, str, str]) -> Object:
    name, number, protocol, application = port
    found: Object = {"name": name} if name else {}
    found |= {"port": number, "protocol": protocol}
    return {**found, "appProtocol": application} if application else found


class MirroringController:
    """EndpointSlices for Endpoints that somebody wrote for a Service without selector."""

    name: Final = "endpointslicemirroring"
    resources: Final = (SERVICES, ENDPOINTS, ENDPOINT_SLICES)

    def __init__(self) -> None:
        self._slices: dict[Key, set[Key]] = {}

    def concerns(
        self, resource: Resource, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """Endpoints, their Service, their slices: all have the same name."""
        if resource is not ENDPOINT_SLICES:
            return [key]
        found = set()
        for each, is_there in ((old, False), (new, True)):
            if each is None or labels_of(each).get(MANAGED_BY) != _MIRROR:
                continue
            owner = Key(key.namespace, labels_of(each).get(SERVICE_NAME, ""))
            found.add(owner)
            keys = self._slices.setdefault(owner, set())
            if is_there:
                keys.add(key)
            else:
                keys.discard(key)
        return found

    def plan(self, key: Key, objects: Objects, now: datetime) -> Plan:
        """The slices of one Endpoints object."""
        del now
        existing = [
            each
            for name in sorted(self._slices.get(key, ()))
            if (each := objects.get(ENDPOINT_SLICES, name)) is not None
        ]
        endpoints, service = objects.get(ENDPOINTS, key), objects.get(SERVICES, key)
        wanted: list[Object] = []
        if endpoints is not None and service is not None and _is_mirrored(endpoints, service):
            wanted = mirrored(endpoints)
        actions: list[Action] = []
        for each in wanted:
            kept = next((one for one in existing if _same_place(one, each)), None)
            if kept is None:
                actions.append(Create(ENDPOINT_SLICES, each))
                continue
            existing.remove(kept)
            changed = {**kept, "endpoints": each["endpoints"]}
            metadata = {**kept["metadata"], "labels": each["metadata"]["labels"]}
            changed["metadata"] = metadata
            if changed != kept:
                actions.append(Update(ENDPOINT_SLICES, changed))
        actions += [
            Delete(ENDPOINT_SLICES, key_of(each), each["metadata"]["uid"]) for each in existing
        ]
        return Plan(actions)


def _is_mirrored(endpoints: Object, service: Object) -> bool:
    annotations = endpoints["metadata"].get("annotations") or {}
    is_skipped = labels_of(endpoints).get(_SKIP_MIRROR) == "true" or _LEADER in annotations
    return not is_skipped and not service["spec"].get("selector")


def _same_place(one: Object, other: Object) -> bool:
    return one["addressType"] == other["addressType"] and one.get("ports") == other.get("ports")


def mirrored(endpoints: Object) -> list[Object]:
    """A slice for each family and set of ports."""
    metadata = endpoints["metadata"]
    labels = {**labels_of(endpoints), SERVICE_NAME: metadata["name"], MANAGED_BY: _MIRROR}
    annotations = {
        name: value
        for name, value in (metadata.get("annotations") or {}).items()
        if name not in {_LAST_APPLIED, TRIGGER_TIME}
    }
    head: Object = {
        "generateName": f"{metadata['name']}-",
        "namespace": metadata.get("namespace", ""),
        "labels": labels,
        "ownerReferences": [owner_reference("v1", "Endpoints", metadata)],
    }
    if annotations:
        head["annotations"] = annotations
    found = []
    for subset in endpoints.get("subsets") or ():
        ports = [
            {"name": each.get("name") or "", **{k: v for k, v in each.items() if k != "name"}}
            for each in subset.get("ports") or ()
        ]
        for family in ("IPv4", "IPv6"):
            listed = [
                _mirrored_endpoint(each, is_ready=part == "addresses")
                for part in ("addresses", "notReadyAddresses")
                for each in (subset.get(part) or ())[:MOST_ADDRESSES]
                if (":" in each["ip"]) == (family == "IPv6")
            ]
            if listed:
                obj: Object = {
                    "apiVersion": ENDPOINT_SLICES.api_version,
                    "kind": ENDPOINT_SLICES.kind,
                    "metadata": head,
                    "addressType": family,
                    "endpoints": listed,
                }
                found.append({**obj, "ports": ports} if ports else obj)
    return found


def _mirrored_endpoint(address: Object, *, is_ready: bool) -> Object:
    endpoint: Object = {"addresses": [address["ip"]], "conditions": {"ready": is_ready}}
    for name in ("hostname", "nodeName", "targetRef"):
        if address.get(name):
            endpoint[name] = address[name]
    return endpoint
