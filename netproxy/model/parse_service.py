"""A Service of the API → the model. Source: Kubernetes API 1.36, defaulting and validation."""

from __future__ import annotations

from netproxy.model import api
from netproxy.model.events import ModelObject
from netproxy.model.findings import Findings, shorten
from netproxy.model.ip import IPAddress, Prefix, family_of
from netproxy.model.names import ServiceKey
from netproxy.model.service import IgnoredService, Service, ServicePort, TrafficPolicy

PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
_POLICIES = ("Cluster", "Local")
_DEFAULT_AFFINITY_S = 10800


def parse_service(typed: api.Service, key: ServiceKey, found: Findings) -> list[ModelObject]:
    """The Service; an IgnoredService for one that is not proxied; nothing for an impossible one."""
    spec = typed.spec or api.ServiceSpec()
    reason = _reason_to_ignore(typed, spec)
    if reason:
        return [IgnoredService(key, reason)]
    kind = found.choice("spec.type", spec.type, _TYPES)
    ports = _ports(spec, kind, found)
    cluster_ips = _cluster_ips(spec, found)
    external_ips = _addresses("spec.externalIPs", spec.external_ips, found)
    is_load_balancer = kind == "LoadBalancer"
    ingress = _ingress(typed, found) if is_load_balancer else []
    is_external = kind in ("NodePort", "LoadBalancer") or bool(external_ips)
    internal = found.choice("spec.internalTrafficPolicy", spec.internal_traffic_policy, _POLICIES)
    external = found.choice("spec.externalTrafficPolicy", spec.external_traffic_policy, _POLICIES)
    affinity = _affinity(spec, found)
    ranges = _source_ranges(spec, found) if is_load_balancer else ()
    health_port = found.port(
        "spec.healthCheckNodePort", spec.health_check_node_port, may_be_absent=True
    )
    if found.has_errors:
        return []
    if not cluster_ips:
        found.warn(
            "spec.clusterIP",
            "is not set, so this Service has no address of its own; without an API server "
            "nobody allocates one: give it one from your service range",
        )
    service = Service(
        key=key,
        ports=ports,
        cluster_ips=cluster_ips,
        external_ips=tuple(external_ips),
        load_balancer_ips=tuple(ingress),
        internal_policy=TrafficPolicy(internal),
        external_policy=TrafficPolicy(external) if is_external else TrafficPolicy.CLUSTER,
        source_ranges=ranges,
        affinity_timeout_s=affinity,
        health_check_node_port=health_port if is_load_balancer and external == "Local" else 0,
        creation_timestamp=(typed.metadata.creation_timestamp or "") if typed.metadata else "",
        type=kind,
    )
    return [service]


def _reason_to_ignore(typed: api.Service, spec: api.ServiceSpec) -> str:
    """Why the proxy has nothing to do with this Service; empty when it has."""
    if spec.type == "ExternalName":
        return "its type is ExternalName"
    if spec.cluster_ip == "None" or (spec.cluster_ips or [""])[0] == "None":
        return "it is headless"
    labels = (typed.metadata.labels if typed.metadata else None) or {}
    if PROXY_NAME_LABEL in labels:
        return f"its label {PROXY_NAME_LABEL} gives it to another proxy"
    return ""


def _ports(spec: api.ServiceSpec, kind: str, found: Findings) -> tuple[ServicePort, ...]:
    given = spec.ports or []
    if not given:
        found.error("spec.ports", "is empty; a Service has at least one port")
    ports = []
    for index, port in enumerate(given):
        place = f"spec.ports[{index}]"
        if port.name:
            found.label(f"{place}.name", port.name)
        elif len(given) > 1:
            found.error(f"{place}.name", "is missing; several ports need a name each")
        # A stale node port of a Service that became ClusterIP means nothing.
        has_node_port = kind in ("NodePort", "LoadBalancer")
        node_port = found.port(f"{place}.nodePort", port.node_port, may_be_absent=True)
        ports.append(
            ServicePort(
                name=port.name or "",
                protocol=found.protocol(f"{place}.protocol", port.protocol),
                port=found.port(f"{place}.port", port.port),
                node_port=node_port if has_node_port else 0,
            )
        )
        _check_target_port(f"{place}.targetPort", port.target_port, found)
    _check_unique(ports, found)
    return tuple(ports)


