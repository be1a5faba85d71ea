"""The fields of Kubernetes objects that netproxy reads, as they stand on the wire.

msgspec checks the types while it decodes, and says where it found another one. Unknown fields are
ignored; null counts as absent, as it does for the API server.
"""

from __future__ import annotations

import msgspec


class _Leaf(msgspec.Struct, rename="camel", gc=False):
    """Holds no references that could form a cycle: the collector need not look."""


class Metadata(msgspec.Struct, rename="camel", gc=False):
    name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class ServicePort(_Leaf):
    name: str | None = None
    protocol: str | None = None
    port: int | None = None
    node_port: int | None = None
    target_port: int | str | None = None


class ClientIPConfig(_Leaf):
    timeout_seconds: int | None = None


class SessionAffinityConfig(msgspec.Struct, rename={"client_ip": "clientIP"}, gc=False):
    client_ip: ClientIPConfig | None = None


class ServiceSpec(
    msgspec.Struct,
    gc=False,
    rename={
        "cluster_ip": "clusterIP",
        "cluster_ips": "clusterIPs",
        "external_ips": "externalIPs",
        "ip_families": "ipFamilies",
        "session_affinity": "sessionAffinity",
        "session_affinity_config": "sessionAffinityConfig",
        "internal_traffic_policy": "internalTrafficPolicy",
        "external_traffic_policy": "externalTrafficPolicy",
        "load_balancer_source_ranges": "loadBalancerSourceRanges",
        "health_check_node_port": "healthCheckNodePort",
    },
):
    type: str | None = None
    ports: list[ServicePort] | None = None
    cluster_ip: str | None = None
    cluster_ips: list[str] | None = None
    external_ips: list[str] | None = None
    ip_families: list[str] | None = None
    session_affinity: str | None = None
    session_affinity_config: SessionAffinityConfig | None = None
    internal_traffic_policy: str | None = None
    external_traffic_policy: str | None = None
    load_balancer_source_ranges: list[str] | None = None
    health_check_node_port: int | None = None


class Ingress(_Leaf):
    ip: str | None = None
    hostname: str | None = None
    ip_mode: str | None = None


class LoadBalancerStatus(msgspec.Struct, gc=False):
    ingress: list[Ingress] | None = None


class ServiceStatus(msgspec.Struct, rename="camel", gc=False):
    load_balancer: LoadBalancerStatus | None = None


class Service(msgspec.Struct, gc=False):
    metadata: Metadata | None = None
    spec: ServiceSpec | None = None
    status: ServiceStatus | None = None


class Conditions(_Leaf):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Hint(_Leaf):
    name: str | None = None


class Hints(msgspec.Struct, rename="camel", gc=False):
    for_zones: list[Hint] | None = None
    for_nodes: list[Hint] | None = None


class Endpoint(msgspec.Struct, rename="camel", gc=False):
    addresses: list[str] | None = None
    conditions: Conditions | None = None
    node_name: str | None = None
    hints: Hints | None = None


class EndpointPort(_Leaf):
    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class EndpointSlice(msgspec.Struct, rename="camel", gc=False):
    metadata: Metadata | None = None
    address_type: str | None = None
    ports: list[EndpointPort] | None = None
    endpoints: list[Endpoint] | None = None


class EndpointAddress(_Leaf):
    ip: str | None = None
    node_name: str | None = None


class EndpointSubset(msgspec.Struct, rename="camel", gc=False):
    addresses: list[EndpointAddress] | None = None
    not_ready_addresses: list[EndpointAddress] | None = None
    ports: list[EndpointPort] | None = None


class Endpoints(msgspec.Struct, gc=False):
    metadata: Metadata | None = None
    subsets: list[EndpointSubset] | None = None


class NodeAddress(_Leaf):
    type: str | None = None
    address: str | None = None


class Taint(_Leaf):
    key: str | None = None


class NodeSpec(msgspec.Struct, gc=False, rename={"pod_cidr": "podCIDR", "pod_cidrs": "podCIDRs"}):
    pod_cidr: str | None = None
    pod_cidrs: list[str] | None = None
    taints: list[Taint] | None = None


class NodeStatus(msgspec.Struct, gc=False):
    addresses: list[NodeAddress] | None = None


class Node(msgspec.Struct, gc=False):
    metadata: Metadata | None = None
    spec: NodeSpec | None = None
    status: NodeStatus | None = None


class ServiceCIDRSpec(msgspec.Struct, gc=False):
    cidrs: list[str] | None = None


class ServiceCIDR(msgspec.Struct, gc=False):
    metadata: Metadata | None = None
    spec: ServiceCIDRSpec | None = None
