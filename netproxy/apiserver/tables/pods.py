"""Cells of Pods: a Pod's state in one word takes some looking."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from netproxy.api.objects import Object
from netproxy.apiserver.tables.ages import age


def pod_cells(pod: Object, now: datetime) -> list[Any]:
    """Ready, status, restarts, and the wide ones."""
    spec, status = pod.get("spec", {}), pod.get("status", {})
    sidecars = {
        each["name"]
        for each in spec.get("initContainers") or ()
        if each.get("restartPolicy") == "Always"
    }
    containers = status.get("containerStatuses") or ()
    inits = status.get("initContainerStatuses") or ()
    counted = [*containers, *(each for each in inits if each["name"] in sidecars)]
    ready = sum(1 for each in counted if each.get("ready") and "running" in each.get("state", {}))
    total = len(spec.get("containers") or ()) + len(sidecars)
    gates = spec.get("readinessGates") or ()
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    passed = sum(1 for each in gates if conditions.get(each["conditionType"]) == "True")
    addresses = [each["ip"] for each in status.get("podIPs") or ()]
    return [
        f"{ready}/{total}",
        _word(pod, sidecars),
        _restarts([*containers, *inits], now),
        (addresses or [status.get("podIP") or "<none>"])[0],
        spec.get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        f"{passed}/{len(gates)}" if gates else "<none>",
    ]


def _word(pod: Object, sidecars: set[str]) -> str:
    status = pod.get("status", {})
    word = status.get("reason") or status.get("phase", "")
    initializing = _initializing(pod, sidecars)
    if initializing:
        word = initializing
    else:
        is_running = False
        for each in reversed(status.get("containerStatuses") or ()):
            said = _container_word(each)
            if said:
                word = said
            elif each.get("ready") and "running" in each.get("state", {}):
                is_running = True
        if word == "Completed" and is_running:
            word = "Running" if _is_ready(status) else "NotReady"
    if pod["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return str(word)


def _initializing(pod: Object, sidecars: set[str]) -> str:
    inits = pod.get("status", {}).get("initContainerStatuses") or ()
    for index, each in enumerate(inits):
        state = each.get("state", {})
        ended = state.get("terminated")
        if ended is not None and ended.get("exitCode") == 0:
            continue
        if each["name"] in sidecars and each.get("started"):
            continue
        if ended is not None:
            return "Init:" + (ended.get("reason") or _exit_word(ended))
        waiting = state.get("waiting", {}).get("reason", "")
        if waiting and waiting != "PodInitializing":
            return f"Init:{waiting}"
        return f"Init:{index}/{len(pod.get('spec', {}).get('initContainers') or ())}"
    return ""


def _container_word(container: Object) -> str:
    state = container.get("state", {})
    if state.get("waiting", {}).get("reason"):
        return str(state["waiting"]["reason"])
    ended = state.get("terminated")
    if ended is None:
        return ""
    return str(ended.get("reason") or _exit_word(ended))


def _exit_word(ended: Object) -> str:
    if ended.get("signal"):
        return f"Signal:{ended['signal']}"
    return f"ExitCode:{ended.get('exitCode', 0)}"


def _is_ready(status: Object) -> bool:
    return any(
        each["type"] == "Ready" and each["status"] == "True"
        for each in status.get("conditions") or ()
    )


def _restarts(containers: list[Object], now: datetime) -> str:
    count = sum(each.get("restartCount", 0) for each in containers)
    ends = [
        each.get("lastState", {}).get("terminated", {}).get("finishedAt") for each in containers
    ]
    last = max((each for each in ends if each), default="")
    return f"{count} ({age(last, now)} ago)" if count and last else str(count)
