"""The scheduler: every Pod that nobody has placed gets a node that is ready and that it bears."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from netproxy.api.events import event
from netproxy.api.objects import Key, Object, is_leaving, labels_of
from netproxy.api.resources import CORE_EVENTS, NODES, PODS, Resource
from netproxy.controllers import pod_facts
from netproxy.controllers.contract import Action, Create, Objects, Plan, Update

SCHEDULER_NAME: Final = "default-scheduler"
_AGAIN_S = 5.0
_BARRED = ("NoSchedule", "NoExecute")


class Scheduler:
    """See ``contract.Controller``; keys are Pods."""

    name: Final = "scheduler"
    resources: Final = (PODS, NODES)

    def __init__(self) -> None:
        self._pending: set[Key] = set()
        self._by_node: dict[str, set[Key]] = {}

    def concerns(
        self, resource: Resource, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """Pods without a node; all of them when nodes change."""
        if resource is NODES:
            return list(self._pending)
        for each, is_there in ((old, False), (new, True)):
            node = each["spec"].get("nodeName") if each else None
            if node and is_there and new is not None and not pod_facts.is_over(new):
                self._by_node.setdefault(node, set()).add(key)
            elif node:
                self._by_node.get(node, set()).discard(key)
        if new is None or new["spec"].get("nodeName") or is_leaving(new):
            self._pending.discard(key)
            return ()
        self._pending.add(key)
        return [key]

    def plan(self, key: Key, objects: Objects, now: datetime) -> Plan:
        """Bind a Pod, or say why not."""
        pod = objects.get(PODS, key)
        if pod is None or pod["spec"].get("nodeName") or is_leaving(pod):
            return Plan()
        if pod["spec"].get("schedulerName", SCHEDULER_NAME) != SCHEDULER_NAME:
            return Plan()
        if pod["spec"].get("schedulingGates"):
            return Plan()
        nodes = list(objects.all(NODES).values())
        reasons: Counter[str] = Counter()
        fitting = []
        for node in nodes:
            why = refusal(pod, node, self._pods_on(node, objects))
            if why:
                reasons[why] += 1
            else:
                fitting.append(node)
        if not fitting:
            return self._unschedulable(pod, len(nodes), reasons, now)
        chosen = min(fitting, key=lambda each: self._load(pod, each, objects))
        name = chosen["metadata"]["name"]
        binding: Object = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {
                "name": key.name,
                "namespace": key.namespace,
                "uid": pod["metadata"]["uid"],
            },
            "target": {"apiVersion": "v1", "kind": "Node", "name": name},
        }
        # Counted at once: the next Pod is placed before anybody tells that this one is.
        self._by_node.setdefault(name, set()).add(key)
        self._pending.discard(key)
        told = f"Successfully assigned {key} to {name}"
        return Plan(
            [
                Update(PODS, binding, "binding"),
                Create(CORE_EVENTS, event(pod, "Scheduled", told, SCHEDULER_NAME, now)),
            ]
        )

    def _pods_on(self, node: Object, objects: Objects) -> list[Object]:
        keys = self._by_node.get(node["metadata"]["name"], ())
        return [each for key in keys if (each := objects.get(PODS, key)) is not None]

    def _load(self, pod: Object, node: Object, objects: Objects) -> tuple[int, int, str]:
        """Fewest Pods of the same owner, then fewest Pods, then the first by name."""
        owner = _owner(pod)
        there = self._pods_on(node, objects)
        same = sum(1 for each in there if owner and _owner(each) == owner)
        name = str(node["metadata"]["name"])
        return same, len(self._by_node.get(name, ())), name

    def _unschedulable(self, pod: Object, count: int, reasons: Counter[str], now: datetime) -> Plan:
        why = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items()))
        told = (
            f"0/{count} nodes are available: {why}."
            if count
            else "no nodes available to schedule pods"
        )
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": told,
        }
        status = pod.get("status") or {}
        conditions = status.get("conditions") or []
        known: Object = next((each for each in conditions if each["type"] == "PodScheduled"), {})
        if known.get("message") == told:
            return Plan(again_s=_AGAIN_S)
        condition["lastTransitionTime"] = known.get("lastTransitionTime") or now.strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )
        others = [each for each in conditions if each["type"] != "PodScheduled"]
        changed = {**pod, "status": {**status, "conditions": [*others, condition]}}
        failed = event(pod, "FailedScheduling", told, SCHEDULER_NAME, now, kind="Warning")
        actions: list[Action] = [Update(PODS, changed, "status"), Create(CORE_EVENTS, failed)]
        return Plan(actions, _AGAIN_S)


def _owner(pod: Object) -> str:
    owners = pod["metadata"].get("ownerReferences") or ()
    return next((str(each["uid"]) for each in owners if each.get("controller")), "")


def refusal(pod: Object, node: Object, there: Sequence[Object]) -> str:
    """Why a node is none for a Pod; empty: it is one."""
    spec = node.get("spec") or {}
    conditions = (node.get("status") or {}).get("conditions") or ()
    if not any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
        return "node(s) were not ready"
    if spec.get("unschedulable"):
        return "node(s) were unschedulable"
    tolerations = pod["spec"].get("tolerations") or ()
    for taint in spec.get("taints") or ():
        if taint["effect"] in _BARRED and not any(bears(each, taint) for each in tolerations):
            return f"node(s) had untolerated taint(s) {taint['key']}"
    if not _is_chosen(pod["spec"], node):
        return "node(s) didn't match Pod's node affinity/selector"
    if _host_ports(pod) & {port for each in there for port in _host_ports(each)}:
        return "node(s) didn't have free ports for the requested pod ports"
    limit = ((node.get("status") or {}).get("allocatable") or {}).get("pods")
    if limit and limit.isdigit() and len(there) >= int(limit):
        return "Too many pods"
    return ""


def bears(toleration: Object, taint: Object) -> bool:
    """Whether a toleration is for a taint."""
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and toleration.get("value", "") == taint.get("value", "")


def _is_chosen(spec: Object, node: Object) -> bool:
    labels = labels_of(node)
    wanted = spec.get("nodeSelector") or {}
    if any(labels.get(name) != value for name, value in wanted.items()):
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    terms = (affinity or {}).get("nodeSelectorTerms") or ()
    return not terms or any(_term_holds(each, labels, node) for each in terms)


def _term_holds(term: Object, labels: dict[str, str], node: Object) -> bool:
    fields = {"metadata.name": node["metadata"]["name"]}
    expressions = term.get("matchExpressions") or ()
    if not expressions and not term.get("matchFields"):
        return False
    return all(_holds(each, labels) for each in expressions) and all(
        _holds(each, fields) for each in term.get("matchFields") or ()
    )


def _holds(requirement: Object, labels: dict[str, str]) -> bool:
    value = labels.get(requirement["key"])
    values = requirement.get("values") or ()
    match requirement["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case operator:
            return _compares(operator, value, values)


def _compares(operator: str, value: str | None, values: Sequence[str]) -> bool:
    """``Gt`` and ``Lt``, of whole numbers."""
    try:
        number, limit = int(value or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return number > limit if operator == "Gt" else number < limit


def _host_ports(pod: Object) -> set[tuple[int, str]]:
    return {
        (port["hostPort"], port.get("protocol") or "TCP")
        for container in pod["spec"].get("containers") or ()
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }
