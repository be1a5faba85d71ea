"""The columns of each kind, as a Kubernetes 1.36.2 API server has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from netproxy.api.objects import Object
from netproxy.apiserver.tables.ages import age
from netproxy.apiserver.tables.pods import pod_cells
from netproxy.apiserver.tables.services import (
    endpoints_text,
    external_address,
    ports_text,
    selector_text,
    slice_endpoints,
    slice_ports,
)


class Column(NamedTuple):
    """One column (``TableColumnDefinition``)."""

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0
    """1: only with ``-o wide``."""
    description: str = ""

    def definition(self) -> Object:
        """As it is sent."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description or self.name,
            "priority": self.priority,
        }


class TableKind(NamedTuple):
    """The columns of one kind, and how a row is made."""

    columns: Sequence[Column]
    cells: Callable[[Object, datetime], list[Any]]


_NAME = Column("Name", format="name", description="Unique in its namespace.")
_AGE = Column("Age", description="Time since it was created.")


def _wide(name: str) -> Column:
    return Column(name, priority=1)


def _name(obj: Object) -> str:
    name: str = obj["metadata"]["name"]
    return name


def _age(obj: Object, now: datetime) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def _service(obj: Object, now: datetime) -> list[Any]:
    spec = obj.get("spec", {})
    return [
        _name(obj),
        spec.get("type", ""),
        spec.get("clusterIP") or "<none>",
        external_address(obj),
        ports_text(spec.get("ports") or ()),
        _age(obj, now),
        selector_text(spec.get("selector")),
    ]


def _endpoints(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), endpoints_text(obj), _age(obj, now)]


def _slice(obj: Object, now: datetime) -> list[Any]:
    return [
        _name(obj),
        obj.get("addressType", ""),
        slice_ports(obj),
        slice_endpoints(obj),
        _age(obj, now),
    ]


def _namespace(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), obj.get("status", {}).get("phase", ""), _age(obj, now)]


