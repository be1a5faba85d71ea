"""``scale``: the number of pods of a workload, without the rest of it."""

from __future__ import annotations

from netproxy.api.objects import Object
from netproxy.api.resources import Resource

_OWNERS = "managedFields"
_KEPT = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def to_scale(resource: Resource, workload: Object) -> Object:
    """The ``Scale`` of a Deployment or ReplicaSet (autoscaling/v1)."""
    del resource
    metadata = workload["metadata"]
    spec = workload.get("spec") or {}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in _KEPT if name in metadata},
        "spec": {"replicas": spec.get("replicas", 0)},
        "status": {
            "replicas": (workload.get("status") or {}).get("replicas", 0),
            "selector": selector_text(spec.get("selector") or {}),
        },
    }


def from_scale(workload: Object, scale: Object) -> Object:
    """The workload with the number of pods that a ``Scale`` asks for, and who asked for it."""
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    metadata = {name: each for name, each in workload["metadata"].items() if name != _OWNERS}
    if owners := scale["metadata"].get(_OWNERS):
        metadata[_OWNERS] = owners
    return {
        **workload,
        "metadata": metadata,
        "spec": {**workload["spec"], "replicas": replicas},
    }


def selector_text(selector: Object) -> str:
    """A ``LabelSelector`` as a query has it."""
    said = [
        f"{name}={value}" for name, value in sorted((selector.get("matchLabels") or {}).items())
    ]
    for each in selector.get("matchExpressions") or ():
        key, values = each["key"], ",".join(each.get("values") or ())
        said.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[each["operator"]]
        )
    return ",".join(said)