def _check_target_port(field: str, value: int | str | None, found: Findings) -> None:
    """The proxy does not read it, but a wrong one is a mistake that its author wants to know."""
    if isinstance(value, int) and value:
        found.port(field, value)
    elif isinstance(value, str) and value:
        letters = any(c.isalpha() for c in value)
        if len(value) > 15 or not letters or not all(c.isalnum() or c == "-" for c in value):
            found.error(
                field,
                f"{value[:40]!r} is neither a port number nor a port's name; names have at most "
                "15 letters, digits and '-'",
            )


def _check_unique(ports: list[ServicePort], found: Findings) -> None:
    names: set[str] = set()
    numbers: set[tuple[str, int]] = set()
    node_ports: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        place = f"spec.ports[{index}]"
        if port.name and port.name in names:
            found.error(f"{place}.name", f"{port.name!r} is the name of an earlier port, too")
        if port.port and (port.protocol, port.port) in numbers:
            found.error(f"{place}.port", f"{port.port}/{port.protocol} is an earlier port, too")
        if port.node_port and (port.protocol, port.node_port) in node_ports:
            found.error(
                f"{place}.nodePort", f"{port.node_port}/{port.protocol} is an earlier port's, too"
            )
        names.add(port.name)
        numbers.add((port.protocol, port.port))
        node_ports.add((port.protocol, port.node_port))


def _cluster_ips(spec: api.ServiceSpec, found: Findings) -> tuple[IPAddress, ...]:
    given = spec.cluster_ips or ([spec.cluster_ip] if spec.cluster_ip else [])
    field = "spec.clusterIPs" if spec.cluster_ips else "spec.clusterIP"
    if spec.cluster_ips and spec.cluster_ip and spec.cluster_ips[0] != spec.cluster_ip:
        found.error("spec.clusterIP", "differs from the first of spec.clusterIPs")
    if field == "spec.clusterIP":
        address = found.address(field, given[0]) if given else None
        return (address,) if address else ()
    addresses = _addresses(field, given, found)
    families = [family_of(a) for a in addresses]
    if len(families) != len(set(families)):
        found.error(field, "at most one address per IP family")
    return tuple(addresses)


def _addresses(field: str, given: list[str] | None, found: Findings) -> list[IPAddress]:
    read = (found.address(f"{field}[{index}]", text) for index, text in enumerate(given or ()))
    return [address for address in read if address]


def _ingress(typed: api.Service, found: Findings) -> list[IPAddress]:
    """Load-balancer addresses that this node shall answer; those in mode Proxy it shall not."""
    balancer = typed.status.load_balancer if typed.status else None
    addresses = []
    for index, point in enumerate((balancer.ingress if balancer else None) or ()):
        place = f"status.loadBalancer.ingress[{index}]"
        mode = found.choice(f"{place}.ipMode", point.ip_mode, ("VIP", "Proxy"))
        if point.ip and mode == "VIP":
            address = found.address(f"{place}.ip", point.ip)
            if address:
                addresses.append(address)
    return addresses


def _affinity(spec: api.ServiceSpec, found: Findings) -> int:
    """Seconds of ClientIP affinity; 0 for none."""
    if found.choice("spec.sessionAffinity", spec.session_affinity, ("None", "ClientIP")) == "None":
        return 0
    config = spec.session_affinity_config
    timeout = config.client_ip.timeout_seconds if config and config.client_ip else None
    if timeout is None:
        return _DEFAULT_AFFINITY_S
    if not 1 <= timeout <= 86400:
        found.error(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            f"{shorten(timeout)} is not between 1 and 86400 seconds",
        )
        return 0
    return timeout


def _source_ranges(spec: api.ServiceSpec, found: Findings) -> tuple[Prefix, ...]:
    given = spec.load_balancer_source_ranges or []
    field = "spec.loadBalancerSourceRanges"
    ranges = [found.prefix(f"{field}[{index}]", text) for index, text in enumerate(given)]
    return tuple(r for r in ranges if r)
