"""What a Service may say (kube-apiserver 1.36, ValidateService), in the API's words."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from netproxy.api.objects import Object
from netproxy.api.status import Cause
from netproxy.apiserver.registry import causes, names
from netproxy.apiserver.registry.metadata import label_faults
from netproxy.apiserver.registry.service import traits
from netproxy.apiserver.registry.service.families import family_faults

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
PROTOCOLS = ("SCTP", "TCP", "UDP")
DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
LONGEST_AFFINITY_S = 86400
_PORT_RANGE = "must be between 1 and 65535, inclusive"
_NO_IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def service_faults(service: Object) -> list[Cause]:
    """Everything that is wrong with a defaulted Service's specification and status."""
    spec = service["spec"]
    found = _port_faults(spec)
    if spec.get("selector"):
        found += label_faults(spec["selector"], "spec.selector")
    if spec["type"] not in TYPES:
        found.append(causes.not_supported("spec.type", spec["type"], TYPES))
    found += _affinity_faults(spec)
    found += _address_faults(spec)
    found += _external_faults(spec)
    found += _balancer_faults(spec)
    found += _policy_faults(spec)
    if spec["type"] == "ExternalName":
        found += _external_name_faults(spec)
    else:
        found += family_faults(spec)
    return found


def _port_faults(spec: Object) -> list[Cause]:
    ports: Sequence[Object] = spec.get("ports") or ()
    found = []
    if not ports and not traits.is_headless(spec) and spec["type"] != "ExternalName":
        found.append(causes.required("spec.ports"))
    seen_names: set[str] = set()
    seen: set[tuple[object, object]] = set()
    seen_node_ports: set[tuple[object, object]] = set()
    for index, port in enumerate(ports):
        field = f"spec.ports[{index}]"
        found += _one_port_faults(port, field, needs_name=len(ports) > 1)
        name = port.get("name") or ""
        if name in seen_names:
            found.append(causes.duplicate(f"{field}.name", name))
        elif name:
            seen_names.add(name)
        key = (port["protocol"], port.get("port"))
        if key in seen:
            shown = {"port": port.get("port"), "protocol": port["protocol"]}
            found.append(causes.duplicate(field, shown))
        seen.add(key)
        node_port = port.get("nodePort") or 0
        if not node_port:
            continue
        if not traits.takes_node_ports(spec):
            why = f"may not be used when `type` is '{spec['type']}'"
            found.append(causes.forbidden(f"{field}.nodePort", why))
        elif (port["protocol"], node_port) in seen_node_ports:
            found.append(causes.duplicate(f"{field}.nodePort", node_port))
        seen_node_ports.add((port["protocol"], node_port))
    return found


def _one_port_faults(port: Object, field: str, *, needs_name: bool) -> list[Cause]:
    found = []
    name = port.get("name") or ""
    if needs_name and not name:
        found.append(causes.required(f"{field}.name"))
    elif name:
        found += [causes.invalid(f"{field}.name", name, each) for each in names.label_faults(name)]
    number = port.get("port", 0)
    if not 1 <= number <= 65535:
        found.append(causes.invalid(f"{field}.port", number, _PORT_RANGE))
    if port["protocol"] not in PROTOCOLS:
        found.append(causes.not_supported(f"{field}.protocol", port["protocol"], PROTOCOLS))
    target = port["targetPort"]
    if isinstance(target, int):
        if not 1 <= target <= 65535:
            found.append(causes.invalid(f"{field}.targetPort", target, _PORT_RANGE))
    else:
        found += [
            causes.invalid(f"{field}.targetPort", target, each)
            for each in names.port_name_faults(target)
        ]
    protocol = port.get("appProtocol")
    if protocol:
        found += [
            causes.invalid(f"{field}.appProtocol", protocol, each)
            for each in names.qualified_faults(protocol)
        ]
    return found


