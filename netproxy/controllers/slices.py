"""EndpointSlices of Services: which endpoints there are, and in which slice each one stands.

Source: the EndpointSlice controller of Kubernetes 1.36, as recorded in tests/data/api.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from netproxy.api.objects import Object, key_of
from netproxy.api.resources import ENDPOINT_SLICES, SERVICES
from netproxy.controllers import pod_facts
from netproxy.controllers.contract import Action, Create, Delete, Update

MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
SERVICE_NAME: Final = "kubernetes.io/service-name"
HEADLESS: Final = "service.kubernetes.io/headless"
TRIGGER_TIME: Final = "endpoints.kubernetes.io/last-change-trigger-time"
MANAGER: Final = "endpointslice-controller.k8s.io"
MOST_ENDPOINTS = 100
"""In one slice; ``--max-endpoints-per-slice``."""
_TOPOLOGY_MODE = (
    "service.kubernetes.io/topology-mode",
    "service.kubernetes.io/topology-aware-hints",
)
_RESERVED = frozenset({MANAGED_BY, SERVICE_NAME, HEADLESS})

PortSet: TypeAlias = tuple[tuple[str, int, str, str], ...]
"""Name, number, protocol and application protocol of each port, in order."""


class UnknownNode(Exception):
    """A Pod is on a node that nobody knows: its zone cannot be told yet."""


class Wanted(NamedTuple):
    """The endpoints that one set of ports has, in one family."""

    family: str
    ports: PortSet
    endpoints: Mapping[str, Object]
    """By the Pod's uid."""


def wanted_endpoints(
    service: Object, pods: Iterable[Object], nodes: Mapping[str, Object]
) -> tuple[list[Wanted], bool]:
    """What should be in a Service's slices, and whether some Pod has to wait for its node.

    Args:
        service: It has a selector.
        pods: Those that it selects.
        nodes: By name.
    """
    found: dict[tuple[str, PortSet], dict[str, Object]] = {}
    is_incomplete = False
    families = families_of(service)
    for pod in pods:
        if pod_facts.is_over(pod):
            continue
        for family in families:
            ips = pod_facts.addresses(pod, family)
            if not ips:
                continue
            try:
                endpoint = _endpoint(service, pod, ips[0], nodes)
            except UnknownNode:
                is_incomplete = True
                continue
            group = found.setdefault((family, port_set(service, pod)), {})
            group[pod["metadata"]["uid"]] = endpoint
    wanted = [Wanted(family, ports, group) for (family, ports), group in found.items()]
    return wanted, is_incomplete


def families_of(service: Object) -> list[str]:
    """The families of a Service's endpoints; of a headless one from before dual stack, IPv4."""
    return list(service["spec"].get("ipFamilies") or ("IPv4",))


def port_set(service: Object, pod: Object) -> PortSet:
    """The ports of a Service in one Pod: named ones only where it has them."""
    found = []
    for port in service["spec"].get("ports") or ():
        number = pod_facts.port_of(pod, port)
        if number is not None:
            protocol = port.get("protocol") or "TCP"
            found.append((port.get("name") or "", number, protocol, port.get("appProtocol") or ""))
    return tuple(found)


def _endpoint(service: Object, pod: Object, ip: str, nodes: Mapping[str, Object]) -> Object:
    spec = service["spec"]
    publishes = bool(spec.get("publishNotReadyAddresses"))
    is_serving = pod_facts.is_ready(pod)
    is_terminating = "deletionTimestamp" in pod["metadata"]
    endpoint: Object = {
        "addresses": [ip],
        "conditions": {
            "ready": publishes or (is_serving and not is_terminating),
            "serving": is_serving,
            "terminating": is_terminating,
        },
    }
    hostname = pod_facts.hostname_for(pod, service)
    if hostname:
        endpoint["hostname"] = hostname
    node_name = pod["spec"].get("nodeName")
    if node_name:
        endpoint["nodeName"] = node_name
        node = nodes.get(node_name)
        if node is None and not publishes:
            raise UnknownNode(node_name)
        zone = ((node or {}).get("metadata", {}).get("labels") or {}).get(
            "topology.kubernetes.io/zone"
        )
        if zone:
            endpoint["zone"] = zone
    endpoint["targetRef"] = pod_facts.reference(pod)
    hints = _hints(service, endpoint)
    if hints:
        endpoint["hints"] = hints
    return endpoint


