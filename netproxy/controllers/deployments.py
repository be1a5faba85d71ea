"""Deployments: a ReplicaSet for each template, and Pods that move from the old ones to the new."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from netproxy.api.objects import Key, Object, is_leaving, key_of
from netproxy.api.resources import DEPLOYMENTS, REPLICA_SETS, Resource
from netproxy.controllers.contract import Action, Create, Delete, Objects, Plan, Update
from netproxy.controllers.owned import Owned
from netproxy.controllers.slices import owner_reference

HASH_LABEL: Final = "pod-template-hash"
REVISION: Final = "deployment.kubernetes.io/revision"
_DESIRED = "deployment.kubernetes.io/desired-replicas"
_MOST = "deployment.kubernetes.io/max-replicas"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_NOT_COPIED = frozenset(
    {REVISION, _DESIRED, _MOST, "kubectl.kubernetes.io/last-applied-configuration"}
)


class DeploymentController:
    """See ``contract.Controller``; keys are Deployments."""

    name: Final = "deployment"
    resources: Final = (DEPLOYMENTS, REPLICA_SETS)

    def __init__(self) -> None:
        self._sets = Owned(DEPLOYMENTS)

    def concerns(
        self, resource: Resource, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """Deployments, and those that own a ReplicaSet that changed."""
        if resource is DEPLOYMENTS:
            self._sets.put_owner(key, new)
            return [key]
        return self._sets.put_owned(key, old, new)

    def plan(self, key: Key, objects: Objects, now: datetime) -> Plan:
        """One step of a roll-out: scale up, scale down, clean up, tell."""
        deployment = objects.get(DEPLOYMENTS, key)
        if deployment is None or is_leaving(deployment):
            return Plan()
        actions, sets = self._sets.claim(deployment, REPLICA_SETS, objects)
        current = next((each for each in sets if _is_of(each, deployment)), None)
        old = [each for each in sets if each is not current]
        if deployment["spec"].get("paused"):
            rollout = _resize(deployment, current, old)
        elif current is None:
            rollout = [_create(deployment, old)]
        else:
            rollout = _revise(deployment, current, old) or _roll(deployment, current, old)
        actions += rollout
        if not rollout and current is not None:
            actions += _cleaned_up(deployment, old)
        actions += _annotated(deployment, current)
        status = _status(deployment, current, sets, now)
        if status != (deployment.get("status") or {}):
            actions.append(Update(DEPLOYMENTS, {**deployment, "status": status}, "status"))
        return Plan(actions)


def template_hash(template: Object, collisions: int = 0) -> str:
    """The label that tells the Pods of one template from those of another."""
    text = json.dumps([template, collisions], sort_keys=True, separators=(",", ":"))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
    found = ""
    for _ in range(10):
        number, rest = divmod(number, len(_LETTERS))
        found += _LETTERS[rest]
    return found


def _is_of(replica_set: Object, deployment: Object) -> bool:
    """Whether a ReplicaSet has the Deployment's template, but for the hash."""
    return _plain(replica_set["spec"]["template"]) == _plain(deployment["spec"]["template"])


def _plain(template: Object) -> Object:
    metadata = dict(template.get("metadata") or {})
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k != HASH_LABEL}
    metadata["labels"] = labels
    return {**template, "metadata": metadata}


def _wanted(deployment: Object) -> int:
    return int(deployment["spec"].get("replicas", 1))


def _size(replica_set: Object | None) -> int:
    return int(replica_set["spec"].get("replicas", 0)) if replica_set else 0


def _has(replica_set: Object | None, name: str) -> int:
    return int(((replica_set or {}).get("status") or {}).get(name, 0))


def _bounds(deployment: Object) -> tuple[int, int]:
    """How many Pods may be too many, and how many may be missing."""
    wanted = _wanted(deployment)
    rolling = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    surge = _part(rolling.get("maxSurge", "25%"), wanted, is_rounded_up=True)
    missing = _part(rolling.get("maxUnavailable", "25%"), wanted, is_rounded_up=False)
    return surge, missing if surge or missing else 1


def _part(value: int | str, whole: int, *, is_rounded_up: bool) -> int:
    if isinstance(value, int):
        return value
    exact = int(value.rstrip("%")) * whole / 100
    return math.ceil(exact) if is_rounded_up else math.floor(exact)