def _node(obj: Object, now: datetime) -> list[Any]:
    status, metadata = obj.get("status", {}), obj["metadata"]
    info = status.get("nodeInfo", {})
    ready = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), None)
    words = ["Unknown" if ready is None else "Ready" if ready["status"] == "True" else "NotReady"]
    if obj.get("spec", {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    prefix = "node-role.kubernetes.io/"
    roles = [each.removeprefix(prefix) for each in metadata.get("labels") or () if prefix in each]
    addresses: dict[str, str] = {}
    for each in status.get("addresses") or ():
        addresses.setdefault(each["type"], each["address"])  # the first one counts
    return [
        _name(obj),
        ",".join(words),
        ",".join(sorted(roles)) or "<none>",
        _age(obj, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _config_map(obj: Object, now: datetime) -> list[Any]:
    count = len(obj.get("data") or ()) + len(obj.get("binaryData") or ())
    return [_name(obj), count, _age(obj, now)]


def _event(obj: Object, now: datetime) -> list[Any]:
    about = obj.get("involvedObject") or {}
    series = obj.get("series") or {}
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or first
    source = obj.get("source") or {}
    where = ", ".join(filter(None, (source.get("component"), source.get("host"))))
    return [
        age(last, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""),
        where or obj.get("reportingComponent", ""),
        str(obj.get("message", "")).strip(),
        age(first, now),
        series.get("count") or obj.get("count") or 1,
        _name(obj),
    ]


def _event_v1(obj: Object, now: datetime) -> list[Any]:
    about = obj.get("regarding") or {}
    return _event(
        {
            **obj,
            "involvedObject": about,
            "message": obj.get("note", ""),
            "source": obj.get("deprecatedSource") or {},
            "firstTimestamp": obj.get("deprecatedFirstTimestamp"),
            "lastTimestamp": obj.get("deprecatedLastTimestamp"),
            "count": obj.get("deprecatedCount"),
            "reportingComponent": obj.get("reportingController", ""),
        },
        now,
    )


def _service_cidr(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), ",".join(obj.get("spec", {}).get("cidrs") or ()), _age(obj, now)]


def _ip_address(obj: Object, now: datetime) -> list[Any]:
    parent = obj.get("spec", {}).get("parentRef") or {}
    place = [parent.get("resource"), parent.get("namespace"), parent.get("name")]
    if parent.get("group"):
        place[0] = f"{parent['resource']}.{parent['group']}"
    return [_name(obj), "/".join(each for each in place if each), _age(obj, now)]


def _containers(obj: Object) -> list[Any]:
    template = obj.get("spec", {}).get("template", {}).get("spec", {})
    containers = template.get("containers") or ()
    return [
        ",".join(each["name"] for each in containers),
        ",".join(each.get("image", "") for each in containers),
        _selector(obj.get("spec", {}).get("selector") or {}),
    ]


def _selector(selector: Object) -> str:
    said = [
        f"{name}={value}" for name, value in sorted((selector.get("matchLabels") or {}).items())
    ]
    for each in selector.get("matchExpressions") or ():
        values = ",".join(each.get("values") or ())
        said.append(
            {
                "In": f"{each['key']} in ({values})",
                "NotIn": f"{each['key']} notin ({values})",
                "Exists": each["key"],
                "DoesNotExist": f"!{each['key']}",
            }.get(each["operator"], "")
        )
    return ",".join(said) or "<none>"


def _deployment(obj: Object, now: datetime) -> list[Any]:
    status = obj.get("status", {})
    return [
        _name(obj),
        f"{status.get('readyReplicas', 0)}/{obj.get('spec', {}).get('replicas', 1)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        _age(obj, now),
        *_containers(obj),
    ]


def _replica_set(obj: Object, now: datetime) -> list[Any]:
    status = obj.get("status", {})
    return [
        _name(obj),
        obj.get("spec", {}).get("replicas", 1),
        status.get("replicas", 0),
        status.get("readyReplicas", 0),
        _age(obj, now),
        *_containers(obj),
    ]


def _lease(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), obj.get("spec", {}).get("holderIdentity", ""), _age(obj, now)]


def _pod(obj: Object, now: datetime) -> list[Any]:
    ready, status, restarts, *wide = pod_cells(obj, now)
    return [_name(obj), ready, status, restarts, _age(obj, now), *wide]


def _generic(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), _age(obj, now)]


_WORKLOAD = (_wide("Containers"), _wide("Images"), _wide("Selector"))
_EVENT_COLUMNS = (
    Column("Last Seen"), Column("Type"), Column("Reason"), Column("Object"), _wide("Subobject"),
    _wide("Source"), Column("Message"), _wide("First Seen"), _wide("Count"),
    Column("Name", format="name", priority=1),
)  # fmt: skip
GENERIC = TableKind((_NAME, Column("Created At")), _generic)
TABLES: Mapping[str, TableKind] = MappingProxyType(
    {
        "services": TableKind(
            (
                _NAME, Column("Type"), Column("Cluster-IP"), Column("External-IP"),
                Column("Port(s)"), _AGE, _wide("Selector"),
            ),
            _service,
        ),
        "endpoints": TableKind((_NAME, Column("Endpoints"), _AGE), _endpoints),
        "endpointslices.discovery.k8s.io": TableKind(
            (_NAME, Column("AddressType"), Column("Ports"), Column("Endpoints"), _AGE), _slice
        ),
        "namespaces": TableKind((_NAME, Column("Status"), _AGE), _namespace),
        "nodes": TableKind(
            (
                _NAME, Column("Status"), Column("Roles"), _AGE, Column("Version"),
                _wide("Internal-IP"), _wide("External-IP"), _wide("OS-Image"),
                _wide("Kernel-Version"), _wide("Container-Runtime"),
            ),
            _node,
        ),
        "configmaps": TableKind((_NAME, Column("Data", "integer"), _AGE), _config_map),
        "events": TableKind(_EVENT_COLUMNS, _event),
        "events.events.k8s.io": TableKind(_EVENT_COLUMNS, _event_v1),
        "servicecidrs.networking.k8s.io": TableKind((_NAME, Column("CIDRs"), _AGE), _service_cidr),
        "ipaddresses.networking.k8s.io": TableKind((_NAME, Column("ParentRef"), _AGE), _ip_address),
        "pods": TableKind(
            (
                _NAME, Column("Ready"), Column("Status"), Column("Restarts"), _AGE, _wide("IP"),
                _wide("Node"), _wide("Nominated Node"), _wide("Readiness Gates"),
            ),
            _pod,
        ),
        "deployments.apps": TableKind(
            (
                _NAME, Column("Ready"), Column("Up-to-date"), Column("Available"), _AGE, *_WORKLOAD,
            ),
            _deployment,
        ),
        "replicasets.apps": TableKind(
            (
                _NAME, Column("Desired", "integer"), Column("Current", "integer"),
                Column("Ready", "integer"), _AGE, *_WORKLOAD,
            ),
            _replica_set,
        ),
        "leases.coordination.k8s.io": TableKind((_NAME, Column("Holder"), _AGE), _lease),
    }
)  # fmt: skip
"""By ``Resource.qualified``."""