def _hints(service: Object, endpoint: Object) -> Object:
    """Near clients first (``trafficDistribution``), for endpoints that get connections."""
    how = service["spec"].get("trafficDistribution")
    if not how or not endpoint["conditions"]["ready"]:
        return {}
    annotations = service["metadata"].get("annotations") or {}
    if any(annotations.get(each) in {"Auto", "auto"} for each in _TOPOLOGY_MODE):
        return {}
    hints: Object = {}
    if how == "PreferSameNode" and endpoint.get("nodeName"):
        hints["forNodes"] = [{"name": endpoint["nodeName"]}]
    if endpoint.get("zone"):
        hints["forZones"] = [{"name": endpoint["zone"]}]
    return hints


def slice_actions(
    service: Object,
    wanted: Sequence[Wanted],
    existing: Iterable[Object],
    trigger_time: str,
    most: int = MOST_ENDPOINTS,
) -> list[Action]:
    """The writes that lead from the slices that are there to those that should be.

    As few slices as possible are touched: what stays stays where it is; what is new fills slices
    that change anyhow, the fullest first, then one that has room for all the rest, then new ones.

    Args:
        service: Whose.
        wanted: What should be in them.
        existing: Slices of this Service that this controller manages.
        trigger_time: When what led to this happened; RFC 3339.
        most: Endpoints of a slice.
    """
    groups = {(each.family, each.ports): each for each in wanted}
    families = families_of(service)
    by_group: dict[tuple[str, PortSet], list[Object]] = {}
    stray: list[Object] = []
    for each in sorted(existing, key=lambda one: one["metadata"]["name"]):
        group = (each["addressType"], _ports_in(each))
        if group in groups:
            by_group.setdefault(group, []).append(each)
        else:
            stray.append(each)
    changes = _Changes(service, trigger_time)
    for group, one in groups.items():
        _fill(changes, one, by_group.get(group, []), most)
    missing = [each for each in families if not any(one.family == each for one in wanted)]
    for family in missing:
        # A Service that nobody serves has one empty slice: that nobody serves is known.
        kept = next((each for each in stray if _is_placeholder(each, family)), None)
        if kept is None:
            changes.create(family, (), [])
        else:
            stray.remove(kept)
            changes.keep(kept)
    for each in stray:
        changes.delete(each)
    return changes.actions


class _State(NamedTuple):
    """A slice that is there, and what is to stand in it."""

    known: Object
    endpoints: list[Object]
    is_changed: bool


def _fill(changes: _Changes, wanted: Wanted, existing: Sequence[Object], most: int) -> None:
    left = dict(wanted.endpoints)
    states = [_kept(each, left) for each in existing]
    new = _placed(states, list(left.values()), most)
    for each in states:
        if each.endpoints:
            changes.update(each.known, each.endpoints)
        else:
            changes.delete(each.known)
    for start in range(0, len(new), most):
        changes.create(wanted.family, wanted.ports, new[start : start + most])


def _kept(known: Object, left: dict[str, Object]) -> _State:
    """What stays in a slice, as it is now; it is taken out of what is left to place."""
    before = known.get("endpoints") or []
    uids = [(each.get("targetRef") or {}).get("uid", "") for each in before]
    kept = [left.pop(uid) for uid in uids if uid in left]
    return _State(known, kept, kept != before)


