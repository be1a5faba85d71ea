"""A Service of the API → the model. Source: Kubernetes API 1.36, defaulting and validation."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence

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
_NOBODYS = ("0.0.0.0", "::", "::1")  # noqa: S104 - nothing is bound to it
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


def parse_service(typed: api.Service, key: ServiceKey, found: Findings) -> list[ModelObject]:
    """The Service; an IgnoredService for one that is not proxied; nothing for an impossible one."""
    spec = typed.spec or api.ServiceSpec()
    reason = _reason_to_ignore(typed, spec)
    if reason:
        return [IgnoredService(key, reason)]
    kind = found.choice("spec.type", spec.type, _TYPES)
    ports = _ports(spec, kind, found)
    cluster_ips = _cluster_ips(spec, found)
    external_ips = _external_ips(spec, found)
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
    created = _creation_timestamp(typed, found)
    if found.has_errors:
        return []
    _warn_of_what_nobody_allocates(ports, kind, found, has_address=bool(cluster_ips))
    _warn_of_what_does_not_fit(typed, spec, kind, found)
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
        creation_timestamp=created,
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


def _warn_of_what_nobody_allocates(
    ports: tuple[ServicePort, ...], kind: str, found: Findings, *, has_address: bool
) -> None:
    """An API server fills these in, so they are absent only from manifests."""
    if not has_address:
        found.warn(
            "spec.clusterIP",
            "is not set, so this Service has no address of its own; without an API server "
            "nobody allocates one: give it one from your service range",
        )
    if kind == "NodePort":
        for index, port in enumerate(ports):
            if not port.node_port:
                found.warn(
                    f"spec.ports[{index}].nodePort",
                    "is not set, so nodes do not answer for this port; without an API server "
                    "nobody allocates one: give it one, usually between 30000 and 32767",
                )


def _warn_of_what_does_not_fit(
    typed: api.Service, spec: api.ServiceSpec, kind: str, found: Findings
) -> None:
    """Left behind by another type. An API server wipes these when the type changes."""
    if kind == "ClusterIP":
        for index, port in enumerate(spec.ports or ()):
            if port.node_port:
                found.warn(f"spec.ports[{index}].nodePort", "means nothing for type ClusterIP")
    if kind != "LoadBalancer":
        balancer = typed.status.load_balancer if typed.status else None
        if balancer and balancer.ingress:
            found.warn("status.loadBalancer.ingress", f"means nothing for type {kind}")
        if spec.load_balancer_source_ranges:
            found.warn("spec.loadBalancerSourceRanges", f"means nothing for type {kind}")
    is_local = kind == "LoadBalancer" and spec.external_traffic_policy == "Local"
    if spec.health_check_node_port and not is_local:
        found.warn(
            "spec.healthCheckNodePort",
            "means nothing without type LoadBalancer and externalTrafficPolicy Local",
        )


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
        addresses = [found.address(field, given[0])] if given else []
    else:
        addresses = [found.address(f"{field}[{i}]", text) for i, text in enumerate(given)]
    usable = tuple(a for a in addresses if a)
    for address in usable:
        if address in _NOBODYS or address.startswith("127."):
            found.error(field, f"{address} is a loopback or unspecified address")
    if len(usable) > 1 and len(usable) != len({family_of(a) for a in usable}):
        found.error(field, "at most one address per IP family")
    if spec.ip_families:
        _check_families(spec.ip_families, addresses, found)
    return usable


def _check_families(
    given: list[str], addresses: Sequence[IPAddress | None], found: Findings
) -> None:
    """Source: Kubernetes API: ``ipFamilies[i]`` is the family of ``clusterIPs[i]``."""
    for index, text in enumerate(given):
        field = f"spec.ipFamilies[{index}]"
        family = found.choice(field, text, ("IPv4", "IPv6"))
        address = addresses[index] if index < len(addresses) else None
        if text in given[:index]:
            found.error(field, f"{family} is named already")
        elif text == family and address and family_of(address).label != family:
            found.error(field, f"{family} is not the family of the cluster IP {address}")


def _external_ips(spec: api.ServiceSpec, found: Findings) -> list[IPAddress]:
    given = spec.external_ips or ()
    read = (found.remote_address(f"spec.externalIPs[{i}]", text) for i, text in enumerate(given))
    return [address for address in read if address]


def _creation_timestamp(typed: api.Service, found: Findings) -> str:
    """RFC 3339 in UTC: of two Services that want the same address the older one gets it."""
    text = typed.metadata.creation_timestamp if typed.metadata else None
    if not text or _UTC.fullmatch(text):
        return text or ""
    try:
        time = datetime.datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return time.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        pass
    found.warn(
        "metadata.creationTimestamp",
        f"{shorten(text)} is no time such as 2026-01-01T00:00:00Z; taken as unknown",
    )
    return ""


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
