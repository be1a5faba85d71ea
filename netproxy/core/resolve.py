"""Current objects → plans. A function of its arguments, with no memory of earlier ones.

Not here: which endpoints are usable (``topology``), who wins a contested frontend (``rivals``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import NamedTuple

from netproxy.core.plan import Action, Frontend, FrontendKey, FrontendKind, ServicePlan
from netproxy.core.topology import Candidate, Choice, choose_endpoints
from netproxy.model.endpoints import Endpoint, EndpointSlice
from netproxy.model.ip import Family, IPAddress, Prefix, family_of
from netproxy.model.names import ServicePortName
from netproxy.model.service import Service, ServicePort, TrafficPolicy


class Locality(NamedTuple):
    """Where this node stands, as far as the choice of endpoints depends on it."""

    node_name: str
    zone: str = ""
    node_ip: IPAddress = IPAddress("")
    """The node's primary address in the family at hand; empty: not known."""


def frontend_keys(service: Service) -> list[FrontendKey]:
    """Everything that the service listens on, in both families, in the order of its fields."""
    addresses = dict.fromkeys(
        (*service.cluster_ips, *service.external_ips, *service.load_balancer_ips)
    )
    keys = []
    for port in service.ports:
        keys += [FrontendKey(address, port.protocol, port.port) for address in addresses]
        if port.node_port:
            keys.append(FrontendKey(IPAddress(""), port.protocol, port.node_port))
    return list(dict.fromkeys(keys))


def resolve_service(
    service: Service,
    slices: Collection[EndpointSlice],
    locality: Locality,
    families: Iterable[Family],
    lost: Collection[FrontendKey] = (),
) -> list[ServicePlan]:
    """The plans of one Service: one per port and family in which it has a frontend.

    Args:
        service: The Service.
        slices: All its EndpointSlices, any order.
        locality: This node.
        families: The families this node proxies.
        lost: Frontends that belong to an older rival; they are left out.
    """
    plans = []
    slices = authoritative(slices)
    for family in families:
        if not has_family(service, family):
            continue
        usable = [s for s in slices if s.family is family]
        for port in service.ports:
            plan = _resolve_port(service, port, usable, locality, family, lost)
            if plan.frontends:
                plans.append(plan)
    return plans


def authoritative(slices: Collection[EndpointSlice]) -> Collection[EndpointSlice]:
    """Those that count: Endpoints objects mirror the slices; where slices exist they say more."""
    if len(slices) > 1 and not all(s.is_legacy for s in slices):
        return [s for s in slices if not s.is_legacy]
    return slices


def has_family(service: Service, family: Family) -> bool:
    """A service is proxied in the families of its cluster IPs. Source: kube-proxy 1.36.

    One without any cluster IP, which no API server would store, is proxied wherever its other
    addresses are, NodePorts in both families.
    """
    return not service.cluster_ips or family in [family_of(a) for a in service.cluster_ips]


def _resolve_port(  # noqa: PLR0917 - what it takes is what it depends on
    service: Service,
    port: ServicePort,
    slices: list[EndpointSlice],
    locality: Locality,
    family: Family,
    lost: Collection[FrontendKey],
) -> ServicePlan:
    frontends = _frontend_places(service, port, family, lost)
    is_external = bool(frontends) and frontends[-1][0] is not _CLUSTER_IP  # those come first
    internal_local = service.internal_policy is _LOCAL
    external_local = is_external and service.external_policy is _LOCAL
    choice = choose_endpoints(
        candidates_for(port, slices),
        node_name=locality.node_name,
        zone=locality.zone,
        # External frontends may use every endpoint even under Local: short circuit.
        uses_cluster=not internal_local or is_external,
        uses_local=internal_local or external_local,
    )
    name = ServicePortName(service.key.namespace, service.key.name, port.name, port.protocol)
    return ServicePlan(
        name,
        family,
        tuple([_decide(place, service, choice) for place in frontends]),
        choice.cluster,
        choice.local,
        service.affinity_timeout_s,
        _source_ranges(service, frontends, family, locality) if service.source_ranges else (),
        service.health_check_node_port,
    )


def _source_ranges(
    service: Service, frontends: list[_Place], family: Family, locality: Locality
) -> tuple[Prefix, ...]:
    """Who may use the load balancer's addresses. Source: kube-proxy 1.36.

    Ranges of the other family say nothing about this one. Where the node itself is let in, so are
    the load balancer's addresses: a packet of the node to an address that is bound to one of its
    interfaces has that very address as its source.
    """
    ranges, lets_node_in = _ranges_of(service.source_ranges, family, locality.node_ip)
    if not lets_node_in:
        return ranges
    length = 32 if family is Family.IPV4 else 128
    own = [
        Prefix(address, length)
        for kind, address, _ in frontends
        if kind is FrontendKind.LOAD_BALANCER_IP
    ]
    return (*ranges, *own)


