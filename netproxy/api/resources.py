"""The resources that are served: one literal table, from which discovery and routes are made."""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
ALL_VERBS = (*READ, *WRITE)


class Resource(NamedTuple):
    """One kind of object and how it is addressed (``APIResource`` of meta/v1)."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[str, ...] = ()
    stored_as: str = ""
    """Another resource's ``plural.group`` that has the same objects; only events have that."""

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def api_version(self) -> str:
        """As it stands in objects: ``v1`` or ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As error messages name it: ``services`` or ``endpointslices.discovery.k8s.io``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def root(self) -> str:
        """The path of its group and version: ``/api/v1`` or ``/apis/apps/v1``."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Where a list (no name) or an object is; no namespace means all of them."""
        parts = [self.root]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts += [self.plural, *filter(None, (name, subresource))]
        return "/".join(parts)


SERVICES = Resource(
    "", "v1", "services", "Service",
    short_names=("svc",), categories=("all",), subresources=("status",),
)  # fmt: skip
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints", short_names=("ep",))
PODS = Resource(
    "", "v1", "pods", "Pod",
    short_names=("po",), categories=("all",), subresources=("status", "binding", "eviction"),
)  # fmt: skip
NODES = Resource(
    "", "v1", "nodes", "Node", namespaced=False, short_names=("no",), subresources=("status",)
)
NAMESPACES = Resource(
    "", "v1", "namespaces", "Namespace", namespaced=False,
    short_names=("ns",), subresources=("status", "finalize"),
    verbs=(*READ, "create", "update", "patch", "delete"),
)  # fmt: skip
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", short_names=("cm",))
CORE_EVENTS = Resource("", "v1", "events", "Event", short_names=("ev",))
EVENTS = Resource("events.k8s.io", "v1", "events", "Event", short_names=("ev",), stored_as="events")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
SERVICE_CIDRS = Resource(
    "networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", namespaced=False,
    subresources=("status",),
)  # fmt: skip
IP_ADDRESSES = Resource(
    "networking.k8s.io", "v1", "ipaddresses", "IPAddress", namespaced=False, short_names=("ip",)
)
DEPLOYMENTS = Resource(
    "apps", "v1", "deployments", "Deployment",
    short_names=("deploy",), categories=("all",), subresources=("status", "scale"),
)  # fmt: skip
REPLICA_SETS = Resource(
    "apps", "v1", "replicasets", "ReplicaSet",
    short_names=("rs",), categories=("all",), subresources=("status", "scale"),
)  # fmt: skip
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview",
    namespaced=False, verbs=("create",),
)  # fmt: skip

RESOURCES: tuple[Resource, ...] = (
    SERVICES,
    ENDPOINTS,
    PODS,
    NODES,
    NAMESPACES,
    CONFIG_MAPS,
    CORE_EVENTS,
    EVENTS,
    ENDPOINT_SLICES,
    SERVICE_CIDRS,
    IP_ADDRESSES,
    DEPLOYMENTS,
    REPLICA_SETS,
    LEASES,
    ACCESS_REVIEWS,
)
BY_KIND = MappingProxyType({(each.api_version, each.kind): each for each in RESOURCES})
"""By what stands in an object: its ``apiVersion`` and ``kind``."""