def _placed(states: Sequence[_State], new: list[Object], most: int) -> list[Object]:
    """Put what is new into slices that are there; what is left needs slices of its own."""
    for state in sorted(states, key=lambda each: -len(each.endpoints)):
        if state.is_changed and state.endpoints:
            room = most - len(state.endpoints)
            state.endpoints.extend(new[:room])
            new = new[room:]
    rest = len(new) % most
    fitting = [
        each
        for each in states
        if not each.is_changed and rest and len(each.endpoints) + rest <= most
    ]
    if not fitting:
        return new
    max(fitting, key=lambda each: len(each.endpoints)).endpoints.extend(new[-rest:])
    return new[:-rest]


class _Changes:
    """Writes about one Service's slices."""

    def __init__(self, service: Object, trigger_time: str) -> None:
        self._service = service
        self._trigger_time = trigger_time
        self._labels = _labels(service)
        self.actions: list[Action] = []

    def create(self, family: str, ports: PortSet, endpoints: list[Object]) -> None:
        owner = self._service["metadata"]
        metadata: Object = {
            "generateName": f"{owner['name']}-",
            "namespace": owner.get("namespace", ""),
            "labels": self._labels,
            "ownerReferences": [owner_reference(SERVICES.api_version, "Service", owner)],
        }
        if self._trigger_time:
            metadata["annotations"] = {TRIGGER_TIME: self._trigger_time}
        obj: Object = {
            "apiVersion": ENDPOINT_SLICES.api_version,
            "kind": ENDPOINT_SLICES.kind,
            "metadata": metadata,
            "addressType": family,
            "endpoints": endpoints,
        }
        if ports:
            obj["ports"] = [_port(each) for each in ports]
        self.actions.append(Create(ENDPOINT_SLICES, obj))

    def keep(self, known: Object) -> None:
        """Its endpoints are right; its labels may not be."""
        self.update(known, known.get("endpoints") or [])

    def update(self, known: Object, endpoints: list[Object]) -> None:
        metadata = known["metadata"]
        same_labels = (metadata.get("labels") or {}) == self._labels
        if same_labels and endpoints == (known.get("endpoints") or []):
            return
        annotations = dict(metadata.get("annotations") or {})
        if self._trigger_time and self._trigger_time > annotations.get(TRIGGER_TIME, ""):
            annotations[TRIGGER_TIME] = self._trigger_time
        else:
            annotations.pop(TRIGGER_TIME, None)
        metadata = {**metadata, "labels": self._labels, "annotations": annotations}
        if not annotations:
            del metadata["annotations"]
        changed = {**known, "metadata": metadata, "endpoints": endpoints}
        self.actions.append(Update(ENDPOINT_SLICES, changed))

    def delete(self, known: Object) -> None:
        self.actions.append(Delete(ENDPOINT_SLICES, key_of(known), known["metadata"]["uid"]))


def owner_reference(api_version: str, kind: str, metadata: Object) -> Object:
    """The owner, which controls what it owns."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _labels(service: Object) -> dict[str, str]:
    metadata = service["metadata"]
    labels = {
        name: value
        for name, value in (metadata.get("labels") or {}).items()
        if name not in _RESERVED
    }
    labels[SERVICE_NAME] = metadata["name"]
    labels[MANAGED_BY] = MANAGER
    if service["spec"].get("clusterIP") == "None":
        labels[HEADLESS] = ""
    return labels


def _port(port: tuple[str, int, str, str]) -> Object:
    name, number, protocol, application = port
    found: Object = {"name": name, "port": number, "protocol": protocol}
    if application:
        found["appProtocol"] = application
    return found


def _ports_in(obj: Object) -> PortSet:
    return tuple(
        (
            each.get("name") or "",
            each.get("port") or 0,
            each.get("protocol") or "TCP",
            each.get("appProtocol") or "",
        )
        for each in obj.get("ports") or ()
    )


def _is_placeholder(obj: Object, family: str) -> bool:
    return obj["addressType"] == family and not obj.get("endpoints") and not obj.get("ports")
