"""Events have two faces, v1 and events.k8s.io/v1; they are stored as v1."""

from __future__ import annotations

from types import MappingProxyType

from netproxy.api.objects import Object

_TO_V1 = MappingProxyType(
    {
        "regarding": "involvedObject",
        "note": "message",
        "reportingController": "reportingComponent",
        "deprecatedSource": "source",
        "deprecatedFirstTimestamp": "firstTimestamp",
        "deprecatedLastTimestamp": "lastTimestamp",
        "deprecatedCount": "count",
    }
)
_FROM_V1 = MappingProxyType({theirs: ours for ours, theirs in _TO_V1.items()})


def to_events_v1(event: Object) -> Object:
    """A v1 Event as events.k8s.io/v1 has it."""
    renamed = {_FROM_V1.get(name, name): value for name, value in event.items()}
    return {**renamed, "apiVersion": "events.k8s.io/v1"}


def to_core_v1(event: Object) -> Object:
    """An events.k8s.io/v1 Event as v1 has it; one that is v1 already stays as it is."""
    if event.get("apiVersion") != "events.k8s.io/v1":
        return event
    renamed = {_TO_V1.get(name, name): value for name, value in event.items()}
    return {**renamed, "apiVersion": "v1"}
