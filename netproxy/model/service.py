"""A Service as the proxy needs it: defaults applied, addresses canonical, both families."""

from __future__ import annotations

import enum
from typing import NamedTuple

from netproxy.model.ip import IPAddress, Prefix
from netproxy.model.names import ServiceKey


class TrafficPolicy(enum.Enum):
    """Source: Kubernetes API: Service.spec.{internal,external}TrafficPolicy."""

    CLUSTER = "Cluster"
    LOCAL = "Local"


class ServicePort(NamedTuple):
    """Source: Kubernetes API: Service.spec.ports[]. The proxy never reads targetPort."""

    name: str
    protocol: str
    """``TCP``, ``UDP`` or ``SCTP``."""
    port: int
    node_port: int = 0
    """0 when the port has none."""


class Service(NamedTuple):
    """One Service that this node proxies. Headless, ExternalName and excluded ones never get here.

    ``clusterIP: None``, type ExternalName and the label service.kubernetes.io/service-proxy-name
    are dealt with in ``parse``: such an object becomes an ``IgnoredService``.
    """

    key: ServiceKey
    ports: tuple[ServicePort, ...]
    cluster_ips: tuple[IPAddress, ...]
    """At most one per family."""
    external_ips: tuple[IPAddress, ...] = ()
    load_balancer_ips: tuple[IPAddress, ...] = ()
    """Only ingress points whose ipMode is VIP (the default)."""
    internal_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    external_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    source_ranges: tuple[Prefix, ...] = ()
    """loadBalancerSourceRanges; empty means everybody."""
    affinity_timeout_s: int = 0
    """ClientIP session affinity; 0 means none."""
    health_check_node_port: int = 0
    creation_timestamp: str = ""
    """RFC 3339 in UTC, so that text order is time order; empty when unknown."""
    type: str = "ClusterIP"


class IgnoredService(NamedTuple):
    """A Service that exists but that this proxy leaves alone; it displaces an earlier version."""

    key: ServiceKey
    reason: str
