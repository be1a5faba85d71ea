"""What is asked of the API: four kinds of objects, and which of them.

Source: requests of kube-proxy 1.36.2, recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Resource(NamedTuple):
    """Objects of one kind."""

    kind: str
    path: str
    group: str
    """As RBAC rules name it."""
    selectors: Mapping[str, str]
    is_optional: bool = False
    """A server that does not have it, or that keeps it from us, has none of it."""

    @property
    def plural(self) -> str:
        """As RBAC rules name it."""
        return self.path.rpartition("/")[2]


SERVICES = Resource(
    "Service",
    "/api/v1/services",
    "",
    {
        "labelSelector": "!service.kubernetes.io/service-proxy-name",
        "fieldSelector": "spec.clusterIP!=None",
    },
)
ENDPOINT_SLICES = Resource(
    "EndpointSlice",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "discovery.k8s.io",
    {"labelSelector": "!service.kubernetes.io/headless"},
)
SERVICE_CIDRS = Resource(
    "ServiceCIDR",
    "/apis/networking.k8s.io/v1/servicecidrs",
    "networking.k8s.io",
    {},
    is_optional=True,
)


def our_node(name: str) -> Resource:
    """One Node only."""
    return Resource("Node", "/api/v1/nodes", "", {"fieldSelector": f"metadata.name={name}"})
