"""Where a packet must go, worked out from the plans alone: the judge of every backend in tests.

Written for obviousness, not for speed, and without a thought of chains or maps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from netproxy.core.config import ProxyMode
from netproxy.core.packet import Arrival, Fate, FateKind, Packet
from netproxy.core.plan import Action, Frontend, FrontendKind, ServicePlan, Target
from netproxy.model.ip import IPAddress, Prefix
from netproxy.model.names import ServicePortName

Memory = Mapping[tuple[ServicePortName, IPAddress], Collection[tuple[IPAddress, int]]]
"""(service port, client) → the endpoints that it may be sent to again, for as long as the service
port's affinity lasts: the one that its last connection went to; in iptables mode, which has a list
of clients for each endpoint, all that it was ever sent to."""


class World(NamedTuple):
    """What besides the plans decides about packets on this node, in one family."""

    local_addresses: Collection[IPAddress]
    """All addresses of the node."""
    nodeport_addresses: Collection[IPAddress]
    """Those that accept NodePorts."""
    is_from_pod: Callable[[Packet], bool] | None = None
    """None: pods cannot be told from others."""
    masquerade_all: bool = False
    service_cidrs: tuple[Prefix, ...] = ()
    mode: ProxyMode = ProxyMode.NFTABLES
    """Modes differ in what they refuse. Source: kube-proxy 1.36, which differs the same way."""


_REFUSALS = {Action.REJECT: FateKind.REJECT, Action.DROP: FateKind.DROP}


def judge(
    packet: Packet, plans: Iterable[ServicePlan], world: World, memory: Memory | None = None
) -> Fate:
    """The fate of a packet according to Kubernetes. Source: kube-proxy 1.36."""
    plans = list(plans)
    found = _find(packet, plans, world)
    if found is not None:
        fate = _judge_frontend(packet, *found, world)
        return _with_affinity(packet, found[0], fate, memory or {})
    if world.mode is ProxyMode.IPTABLES:
        return _judge_closed_nodeport(packet, plans, world)
    if packet.destination in world.local_addresses:
        return Fate(FateKind.ACCEPT)
    if packet.destination in _cluster_ips(plans):
        return Fate(FateKind.REJECT)
    if any(cidr.contains(packet.destination) for cidr in world.service_cidrs):
        return Fate(FateKind.DROP)
    return Fate(FateKind.ACCEPT)


def service_port_of(
    packet: Packet, plans: Iterable[ServicePlan], world: World
) -> ServicePortName | None:
    """Whose frontend a packet is addressed to."""
    found = _find(packet, list(plans), world)
    return found[0].name if found is not None else None


def _with_affinity(packet: Packet, plan: ServicePlan, fate: Fate, memory: Memory) -> Fate:
    """A client goes where it went before, if it may go there."""
    known = memory.get((plan.name, packet.source), ()) if plan.affinity_timeout_s else ()
    same = frozenset(a for a in fate.arrivals if (a.address, a.port) in known)
    return fate._replace(arrivals=same) if same else fate


def _find(
    packet: Packet, plans: list[ServicePlan], world: World
) -> tuple[ServicePlan, Frontend] | None:
    """The frontend the packet is addressed to; an address of its own comes before a NodePort."""
    mine = [p for p in plans if p.name.protocol == packet.protocol]
    for plan in mine:
        for frontend in plan.frontends:
            if (frontend.address, frontend.port) == (packet.destination, packet.port):
                return plan, frontend
    if packet.destination not in world.nodeport_addresses:
        return None
    for plan in mine:
        for frontend in plan.frontends:
            if frontend.kind is FrontendKind.NODE_PORT and frontend.port == packet.port:
                return plan, frontend
    return None


def _is_shut_out(packet: Packet, plan: ServicePlan, frontend: Frontend, world: World) -> bool:
    """Whether the source ranges of a load balancer keep the packet out.

    In iptables mode they do while there is an endpoint; a Service without refuses everybody.
    """
    if world.mode is ProxyMode.IPTABLES and not (plan.targets or plan.local_targets):
        return False
    is_limited = frontend.kind is FrontendKind.LOAD_BALANCER_IP and bool(plan.source_ranges)
    return is_limited and not any(each.contains(packet.source) for each in plan.source_ranges)


def _judge_frontend(packet: Packet, plan: ServicePlan, frontend: Frontend, world: World) -> Fate:
    if _is_shut_out(packet, plan, frontend, world):
        return Fate(FateKind.DROP)
    from_pod = world.is_from_pod is not None and world.is_from_pod(packet)
    from_node = packet.source in world.local_addresses
    if frontend.has_short_circuit and from_pod:
        return _forward(packet, plan.targets, is_masqueraded=False)
    if frontend.has_short_circuit and from_node:
        return _forward(packet, plan.targets, is_masqueraded=True)
    if frontend.is_external and _leaves_unseen(packet, world) and frontend.action in _REFUSALS:
        return Fate(FateKind.ACCEPT)
    if frontend.action in _REFUSALS:
        return Fate(_REFUSALS[frontend.action])
    targets = plan.local_targets if frontend.is_local_only else plan.targets
    if frontend.is_external:
        return _forward(packet, targets, is_masqueraded=not frontend.is_local_only)
    from_elsewhere = world.is_from_pod is not None and not from_pod
    return _forward(packet, targets, is_masqueraded=world.masquerade_all or from_elsewhere)


def _leaves_unseen(packet: Packet, world: World) -> bool:
    """Iptables mode looks at external addresses where packets come in or pass through only."""
    is_own = not packet.interface and packet.destination not in world.local_addresses
    return world.mode is ProxyMode.IPTABLES and is_own


def _judge_closed_nodeport(packet: Packet, plans: list[ServicePlan], world: World) -> Fate:
    """Iptables mode refuses NodePorts without endpoints also where they would not be open."""
    if packet.destination in world.local_addresses:
        for plan in plans:
            for frontend in plan.frontends:
                is_meant = frontend.kind is FrontendKind.NODE_PORT and frontend.port == packet.port
                if is_meant and plan.name.protocol == packet.protocol:
                    return Fate(_REFUSALS.get(frontend.action, FateKind.ACCEPT))
    return Fate(FateKind.ACCEPT)


def _forward(packet: Packet, targets: Iterable[Target], *, is_masqueraded: bool) -> Fate:
    arrivals = frozenset(
        Arrival(t.address, t.port, is_masqueraded or (t.is_local and t.address == packet.source))
        for t in targets
    )
    return Fate(FateKind.FORWARD, arrivals)


def _cluster_ips(plans: Iterable[ServicePlan]) -> set[IPAddress]:
    return {
        frontend.address
        for plan in plans
        for frontend in plan.frontends
        if frontend.kind is FrontendKind.CLUSTER_IP
    }
