"""What Services have to know of a Pod."""

from __future__ import annotations

from collections.abc import Iterator

from netproxy.api.objects import Object, is_leaving


def is_ready(pod: Object) -> bool:
    """Its condition Ready."""
    return any(
        each["type"] == "Ready" and each["status"] == "True"
        for each in (pod.get("status") or {}).get("conditions") or ()
    )


def is_over(pod: Object) -> bool:
    """It has ended, and will not run again."""
    return (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}


def is_active(pod: Object) -> bool:
    """It runs or is going to."""
    return not is_over(pod) and not is_leaving(pod)


def addresses(pod: Object, family: str) -> list[str]:
    """Its addresses of a family (IPv4 or IPv6)."""
    status = pod.get("status") or {}
    found = [each["ip"] for each in status.get("podIPs") or ()]
    found = found or [each for each in [status.get("podIP")] if each]
    return [each for each in found if (":" in each) == (family == "IPv6")]


def port_of(pod: Object, service_port: Object) -> int | None:
    """The number of a Service's ``targetPort`` in this Pod; None: it has no port of that name."""
    target = service_port.get("targetPort", service_port["port"])
    if isinstance(target, int):
        return target
    protocol = service_port.get("protocol") or "TCP"
    for container in _containers(pod):
        for port in container.get("ports") or ():
            if port.get("name") == target and (port.get("protocol") or "TCP") == protocol:
                return int(port["containerPort"])
    return None


def _containers(pod: Object) -> Iterator[Object]:
    """Those that go on: an init container only if it is one that is restarted."""
    spec = pod["spec"]
    yield from spec.get("containers") or ()
    for each in spec.get("initContainers") or ():
        if each.get("restartPolicy") == "Always":
            yield each


def hostname_for(pod: Object, service: Object) -> str:
    """The name that it has below a Service's; empty: none."""
    spec, own = pod["spec"], service["metadata"]
    is_below = spec.get("subdomain") == own["name"] and (
        pod["metadata"].get("namespace") == own.get("namespace")
    )
    return str(spec.get("hostname") or "") if is_below else ""


def reference(pod: Object) -> Object:
    """As endpoints refer to it (``targetRef``)."""
    metadata = pod["metadata"]
    return {
        "kind": "Pod",
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


def changed_at(pod: Object) -> str:
    """When its readiness changed last, or when it came; RFC 3339."""
    for each in (pod.get("status") or {}).get("conditions") or ():
        if each["type"] == "Ready" and each.get("lastTransitionTime"):
            return str(each["lastTransitionTime"])
    return str(pod["metadata"].get("creationTimestamp", ""))
