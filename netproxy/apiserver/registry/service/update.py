"""What an update of a Service may change, and what it leaves as it was (kube-apiserver 1.36)."""

from __future__ import annotations

from netproxy.api.objects import Object
from netproxy.api.status import Cause
from netproxy.apiserver.registry import causes
from netproxy.apiserver.registry.service import traits


def refilled(old: Object, new: Object) -> Object:
    """The new specification with what was allocated, where a full replace has left it out.

    Whoever replaces a Service by what is written in a file does not know its addresses and ports.
    Ports are found again by their names.
    """
    spec = dict(new)
    if traits.needs_cluster_ip(old) and traits.needs_cluster_ip(new):
        if not spec.get("clusterIP"):
            spec["clusterIP"] = old.get("clusterIP", "")
        if not spec.get("clusterIPs") and spec["clusterIP"] == old.get("clusterIP"):
            spec["clusterIPs"] = list(old.get("clusterIPs") or ())
    if traits.takes_node_ports(old) and traits.takes_node_ports(new):
        spec["ports"] = _with_node_ports(old, new)
    if traits.needs_health_check_port(old) and traits.needs_health_check_port(new):
        port = spec.get("healthCheckNodePort") or old.get("healthCheckNodePort")
        if port:
            spec["healthCheckNodePort"] = port
    return spec


def _with_node_ports(old: Object, new: Object) -> list[Object]:
    ports = new.get("ports") or ()
    used = {each.get("nodePort") for each in ports if each.get("nodePort")}
    former = {each.get("name", ""): each.get("nodePort") for each in old.get("ports") or ()}
    found = []
    for port in ports:
        known = former.get(port.get("name", ""))
        if not port.get("nodePort") and known and known not in used:
            used.add(known)
            port = {**port, "nodePort": known}  # noqa: PLW2901 (the same port, filled in)
        found.append(port)
    return found


def without_stale(old: Object, new: Object) -> Object:
    """Without what no longer fits the type, if the client has not touched it."""
    spec = dict(new)
    if traits.needs_cluster_ip(old) and not traits.needs_cluster_ip(new):
        if traits.cluster_ips(old) == traits.cluster_ips(new):
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
                spec.pop(field, None)
        if old.get("internalTrafficPolicy") == new.get("internalTrafficPolicy"):
            spec.pop("internalTrafficPolicy", None)
    loses_ports = traits.takes_node_ports(old) and not traits.takes_node_ports(new)
    if loses_ports and _node_ports(old) == _node_ports(new) and spec.get("ports"):
        spec["ports"] = [
            {name: value for name, value in each.items() if name != "nodePort"}
            for each in spec["ports"]
        ]
    for field, still_fits in (
        ("healthCheckNodePort", traits.needs_health_check_port(new)),
        ("allocateLoadBalancerNodePorts", traits.kind_of(new) == "LoadBalancer"),
        ("loadBalancerClass", traits.kind_of(new) == "LoadBalancer"),
        ("externalTrafficPolicy", traits.is_external(new)),
    ):
        if not still_fits and field in spec and spec[field] == old.get(field):
            del spec[field]
    return spec


def _node_ports(spec: Object) -> list[object]:
    return [each.get("nodePort") for each in spec.get("ports") or ()]


def update_faults(old: Object, new: Object) -> list[Cause]:
    """What may not change, between two filled specifications."""
    found = []
    if traits.needs_cluster_ip(old) and traits.needs_cluster_ip(new):
        found += _address_faults(old, new)
    if traits.needs_health_check_port(old) and traits.needs_health_check_port(new):
        before, after = old.get("healthCheckNodePort"), new.get("healthCheckNodePort")
        if before and after != before:
            found.append(causes.invalid("spec.healthCheckNodePort", after, "field is immutable"))
    if traits.kind_of(old) == traits.kind_of(new) == "LoadBalancer":
        before, after = old.get("loadBalancerClass"), new.get("loadBalancerClass")
        if before != after:
            why = "may not change once set"
            found.append(causes.invalid("spec.loadBalancerClass", after, why))
    return found


def _address_faults(old: Object, new: Object) -> list[Cause]:
    before, after = traits.cluster_ips(old), traits.cluster_ips(new)
    found = []
    if before and (not after or after[0] != before[0]):
        why = "may not change once set"
        found.append(causes.invalid("spec.clusterIPs[0]", after, why))
    old_families, families = old.get("ipFamilies") or [], new.get("ipFamilies") or []
    if old_families and (not families or families[0] != old_families[0]):
        why = "may not change once set"
        found.append(causes.invalid("spec.ipFamilies[0]", families, why))
    is_single = new.get("ipFamilyPolicy") == "SingleStack"
    if len(before) > 1 and not is_single and len(after) > 1 and after[1] != before[1]:
        why = "may not change once set"
        found.append(causes.invalid("spec.clusterIPs[1]", after, why))
    if len(before) > 1 and not is_single and len(after) < len(before) and after != ["None"]:
        why = 'may only be unset when ipFamilyPolicy is "SingleStack"'
        found.append(causes.invalid("spec.clusterIPs[1]", after, why))
    return found