def _create(deployment: Object, old: Sequence[Object]) -> Action:
    """The ReplicaSet of a template that is new."""
    spec, metadata = deployment["spec"], deployment["metadata"]
    label = template_hash(
        _plain(spec["template"]), (deployment.get("status") or {}).get("collisionCount", 0)
    )
    said = spec["template"].get("metadata") or {}
    labels = {**(said.get("labels") or {}), HASH_LABEL: label}
    selector = spec["selector"]
    wanted = _wanted(deployment)
    surge, _ = _bounds(deployment)
    is_recreated = (spec.get("strategy") or {}).get("type") == "Recreate"
    there = sum(_size(each) for each in old)
    if is_recreated:
        size = 0 if any(_has_pods(each) for each in old) else wanted
    else:
        size = min(wanted, max(0, wanted + surge - there))
    new_spec: Object = {
        "replicas": size,
        "selector": {
            **selector,
            "matchLabels": {**(selector.get("matchLabels") or {}), HASH_LABEL: label},
        },
        "template": {**spec["template"], "metadata": {**said, "labels": labels}},
    }
    if spec.get("minReadySeconds"):
        new_spec["minReadySeconds"] = spec["minReadySeconds"]
    annotations = _annotations(deployment, _next_revision(old))
    return Create(
        REPLICA_SETS,
        {
            "apiVersion": REPLICA_SETS.api_version,
            "kind": REPLICA_SETS.kind,
            "metadata": {
                "name": f"{metadata['name']}-{label}",
                "namespace": metadata.get("namespace", ""),
                "labels": labels,
                "annotations": annotations,
                "ownerReferences": [owner_reference("apps/v1", "Deployment", metadata)],
            },
            "spec": new_spec,
        },
    )


def _annotations(deployment: Object, revision: int) -> dict[str, str]:
    own = deployment["metadata"].get("annotations") or {}
    surge, _ = _bounds(deployment)
    copied = {name: value for name, value in own.items() if name not in _NOT_COPIED}
    return {
        **copied,
        REVISION: str(revision),
        _DESIRED: str(_wanted(deployment)),
        _MOST: str(_wanted(deployment) + surge),
    }


def _revision(replica_set: Object) -> int:
    annotations = replica_set["metadata"].get("annotations") or {}
    text = annotations.get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def _next_revision(old: Sequence[Object]) -> int:
    return 1 + max((_revision(each) for each in old), default=0)


def _revise(deployment: Object, current: Object, old: Sequence[Object]) -> list[Action]:
    """A template that comes back (``kubectl rollout undo``) is the newest revision again."""
    revision = max(_revision(current), _next_revision(old))
    annotations = {**(current["metadata"].get("annotations") or {})}
    wanted = {**annotations, **_annotations(deployment, revision)}
    if wanted == annotations:
        return []
    return [
        Update(
            REPLICA_SETS, {**current, "metadata": {**current["metadata"], "annotations": wanted}}
        )
    ]


def _scaled(replica_set: Object, size: int) -> Action:
    return Update(REPLICA_SETS, {**replica_set, "spec": {**replica_set["spec"], "replicas": size}})


def _roll(deployment: Object, current: Object, old: Sequence[Object]) -> list[Action]:
    """Sizes that bring the Pods nearer to the newest template."""
    if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        return _recreate(deployment, current, old)
    wanted = _wanted(deployment)
    surge, may_miss = _bounds(deployment)
    total = _size(current) + sum(_size(each) for each in old)
    if _size(current) > wanted:
        return [_scaled(current, wanted)]
    room = wanted + surge - total
    if _size(current) < wanted and room > 0:
        return [_scaled(current, min(wanted, _size(current) + room))]
    if not any(_size(each) for each in old):
        return []
    # Old Pods may go as long as enough are available; those that are not are no loss.
    available = _has(current, "availableReplicas")
    available += sum(_has(each, "availableReplicas") for each in old)
    spare = total - (wanted - may_miss) - (_size(current) - _has(current, "availableReplicas"))
    found: list[Action] = []
    sizes = {each["metadata"]["name"]: _size(each) for each in old}
    for each in sorted(old, key=_revision):
        broken = max(0, _size(each) - _has(each, "availableReplicas"))
        taken = min(broken, max(0, spare))
        sizes[each["metadata"]["name"]] -= taken
        spare -= taken
    spare = min(spare, available - (wanted - may_miss))
    for each in sorted(old, key=_revision):
        name = each["metadata"]["name"]
        taken = min(sizes[name], max(0, spare))
        sizes[name] -= taken
        spare -= taken
        if sizes[name] != _size(each):
            found.append(_scaled(each, sizes[name]))
    return found


