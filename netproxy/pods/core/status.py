"""What the API is told about a Pod: its status, out of its spec and what is there.

Rule 1: conditions of others (PodScheduled, readiness gates) stay.
Rule 2: the same facts make the same status, so that nothing is written twice.
Source: core/v1 PodStatus; the kubelet's reasons (kubernetes 1.36).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from netproxy.api.objects import Object
from netproxy.pods.core.demands import problem_of
from netproxy.pods.core.model import (
    Container,
    Ended,
    Kind,
    Run,
    Seen,
    Trouble,
    containers_of,
    is_on_host_network,
    is_over,
)
from netproxy.pods.core.plan import has_begun, has_failed, is_done, is_past_deadline
from netproxy.pods.core.restarts import is_restarted, next_start

BACK_OFF = "CrashLoopBackOff"
_OURS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


class _Fact(NamedTuple):
    """What a condition says."""

    is_true: bool
    reason: str = ""
    message: str = ""


def make_status(pod: Object, seen: Seen, host_addresses: Sequence[str], now: float) -> Object:
    """The status of a Pod that is bound to this node.

    Args:
        pod: As the API has it.
        seen: What is there.
        host_addresses: The node's, the first one counts most.
        now: Seconds since 1970.
    """
    old = pod.get("status") or {}
    status: Object = {
        **{name: value for name, value in old.items() if name not in ("reason", "message")},
        "phase": phase_of(pod, seen, now),
        "startTime": old.get("startTime") or moment(now),
        "hostIP": host_addresses[0],
        "hostIPs": [{"ip": each} for each in host_addresses],
    }
    if is_over(pod):
        kept = {name: old[name] for name in ("reason", "message") if name in old}
        status |= kept
    elif is_past_deadline(pod, now):
        status["reason"] = "DeadlineExceeded"
        status["message"] = "Pod was active on the node longer than the specified deadline"
    addresses = _addresses(pod, seen, host_addresses)
    if addresses:
        status["podIP"] = addresses[0]
        status["podIPs"] = [{"ip": each} for each in addresses]
    containers = containers_of(pod)
    for name, kinds in (
        ("initContainerStatuses", (Kind.INIT, Kind.SIDECAR)),
        ("containerStatuses", (Kind.MAIN,)),
    ):
        told = [_container(pod, each, seen, now) for each in containers if each.kind in kinds]
        if told:
            status[name] = told
    status["conditions"] = _conditions(pod, seen, status, now)
    return status


def phase_of(pod: Object, seen: Seen, now: float) -> str:
    """Where the Pod is in its life; once it is over that never changes."""
    if is_over(pod):
        return str(pod["status"]["phase"])
    runs = _main_runs(pod, seen)
    if has_failed(pod, seen) or (is_past_deadline(pod, now) and not _is_alive(seen)):
        return "Failed"
    if is_done(pod, seen) or (seen.leaving_since is not None and runs and not _is_alive(seen)):
        ended = [each.ended for each in runs if each is not None and each.ended is not None]
        is_good = len(ended) == len(runs) and all(each.code == 0 for each in ended)
        return "Succeeded" if is_good else "Failed"
    return "Running" if any(each is not None for each in runs) else "Pending"


def moment(at: float) -> str:
    """A time as the API spells it, in whole seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _is_alive(seen: Seen) -> bool:
    return any(each.run is not None and each.run.is_alive for each in seen.containers.values())


def _main_runs(pod: Object, seen: Seen) -> list[Run | None]:
    return [seen.of(each.name).run for each in containers_of(pod) if each.kind is Kind.MAIN]


def _addresses(pod: Object, seen: Seen, host_addresses: Sequence[str]) -> Sequence[str]:
    if is_on_host_network(pod):
        return host_addresses
    return seen.sandbox.addresses if seen.sandbox is not None else ()


def _container(pod: Object, container: Container, seen: Seen, now: float) -> Object:
    spec, own = container.spec, seen.of(container.name)
    run = own.run
    status: Object = {
        "name": container.name,
        "image": spec.get("image", ""),
        "imageID": "",
        "ready": run is not None and _is_ready(container, run),
        "started": run is not None and run.is_alive and run.is_started,
        "restartCount": 0 if run is None else run.attempt,
        "state": _state(pod, container, seen, now),
        "lastState": {},
    }
    if run is not None:
        status["containerID"] = _id(pod, container, run.attempt)
        if run.ended is not None and "terminated" not in status["state"]:
            status["lastState"] = _terminated(pod, container, run.attempt, run.ended)
        elif own.before is not None:
            status["lastState"] = _terminated(pod, container, *own.before)
    return status


def _is_ready(container: Container, run: Run) -> bool:
    if container.kind is Kind.INIT:
        return run.ended is not None and run.ended.code == 0
    return run.is_alive and run.is_ready


