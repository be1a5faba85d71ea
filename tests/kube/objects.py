"""Objects as an API server has them, for tests to put into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]


def service(
    name: str,
    cluster_ip: str = "10.96.0.10",
    *,
    namespace: str = "default",
    port: int = 80,
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> Object:
    """A ClusterIP Service with one port; further fields of its spec by their API names."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            **({"labels": dict(labels)} if labels else {}),
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": cluster_ip,
            "clusterIPs": [cluster_ip],
            "ipFamilies": ["IPv6" if ":" in cluster_ip else "IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "ports": [{"protocol": "TCP", "port": port, "targetPort": 8080}],
            "selector": {"app": name},
            **spec,
        },
        "status": {"loadBalancer": {}},
    }


def endpoint_slice(
    service_name: str,
    addresses: Sequence[str],
    *,
    name: str = "",
    namespace: str = "default",
    port: int = 8080,
    triggered: str = "",
    **fields: Any,
) -> Object:
    """A slice of ready endpoints, as the EndpointSlice controller writes them.

    Args:
        service_name: Whose endpoints they are.
        addresses: One endpoint each.
        name: By default one that is made of the Service's.
        namespace: Of both.
        port: Its only one, without a name.
        triggered: When the change happened that made this version, in RFC 3339.
        **fields: Of the object, by their API names.
    """
    annotations = {"endpoints.kubernetes.io/last-change-trigger-time": triggered}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name or f"{service_name}-x7k2p",
            "namespace": namespace,
            "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                "kubernetes.io/service-name": service_name,
            },
            **({"annotations": annotations} if triggered else {}),
        },
        "addressType": "IPv6" if addresses and ":" in addresses[0] else "IPv4",
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": "node-b",
                "targetRef": {"kind": "Pod", "name": f"{service_name}-{i}", "namespace": namespace},
                "zone": "zone-1",
            }
            for i, address in enumerate(addresses)
        ],
        "ports": [{"name": "", "protocol": "TCP", "port": port}],
        **fields,
    }


def node(
    name: str,
    addresses: Sequence[str] = ("192.168.0.2",),
    *,
    pod_cidrs: Sequence[str] = (),
    zone: str = "",
    taints: Sequence[str] = (),
) -> Object:
    """A Node with addresses of type InternalIP."""
    spec: Object = {}
    if pod_cidrs:
        spec |= {"podCIDR": pod_cidrs[0], "podCIDRs": list(pod_cidrs)}
    if taints:
        spec |= {"taints": [{"key": key, "effect": "NoSchedule"} for key in taints]}
    labels = {"kubernetes.io/hostname": name}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {**labels, "topology.kubernetes.io/zone": zone} if zone else labels,
        },
        "spec": spec,
        "status": {"addresses": [{"type": "InternalIP", "address": a} for a in addresses]},
    }


def service_cidr(*cidrs: str, name: str = "kubernetes") -> Object:
    """The range of ClusterIPs."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": name},
        "spec": {"cidrs": list(cidrs)},
    }