def _has_pods(replica_set: Object) -> bool:
    """Also such that are just going: their processes may still run."""
    return bool(_has(replica_set, "replicas") or _has(replica_set, "terminatingReplicas"))


def _recreate(deployment: Object, current: Object, old: Sequence[Object]) -> list[Action]:
    """All old Pods go before the first new one comes."""
    found = [_scaled(each, 0) for each in old if _size(each)]
    if found or any(_has_pods(each) for each in old):
        return found
    wanted = _wanted(deployment)
    return [_scaled(current, wanted)] if _size(current) != wanted else []


def _resize(deployment: Object, current: Object | None, old: Sequence[Object]) -> list[Action]:
    """A paused Deployment keeps its templates; its size may change: the newest one takes it."""
    newest = current or max((each for each in old if _size(each)), key=_revision, default=None)
    if newest is None:
        return []
    rest = sum(_size(each) for each in old if each is not newest)
    size = max(0, _wanted(deployment) - rest)
    return [_scaled(newest, size)] if size != _size(newest) else []


def _cleaned_up(deployment: Object, old: Sequence[Object]) -> list[Action]:
    """Old templates are kept for going back, but not all of them."""
    limit = deployment["spec"].get("revisionHistoryLimit", 10)
    unused = [each for each in old if not _size(each) and not _has(each, "replicas")]
    surplus = sorted(unused, key=_revision)[: max(0, len(unused) - limit)]
    return [
        Delete(REPLICA_SETS, key_of(each), each["metadata"]["uid"])
        for each in surplus
        if not is_leaving(each)
    ]


def _annotated(deployment: Object, current: Object | None) -> list[Action]:
    """The Deployment says which revision it is at."""
    if current is None:
        return []
    annotations = deployment["metadata"].get("annotations") or {}
    revision = (current["metadata"].get("annotations") or {}).get(REVISION, "")
    if not revision or annotations.get(REVISION) == revision:
        return []
    metadata = {**deployment["metadata"], "annotations": {**annotations, REVISION: revision}}
    return [Update(DEPLOYMENTS, {**deployment, "metadata": metadata})]


def _status(
    deployment: Object, current: Object | None, sets: Sequence[Object], now: datetime
) -> Object:
    total = sum(_has(each, "replicas") for each in sets)
    available = sum(_has(each, "availableReplicas") for each in sets)
    wanted = _wanted(deployment)
    counts = {
        "replicas": total,
        "updatedReplicas": _has(current, "replicas"),
        "readyReplicas": sum(_has(each, "readyReplicas") for each in sets),
        "availableReplicas": available,
        "unavailableReplicas": max(0, max(total, wanted) - available),
    }
    status: Object = {
        name: value
        for name, value in (deployment.get("status") or {}).items()
        if name not in counts
    }
    status |= {name: count for name, count in counts.items() if count}
    status["observedGeneration"] = deployment["metadata"].get("generation", 1)
    _, may_miss = _bounds(deployment)
    is_available = available >= wanted - may_miss
    is_done = counts["updatedReplicas"] == total == available == wanted
    name = current["metadata"]["name"] if current else ""
    known = (deployment.get("status") or {}).get("conditions") or ()
    status["conditions"] = [
        _condition(known, each, now)
        for each in (_availability(is_available), _progress(name, is_done))
    ]
    return status


def _availability(is_available: bool) -> Object:
    if is_available:
        reason, message = "MinimumReplicasAvailable", "Deployment has minimum availability."
    else:
        reason = "MinimumReplicasUnavailable"
        message = "Deployment does not have minimum availability."
    status = "True" if is_available else "False"
    return {"type": "Available", "status": status, "reason": reason, "message": message}


def _progress(name: str, is_done: bool) -> Object:
    reason = "NewReplicaSetAvailable" if is_done else "ReplicaSetUpdated"
    told = "has successfully progressed" if is_done else "is progressing"
    message = f'ReplicaSet "{name}" {told}.'
    return {"type": "Progressing", "status": "True", "reason": reason, "message": message}


def _condition(known: Sequence[Object], wanted: Object, now: datetime) -> Object:
    """A condition with its times: the old one if it says the same."""
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    old = next((each for each in known if each["type"] == wanted["type"]), None)
    if old is not None and wanted.items() <= old.items():
        return old
    is_same = old is not None and old["status"] == wanted["status"]
    since = old["lastTransitionTime"] if old is not None and is_same else moment
    return {**wanted, "lastUpdateTime": moment, "lastTransitionTime": since}
