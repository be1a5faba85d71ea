"""Where a packet must go, worked out from the plans alone: the judge of every backend in tests.

Written for obviousness, not for speed, and without a thought of chains or maps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from netproxy.core.packet import Arrival, Fate, FateKind, Packet
from netproxy.core.plan import Action, Frontend, FrontendKind, ServicePlan, Target
from netproxy.model.ip import IPAddress, Prefix
from netproxy.model.names import ServicePortName

Memory = Mapping[tuple[ServicePortName, IPAddress], tuple[IPAddress, int]]
"""(service port, client) → the endpoint that its last connection went to, for as long as the
service port's affinity lasts."""


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


def judge(
    packet: Packet, plans: Iterable[ServicePlan], world: World, memory: Memory | None = None
) -> Fate:
    """The fate of a packet according to Kubernetes.

    Source: kube-proxy 1.36 in nftables mode.
    """
    plans = list(plans)
    found = _find(packet, plans, world)
    if found is not None:
        fate = _judge_frontend(packet, *found, world)
        return _with_affinity(packet, found[0], fate, memory or {})
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
    before = memory.get((plan.name, packet.source)) if plan.affinity_timeout_s else None
    same = frozenset(a for a in fate.arrivals if (a.address, a.port) == before)
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


def _is_shut_out(packet: Packet, plan: ServicePlan, frontend: Frontend) -> bool:
    """Whether the source ranges of a load balancer keep the packet out."""
    is_limited = frontend.kind is FrontendKind.LOAD_BALANCER_IP and bool(plan.source_ranges)
    return is_limited and not any(each.contains(packet.source) for each in plan.source_ranges)


def _judge_frontend(packet: Packet, plan: ServicePlan, frontend: Frontend, world: World) -> Fate:
    if _is_shut_out(packet, plan, frontend):
        return Fate(FateKind.DROP)
    from_pod = world.is_from_pod is not None and world.is_from_pod(packet)
    from_node = packet.source in world.local_addresses
    if frontend.has_short_circuit and from_pod:
        return _forward(packet, plan.targets, is_masqueraded=False)
    if frontend.has_short_circuit and from_node:
        return _forward(packet, plan.targets, is_masqueraded=True)
    if frontend.action is Action.REJECT:
        return Fate(FateKind.REJECT)
    if frontend.action is Action.DROP:
        return Fate(FateKind.DROP)
    targets = plan.local_targets if frontend.is_local_only else plan.targets
    if frontend.is_external:
        return _forward(packet, targets, is_masqueraded=not frontend.is_local_only)
    from_elsewhere = world.is_from_pod is not None and not from_pod
    return _forward(packet, targets, is_masqueraded=world.masquerade_all or from_elsewhere)


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
