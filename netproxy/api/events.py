"""Events, in the form that ``kubectl describe`` shows."""

from __future__ import annotations

from datetime import datetime

from netproxy.api.objects import Object


def event(
    about: Object, reason: str, message: str, component: str, now: datetime, *, kind: str = "Normal"
) -> Object:
    """An Event (v1) about an object.

    Args:
        about: What it happened to.
        reason: In one word.
        message: For people.
        component: Who says it.
        now: In UTC.
        kind: Normal or Warning.
    """
    metadata = about["metadata"]
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    namespace = metadata.get("namespace") or "default"
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name'][:200]}.", "namespace": namespace},
        "involvedObject": {
            "apiVersion": about.get("apiVersion", "v1"),
            "kind": about.get("kind", ""),
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata.get("uid", ""),
            "resourceVersion": metadata.get("resourceVersion", ""),
        },
        "reason": reason,
        "message": message,
        "type": kind,
        "source": {"component": component},
        "reportingComponent": component,
        "reportingInstance": "",
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }
