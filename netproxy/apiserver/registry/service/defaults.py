"""What a Service's absent fields mean (kube-apiserver 1.36, core/v1 defaults)."""

from __future__ import annotations

from netproxy.api.objects import Object
from netproxy.apiserver.registry.service import traits

AFFINITY_S = 10800


def defaulted(service: Object) -> Object:
    """The Service with everything said that follows from what is said."""
    spec = dict(service.get("spec") or {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if not spec["sessionAffinity"]:
        spec["sessionAffinity"] = "None"
    if spec["sessionAffinity"] == "ClientIP":
        config = spec.get("sessionAffinityConfig") or {}
        client_ip = config.get("clientIP") or {}
        if client_ip.get("timeoutSeconds") is None:
            spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": AFFINITY_S}}
    if spec.get("ports"):
        spec["ports"] = [_port(each) for each in spec["ports"]]
    if traits.is_external(spec) and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec["type"] != "ExternalName" and not spec.get("internalTrafficPolicy"):
        spec["internalTrafficPolicy"] = "Cluster"
    if spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is None:
        spec["allocateLoadBalancerNodePorts"] = True
    return {**service, "spec": spec, "status": _status(service.get("status") or {})}


def with_both_ips(service: Object) -> Object:
    """The Service with ``clusterIP`` and ``clusterIPs``: who says only one of them says both."""
    spec = service["spec"]
    ips = traits.cluster_ips(spec)
    if not ips:
        return service
    both = {"clusterIP": spec.get("clusterIP") or ips[0], "clusterIPs": ips}
    return {**service, "spec": {**spec, **both}}


def _port(port: Object) -> Object:
    filled = {**port, "protocol": port.get("protocol") or "TCP"}
    if filled.get("targetPort") in {None, 0, ""}:
        filled["targetPort"] = filled.get("port", 0)
    return filled


def _status(status: Object) -> Object:
    balancer = dict(status.get("loadBalancer") or {})
    if balancer.get("ingress"):
        balancer["ingress"] = [
            {**each, "ipMode": each.get("ipMode") or "VIP"} if each.get("ip") else each
            for each in balancer["ingress"]
        ]
    return {**status, "loadBalancer": balancer}
