"""Nodes: prefixes for their Pods, whether they are alive, what becomes of the Pods if not."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from netproxy.api.objects import Key, Object, is_leaving
from netproxy.api.resources import LEASES, NODES, PODS, Resource
from netproxy.controllers import pod_facts
from netproxy.controllers.contract import Action, Delete, Objects, Plan, Update

GRACE_S = 40.0
"""Without a sign of life for so long a node counts as gone (``--node-monitor-grace-period``)."""
EVICTION_S = 300.0
"""So long after that its Pods are deleted, unless they tolerate it longer or shorter."""
_LEASES = "kube-node-lease"
_UNREACHABLE = "node.kubernetes.io/unreachable"
_NOT_READY = "node.kubernetes.io/not-ready"
_MASKS = {4: 24, 6: 64}


class PodCidrController:
    """Gives each node a prefix of each of the cluster's prefixes; keys are nodes.

    Args:
        cluster_cidrs: One, or one of each family.
        masks: Length of a node's prefix, by IP version.
    """

    name: Final = "podcidr"
    resources: Final = (NODES,)

    def __init__(self, cluster_cidrs: Iterable[str], masks: dict[int, int] | None = None) -> None:
        self._networks = [ipaddress.ip_network(each) for each in cluster_cidrs]
        self._masks = {**_MASKS, **(masks or {})}
        self._taken: dict[str, Key] = {}

    def concerns(
        self, resource: Resource, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """Nodes without a prefix."""
        del resource
        for each in _pod_cidrs(old):
            if self._taken.get(each) == key:
                del self._taken[each]
        for each in _pod_cidrs(new):
            self._taken[each] = key
        return [key] if new is not None and not _pod_cidrs(new) else ()

    def plan(self, key: Key, objects: Objects, now: datetime) -> Plan:
        """The first prefixes that nobody has."""
        del now
        node = objects.get(NODES, key)
        if node is None or _pod_cidrs(node):
            return Plan()
        found = []
        for network in self._networks:
            free = next((each for each in self._prefixes(network) if each not in self._taken), None)
            if free is None:
                return Plan(again_s=60.0)
            found.append(free)
        spec = {**(node.get("spec") or {}), "podCIDR": found[0], "podCIDRs": found}
        return Plan([Update(NODES, {**node, "spec": spec})])

    def _prefixes(self, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Iterator[str]:
        mask = max(self._masks[network.version], network.prefixlen)
        return (str(each) for each in network.subnets(new_prefix=mask))


def _pod_cidrs(node: Object | None) -> list[str]:
    return list(((node or {}).get("spec") or {}).get("podCIDRs") or ())


class NodeLifecycleController:
    """A node that gives no sign of life is not ready, nor are its Pods; later they are deleted.

    Args:
        grace_s: Without a sign of life for so long.
        eviction_s: So long after that.
    """

    name: Final = "nodelifecycle"
    resources: Final = (NODES, LEASES, PODS)

    def __init__(self, grace_s: float = GRACE_S, eviction_s: float = EVICTION_S) -> None:
        self._grace = timedelta(seconds=grace_s)
        self._eviction = timedelta(seconds=eviction_s)
        self._pods: dict[str, set[Key]] = {}
        self._seen: dict[str, tuple[str, datetime]] = {}

    def concerns(
        self, resource: Resource, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """Nodes: on changes of them, of their leases, of their Pods."""
        if resource is PODS:
            for each in (old, new):
                node = each["spec"].get("nodeName") if each else None
                if node:
                    keys = self._pods.setdefault(node, set())
                    keys.discard(key) if each is old else keys.add(key)
            node = (new or {}).get("spec", {}).get("nodeName")
            return [Key("", node)] if node else ()
        if resource is LEASES:
            return [Key("", key.name)] if key.namespace == _LEASES and old is None else ()
        return [key]

    def plan(self, key: Key, objects: Objects, now: datetime) -> Plan:
        """Is it alive?"""
        node = objects.get(NODES, key)
        if node is None:
            self._seen.pop(key.name, None)
            return Plan()
        ready = _ready(node)
        if ready is None:
            # It has never been ready: it is just coming, or somebody wrote it by hand.
            return Plan()
        silent = now - self._last_sign(key.name, node, objects, now)
        if silent < self._grace:
            left = (self._grace - silent).total_seconds()
            return Plan(self._alive(node), left + 0.1)
        actions: list[Action] = []
        if ready["status"] != "Unknown" or not _has_taint(node):
            return Plan(self._lost(node, now), 0.1)
        pods = [
            each
            for name in self._pods.get(key.name, ())
            if (each := objects.get(PODS, name)) is not None
        ]
        actions += [
            Update(PODS, _not_ready(pod, now), "status")
            for pod in pods
            if pod_facts.is_ready(pod) and not pod_facts.is_over(pod)
        ]
        since = datetime.fromisoformat(ready["lastTransitionTime"].replace("Z", "+00:00"))
        for pod in pods:
            limit = _tolerated(pod, self._eviction)
            if limit is not None and now - since >= limit and not is_leaving(pod):
                actions.append(Delete(PODS, _key(pod), pod["metadata"]["uid"]))
        return Plan(actions, 5.0)

    def _last_sign(self, name: str, node: Object, objects: Objects, now: datetime) -> datetime:
        """When we last saw a node's signs change: its own clock may be wrong."""
        lease = objects.get(LEASES, Key(_LEASES, name)) or {}
        heartbeat = (_ready(node) or {}).get("lastHeartbeatTime", "")
        sign = f"{(lease.get('spec') or {}).get('renewTime', '')} {heartbeat}"
        known = self._seen.get(name)
        if known is None or known[0] != sign:
            self._seen[name] = (sign, now)
            return now
        return known[1]

    def _alive(self, node: Object) -> list[Action]:
        taints = (node.get("spec") or {}).get("taints") or []
        ready = _ready(node) or {}
        wrong = {_UNREACHABLE} if ready.get("status") != "Unknown" else set()
        if ready.get("status") == "True":
            wrong.add(_NOT_READY)
        kept = [each for each in taints if each["key"] not in wrong]
        if kept == taints:
            return []
        spec = {name: value for name, value in node["spec"].items() if name != "taints"}
        if kept:
            spec["taints"] = kept
        return [Update(NODES, {**node, "spec": spec})]

    def _lost(self, node: Object, now: datetime) -> list[Action]:
        moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        if (_ready(node) or {}).get("status") != "Unknown":
            status = node["status"]
            conditions = [
                {
                    **each,
                    "status": "Unknown",
                    "reason": "NodeStatusUnknown",
                    "message": "The node agent stopped posting node status.",
                    "lastTransitionTime": moment,
                }
                if each["type"] == "Ready"
                else each
                for each in status["conditions"]
            ]
            changed = {**node, "status": {**status, "conditions": conditions}}
            return [Update(NODES, changed, "status")]
        taints = [
            each
            for each in (node.get("spec") or {}).get("taints") or ()
            if each["key"] != _UNREACHABLE
        ]
        taints += [
            {"key": _UNREACHABLE, "effect": each, "timeAdded": moment}
            for each in ("NoSchedule", "NoExecute")
        ]
        return [Update(NODES, {**node, "spec": {**node.get("spec", {}), "taints": taints}})]


def _key(obj: Object) -> Key:
    return Key(obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def _ready(node: Object) -> Object | None:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == "Ready"), None)


def _has_taint(node: Object) -> bool:
    return any(each["key"] == _UNREACHABLE for each in (node.get("spec") or {}).get("taints") or ())


def _not_ready(pod: Object, now: datetime) -> Object:
    status = pod["status"]
    conditions = [
        {
            **each,
            "status": "False",
            "reason": "NodeNotReady",
            "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        if each["type"] == "Ready"
        else each
        for each in status.get("conditions") or ()
    ]
    return {**pod, "status": {**status, "conditions": conditions}}


def _tolerated(pod: Object, otherwise: timedelta) -> timedelta | None:
    """How long a Pod stays on a node that is gone; None: for ever."""
    for each in pod["spec"].get("tolerations") or ():
        if each.get("key") in {_UNREACHABLE, None, ""} and each.get("effect") in {
            "NoExecute", None, "",
        }:  # fmt: skip
            seconds = each.get("tolerationSeconds")
            return None if seconds is None else timedelta(seconds=seconds)
    return otherwise