def _affinity_faults(spec: Object) -> list[Cause]:
    affinity, config = spec["sessionAffinity"], spec.get("sessionAffinityConfig")
    if affinity not in {"ClientIP", "None"}:
        return [causes.not_supported("spec.sessionAffinity", affinity, ("ClientIP", "None"))]
    if affinity == "None":
        if config:
            why = "must not be set when session affinity is None"
            return [causes.forbidden("spec.sessionAffinityConfig", why)]
        return []
    seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds", 0)
    if not 1 <= seconds <= LONGEST_AFFINITY_S:
        why = f"must be greater than 0 and less than {LONGEST_AFFINITY_S}"
        field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        return [causes.invalid(field, seconds, why)]
    return []


def _address_faults(spec: Object) -> list[Cause]:
    ip, ips = spec.get("clusterIP") or "", list(spec.get("clusterIPs") or ())
    if spec["type"] == "ExternalName":
        return [
            causes.forbidden(f"spec.{field}", "may not be set when `type` is 'ExternalName'")
            for field in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
            if spec.get(field)
        ]
    found = []
    if ips and ip != ips[0]:
        why = "first value must match `clusterIP`"
        found.append(causes.invalid("spec.clusterIPs[0]", ips[0], why))
    if len(ips) > 2:
        why = "may only hold up to 2 values"
        found.append(causes.invalid("spec.clusterIPs", ips, why))
    if traits.HEADLESS in ips:
        if len(ips) > 1:
            why = "'None' must be the first and only value"
            found.append(causes.invalid("spec.clusterIPs", ips, why))
        if traits.takes_node_ports(spec):
            why = f"may not be set to 'None' for {spec['type']} services"
            found.append(causes.invalid("spec.clusterIPs[0]", traits.HEADLESS, why))
        return found
    return found + _listed_faults(ips)


def _listed_faults(ips: list[str]) -> list[Cause]:
    found = []
    for index, each in enumerate(ips):
        if not _is_address(each):
            found.append(causes.invalid(f"spec.clusterIPs[{index}]", each, _NO_IP))
        elif each in ips[:index]:
            found.append(causes.duplicate(f"spec.clusterIPs[{index}]", each))
    if len(ips) == 2 and len({traits.family_of(each) for each in ips}) == 1:
        why = "may specify no more than one IP for each IP family"
        found.append(causes.invalid("spec.clusterIPs", ips, why))
    return found


def _external_faults(spec: Object) -> list[Cause]:
    found = []
    for index, each in enumerate(spec.get("externalIPs") or ()):
        field = f"spec.externalIPs[{index}]"
        if not _is_address(each):
            found.append(causes.invalid(field, each, _NO_IP))
            continue
        address = ipaddress.ip_address(each)
        if address.is_unspecified:
            found.append(causes.invalid(field, each, f"may not be unspecified ({each})"))
        elif address.is_loopback:
            why = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
            found.append(causes.invalid(field, each, why))
        elif address.is_link_local:
            why = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
            found.append(causes.invalid(field, each, why))
        elif address.is_multicast and int(address) & 0xFFFFFF00 == 0xE0000000:
            why = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
            found.append(causes.invalid(field, each, why))
    return found


def _balancer_faults(spec: Object) -> list[Cause]:
    found = []
    is_balancer = spec["type"] == "LoadBalancer"
    ranges = spec.get("loadBalancerSourceRanges") or ()
    if ranges and not is_balancer:
        why = "may only be used when `type` is 'LoadBalancer'"
        found.append(causes.forbidden("spec.loadBalancerSourceRanges", why))
    for index, each in enumerate(ranges):
        if not _is_prefix(each.strip()):
            why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            found.append(causes.invalid(f"spec.loadBalancerSourceRanges[{index}]", each, why))
    if spec.get("allocateLoadBalancerNodePorts") is not None and not is_balancer:
        why = "may only be used when `type` is 'LoadBalancer'"
        found.append(causes.forbidden("spec.allocateLoadBalancerNodePorts", why))
    balancer_class = spec.get("loadBalancerClass")
    if balancer_class is not None:
        if not is_balancer:
            why = "may only be used when `type` is 'LoadBalancer'"
            found.append(causes.forbidden("spec.loadBalancerClass", why))
        else:
            found += [
                causes.invalid("spec.loadBalancerClass", balancer_class, each)
                for each in names.qualified_faults(balancer_class)
            ]
    return found


