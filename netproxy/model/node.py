"""The facts about a node and the cluster that change packets on this node."""

from __future__ import annotations

from typing import NamedTuple

from netproxy.model.ip import IPAddress, Prefix


class Node(NamedTuple):
    """Source: Kubernetes API: Node."""

    name: str
    zone: str = ""
    """Label topology.kubernetes.io/zone."""
    addresses: tuple[IPAddress, ...] = ()
    """status.addresses of type InternalIP, then ExternalIP, in the order given."""
    pod_cidrs: tuple[Prefix, ...] = ()
    is_leaving: bool = False
    """It is being deleted, or the cluster autoscaler is about to take it away: load balancers
    should look for another node. Source: kube-proxy 1.36, /healthz."""


class ServiceCIDR(NamedTuple):
    """Source: Kubernetes API: networking.k8s.io/v1 ServiceCIDR.spec.cidrs."""

    name: str
    cidrs: tuple[Prefix, ...]