def _state(pod: Object, container: Container, seen: Seen, now: float) -> Object:
    own = seen.of(container.name)
    run = own.run
    if run is not None and run.is_alive:
        return {"running": {"startedAt": moment(run.started_at)}}
    trouble = own.trouble or problem_of(pod, container)
    if run is None or run.ended is None:
        return {"waiting": _waiting(container, trouble, seen, pod)}
    policy = pod["spec"].get("restartPolicy", "Always")
    stays = is_over(pod) or seen.leaving_since is not None
    if not stays and is_restarted(container, policy, run.ended):
        if trouble is not None:
            return {"waiting": {"reason": trouble.reason, "message": trouble.message}}
        at = next_start(run, now)
        if at > now:
            after = round(at - run.ended.finished_at)
            message = f"back-off {after}s restarting failed container={container.name}"
            return {"waiting": {"reason": BACK_OFF, "message": message}}
    return _terminated(pod, container, run.attempt, run.ended)


def _waiting(container: Container, trouble: Trouble | None, seen: Seen, pod: Object) -> Object:
    if trouble is not None:
        return {"reason": trouble.reason, "message": trouble.message}
    if seen.sandbox is None and seen.sandbox_trouble is not None:
        return {"reason": "ContainerCreating", "message": seen.sandbox_trouble.message}
    has_init = bool(pod["spec"].get("initContainers"))
    if has_init and not _is_initialized(pod, seen) and container.kind is Kind.MAIN:
        return {"reason": "PodInitializing"}
    return {"reason": "ContainerCreating"}


def _terminated(pod: Object, container: Container, attempt: int, ended: Ended) -> Object:
    if ended.is_lost:
        reason = "ContainerStatusUnknown"
        message = "The container could not be located when its end should have been seen"
    elif ended.error:
        reason, message = "StartError", ended.error
    else:
        reason, message = ("Completed" if ended.code == 0 else "Error"), ""
    told: Object = {
        "exitCode": ended.code,
        "reason": reason,
        "startedAt": moment(ended.started_at) if ended.started_at else None,
        "finishedAt": moment(ended.finished_at),
        "containerID": _id(pod, container, attempt),
    }
    if message:
        told["message"] = message
    if ended.signal:
        told["signal"] = ended.signal
    return {"terminated": told}


def _id(pod: Object, container: Container, attempt: int) -> str:
    return f"netproxy://{pod['metadata']['uid']}/{container.name}/{attempt}"


def _is_initialized(pod: Object, seen: Seen) -> bool:
    if has_begun(pod, seen):
        return True
    for each in containers_of(pod):
        run = seen.of(each.name).run
        if each.kind is Kind.INIT and (run is None or run.ended is None or run.ended.code != 0):
            return False
        if each.kind is Kind.SIDECAR and (run is None or not run.is_started):
            return False
    return True


def _conditions(pod: Object, seen: Seen, status: Object, now: float) -> list[Object]:
    old = {each["type"]: each for each in (pod.get("status") or {}).get("conditions") or ()}
    containers = _containers_ready(pod, status)
    facts = {
        "PodReadyToStartContainers": _Fact(seen.sandbox is not None),
        "Initialized": _initialized(pod, seen, status),
        "Ready": containers if not containers.is_true else _gates_open(pod, old),
        "ContainersReady": containers,
    }
    found = [_condition(old.get(kind), kind, fact, now) for kind, fact in facts.items()]
    scheduled = old.get("PodScheduled") or _condition(None, "PodScheduled", _Fact(True), now)
    others = [each for kind, each in old.items() if kind not in _OURS]
    return [*found, scheduled, *others]


def _initialized(pod: Object, seen: Seen, status: Object) -> _Fact:
    if status["phase"] == "Succeeded":
        return _Fact(True, "PodCompleted")
    if _is_initialized(pod, seen):
        return _Fact(True)
    return _Fact(False, "ContainersNotInitialized")


def _containers_ready(pod: Object, status: Object) -> _Fact:
    if status["phase"] in ("Succeeded", "Failed"):
        return _Fact(False, "PodCompleted" if status["phase"] == "Succeeded" else "PodFailed")
    told = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    counts = {each.name for each in containers_of(pod) if each.kind is not Kind.INIT}
    unready = [each["name"] for each in told if each["name"] in counts and not each["ready"]]
    if not unready:
        return _Fact(True)
    message = f"containers with unready status: [{' '.join(unready)}]"
    return _Fact(False, "ContainersNotReady", message)


def _gates_open(pod: Object, old: dict[str, Object]) -> _Fact:
    """What others have to say first (``readinessGates``)."""
    gates = [each["conditionType"] for each in pod["spec"].get("readinessGates") or ()]
    closed = [each for each in gates if old.get(each, {}).get("status") != "True"]
    if not closed:
        return _Fact(True)
    message = f"readiness gates that are not true: {' '.join(closed)}"
    return _Fact(False, "ReadinessGatesNotReady", message)


def _condition(old: Object | None, kind: str, fact: _Fact, now: float) -> Object:
    """The time of the last transition is that of the last change between True and False."""
    word = "True" if fact.is_true else "False"
    same = old is not None and old.get("status") == word
    since = old.get("lastTransitionTime") if same and old is not None else None
    told: Object = {"type": kind, "status": word}
    for name in ("observedGeneration", "lastProbeTime"):
        if old is not None and name in old:
            told[name] = old[name]
    if fact.reason:
        told["reason"] = fact.reason
    if fact.message:
        told["message"] = fact.message
    return {**told, "lastTransitionTime": since or moment(now)}