def _policy_faults(spec: Object) -> list[Cause]:
    found = []
    external = spec.get("externalTrafficPolicy") or ""
    if external and not traits.is_external(spec):
        why = "may only be set for externally-accessible services"
        found.append(causes.invalid("spec.externalTrafficPolicy", external, why))
    elif external and external not in {"Cluster", "Local"}:
        known = ("Cluster", "Local")
        found.append(causes.not_supported("spec.externalTrafficPolicy", external, known))
    internal = spec.get("internalTrafficPolicy")
    if internal and internal not in {"Cluster", "Local"}:
        known = ("Cluster", "Local")
        found.append(causes.not_supported("spec.internalTrafficPolicy", internal, known))
    port = spec.get("healthCheckNodePort") or 0
    if port < 0:
        found.append(causes.invalid("spec.healthCheckNodePort", port, _PORT_RANGE))
    elif port and not traits.needs_health_check_port(spec):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        found.append(causes.invalid("spec.healthCheckNodePort", port, why))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in DISTRIBUTIONS:
        field = "spec.trafficDistribution"
        found.append(causes.not_supported(field, distribution, DISTRIBUTIONS))
    return found


def _external_name_faults(spec: Object) -> list[Cause]:
    name = str(spec.get("externalName") or "").removesuffix(".")
    if not name:
        return [causes.required("spec.externalName")]
    return [
        causes.invalid("spec.externalName", name, each) for each in names.subdomain_faults(name)
    ]


def status_faults(status: Object) -> list[Cause]:
    """What is wrong with ``status.loadBalancer``."""
    found = []
    for index, each in enumerate((status.get("loadBalancer") or {}).get("ingress") or ()):
        field = f"status.loadBalancer.ingress[{index}]"
        if each.get("ip") and not _is_address(each["ip"]):
            found.append(causes.invalid(f"{field}.ip", each["ip"], _NO_IP))
        mode = each.get("ipMode")
        if mode and not each.get("ip"):
            why = "may not be specified when `ip` is not set"
            found.append(causes.forbidden(f"{field}.ipMode", why))
        elif mode and mode not in {"Proxy", "VIP"}:
            found.append(causes.not_supported(f"{field}.ipMode", mode, ("Proxy", "VIP")))
        name = each.get("hostname")
        if name:
            found += [
                causes.invalid(f"{field}.hostname", name, why)
                for why in names.subdomain_faults(name)
            ]
    return found


def warnings_of(service: Object, old: Object | None = None) -> list[str]:
    """What works and is not a good idea."""
    spec = service["spec"]
    found = []
    if spec.get("externalIPs") and not (old and old["spec"].get("externalIPs")):
        found.append(
            "spec.externalIPs: deprecated in v1.36; anybody who may write Services can take over "
            "addresses with it"
        )
    if spec.get("trafficDistribution") == "PreferClose":
        found.append("spec.trafficDistribution: PreferClose is an older name; use PreferSameZone")
    if traits.is_headless(spec):
        found += [
            f"spec.{field} is ignored in a headless Service"
            for field in ("loadBalancerIP", "externalIPs")
            if spec.get(field)
        ]
        if spec.get("sessionAffinity") not in {None, "None"}:
            found.append("spec.sessionAffinity is ignored in a headless Service")
    return found


def _is_address(text: str) -> bool:
    """Strictly: no leading zeros, no zone, no IPv4 in IPv6."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped is None and "%" not in text
    return True


def _is_prefix(text: str) -> bool:
    if "/" not in text:
        return False
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return True