@lru_cache(maxsize=1024)
def _ranges_of(
    ranges: tuple[Prefix, ...], family: Family, node_ip: IPAddress
) -> tuple[tuple[Prefix, ...], bool]:
    """Those of the family, none if they let everybody in; whether the node is in them.

    Many Services have the same ones.
    """
    mine = tuple(dict.fromkeys([r for r in ranges if r.family is family]))
    if any(r.length == 0 for r in mine):
        return (), False
    return mine, bool(node_ip) and any(r.contains(node_ip) for r in mine)


# Members of an enum cost fifteen times as much to reach by way of the class.
_CLUSTER_IP = FrontendKind.CLUSTER_IP
_LOCAL, _CLUSTER = TrafficPolicy.LOCAL, TrafficPolicy.CLUSTER
_FORWARD, _REJECT = Action.FORWARD, Action.REJECT

_Place = tuple[FrontendKind, IPAddress, int]


def _frontend_places(
    service: Service, port: ServicePort, family: Family, lost: Collection[FrontendKey]
) -> list[_Place]:
    """The frontends of one port in one family; an address named twice counts once."""
    kinds: dict[IPAddress, FrontendKind] = {}
    for address in service.cluster_ips:
        if family_of(address) is family:
            kinds[address] = _CLUSTER_IP
    for address in service.external_ips:
        if family_of(address) is family:
            kinds.setdefault(address, FrontendKind.EXTERNAL_IP)
    for address in service.load_balancer_ips:
        if family_of(address) is family:
            kinds.setdefault(address, FrontendKind.LOAD_BALANCER_IP)
    places = [(kind, address, port.port) for address, kind in kinds.items()]
    if port.node_port:
        places.append((FrontendKind.NODE_PORT, _NOWHERE, port.node_port))
    if not lost:
        return places
    return [p for p in places if FrontendKey(p[1], port.protocol, p[2]) not in lost]


_NOWHERE = IPAddress("")


def candidates_for(port: ServicePort, slices: list[EndpointSlice]) -> list[Candidate]:
    """Every endpoint of a service port, each address and port once.

    Ports are matched by name and protocol, never by number. Of duplicates, one that is not
    terminating is kept. Source: kube-proxy 1.36, endpointslicecache.
    """
    if len(slices) == 1:
        # The usual case, and at a first sync it comes a hundred thousand times.
        matching = [
            p for p in slices[0].ports if (p.name, p.protocol) == (port.name, port.protocol)
        ]
        endpoints = slices[0].endpoints
        if len(matching) == 1 and len({e.address for e in endpoints}) == len(endpoints):
            number = matching[0].port
            return [(endpoint, number) for endpoint in endpoints]
    found: dict[tuple[str, int], Candidate] = {}
    for one in slices:
        for slice_port in one.ports:
            if slice_port.name != port.name or slice_port.protocol != port.protocol:
                continue
            number = slice_port.port
            for endpoint in one.endpoints:
                key = (endpoint.address, number)
                known = found.get(key)
                if known is None or _is_better(endpoint, known[0]):
                    found[key] = (endpoint, number)
    return list(found.values())


def _is_better(new: Endpoint, old: Endpoint) -> bool:
    """Of two statements about one address: not terminating first, then an order that is total.

    The order makes the result independent of the order in which slices arrived.
    """
    return _rank(new) < _rank(old)


def _rank(endpoint: Endpoint) -> tuple[bool, bool, bool, str, list[str], list[str]]:
    return (
        endpoint.terminating,
        not endpoint.ready,
        not endpoint.serving,
        endpoint.node,
        sorted(endpoint.zone_hints),
        sorted(endpoint.node_hints),
    )


def _decide(place: _Place, service: Service, choice: Choice) -> Frontend:
    """What happens to connections to one frontend."""
    kind, address, port = place
    is_external = kind is not _CLUSTER_IP
    policy = service.external_policy if is_external else service.internal_policy
    if policy is _CLUSTER:
        action = _FORWARD if choice.cluster else _REJECT
        return Frontend(kind, address, port, action)
    if choice.local:
        action = Action.FORWARD
    else:
        action = Action.DROP if choice.has_any else Action.REJECT
    short_circuit = is_external and bool(choice.cluster)
    return Frontend(
        kind, address, port, action, is_local_only=True, has_short_circuit=short_circuit
    )
