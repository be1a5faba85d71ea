"""ReplicaSets: so many Pods of one template, no more and no fewer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from netproxy.api.objects import Key, Object, is_leaving, key_of, labels_of
from netproxy.api.resources import PODS, REPLICA_SETS, Resource
from netproxy.controllers import pod_facts
from netproxy.controllers.contract import Create, Delete, Objects, Plan, Update
from netproxy.controllers.owned import Owned
from netproxy.controllers.slices import owner_reference

MOST_AT_ONCE = 500
"""Pods that one plan makes or deletes."""


class ReplicaSetController:
    """See ``contract.Controller``; keys are ReplicaSets."""

    name: Final = "replicaset"
    resources: Final = (REPLICA_SETS, PODS)

    def __init__(self) -> None:
        self._pods = Owned(REPLICA_SETS)

    def concerns(
        self, resource: Resource, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """ReplicaSets, and those that own a Pod that changed, or might."""
        if resource is REPLICA_SETS:
            self._pods.put_owner(key, new)
            return [key]
        return self._pods.put_owned(key, old, new)

    def plan(self, key: Key, objects: Objects, now: datetime) -> Plan:
        """Make Pods, delete Pods, say how many there are."""
        replica_set = objects.get(REPLICA_SETS, key)
        if replica_set is None or is_leaving(replica_set):
            return Plan()
        actions, pods = self._pods.claim(replica_set, PODS, objects)
        active = [each for each in pods if pod_facts.is_active(each)]
        wanted = replica_set["spec"].get("replicas", 1)
        missing = min(wanted - len(active), MOST_AT_ONCE)
        if missing > 0:
            actions += [Create(PODS, _new_pod(replica_set)) for _ in range(missing)]
        elif missing < 0:
            actions += [
                Delete(PODS, key_of(each), each["metadata"]["uid"])
                for each in sorted(active, key=_keep_last)[:-missing][:MOST_AT_ONCE]
            ]
        status = _status(replica_set, pods, now)
        if status != (replica_set.get("status") or {}):
            actions.append(Update(REPLICA_SETS, {**replica_set, "status": status}, "status"))
        again = _until_available(replica_set, active, now)
        return Plan(actions, again)


def _new_pod(replica_set: Object) -> Object:
    template, owner = replica_set["spec"]["template"], replica_set["metadata"]
    said = template.get("metadata") or {}
    metadata: Object = {
        "generateName": f"{owner['name']}-",
        "namespace": owner.get("namespace", ""),
        "labels": said.get("labels") or {},
        "ownerReferences": [owner_reference("apps/v1", "ReplicaSet", owner)],
    }
    for name in ("annotations", "finalizers"):
        if said.get(name):
            metadata[name] = said[name]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _keep_last(pod: Object) -> tuple[object, ...]:
    """Which Pods are deleted first: without node, not running, not ready, ready for less long."""
    status = pod.get("status") or {}
    ready = pod_facts.is_ready(pod)
    restarts = sum(each.get("restartCount", 0) for each in status.get("containerStatuses") or ())
    since = pod_facts.changed_at(pod) if ready else ""
    return (
        bool(pod["spec"].get("nodeName")),
        {"Pending": 0, "Unknown": 1}.get(status.get("phase", ""), 2),
        ready,
        _later_first(since),
        -restarts,
        _later_first(pod["metadata"].get("creationTimestamp", "")),
        pod["metadata"]["name"],
    )


def _later_first(moment: str) -> tuple[int, ...]:
    return tuple(-ord(each) for each in moment)


def is_available(pod: Object, min_ready_s: int, now: datetime) -> bool:
    """Ready, and for long enough."""
    if not pod_facts.is_ready(pod):
        return False
    return not min_ready_s or _ready_for(pod, now) >= min_ready_s


def _ready_for(pod: Object, now: datetime) -> float:
    since = datetime.fromisoformat(pod_facts.changed_at(pod).replace("Z", "+00:00"))
    return (now - since).total_seconds()


def _status(replica_set: Object, pods: list[Object], now: datetime) -> Object:
    spec = replica_set["spec"]
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    active = [each for each in pods if pod_facts.is_active(each)]
    min_ready = spec.get("minReadySeconds", 0)
    status: Object = dict(replica_set.get("status") or {})
    counts = {
        "fullyLabeledReplicas": sum(
            1 for each in active if labels.items() <= labels_of(each).items()
        ),
        "readyReplicas": sum(1 for each in active if pod_facts.is_ready(each)),
        "availableReplicas": sum(1 for each in active if is_available(each, min_ready, now)),
        "terminatingReplicas": sum(
            1 for each in pods if is_leaving(each) and not pod_facts.is_over(each)
        ),
    }
    for name, count in counts.items():
        if count:
            status[name] = count
        else:
            status.pop(name, None)
    status["replicas"] = len(active)
    status["observedGeneration"] = replica_set["metadata"].get("generation", 1)
    return status


def _until_available(replica_set: Object, active: list[Object], now: datetime) -> float | None:
    """When the next Pod will have been ready for long enough."""
    min_ready = replica_set["spec"].get("minReadySeconds", 0)
    waits = [
        min_ready - _ready_for(each, now)
        for each in active
        if min_ready and pod_facts.is_ready(each) and not is_available(each, min_ready, now)
    ]
    return max(0.1, min(waits)) if waits else None
