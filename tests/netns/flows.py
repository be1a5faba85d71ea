"""Packet facts about the reference proxy: read them, play them, compare."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from netproxy.core.packet import Arrival, Fate, FateKind, Packet
from netproxy.model.ip import IPAddress
from tests.netns.scenery import Interface
from tests.netns.stage import Stage

FLOWS = Path(__file__).parent.parent / "data" / "flows"
_WORDS = {
    "REJECT": FateKind.REJECT,
    "DROP": FateKind.DROP,
    "ACCEPT": FateKind.ACCEPT,
    "": FateKind.ACCEPT,
}
_TRIES = {0: 2, 1: 3}
"""Connections played for a flow with so many possible arrivals."""
_TRIES_FOR_EACH = 30
"""For more: that one of three equally likely arrivals is missed has a chance below 10^-15."""


class Flow(NamedTuple):
    """A packet and what must become of it."""

    name: str
    packet: Packet
    expected: Fate


class Scenario(NamedTuple):
    """A node, its objects and the packets it meets."""

    id: str
    test: str
    """The reference's own, from which the facts are."""
    config: dict[str, Any]
    objects: list[dict[str, Any]]
    flows: tuple[Flow, ...]

    def stage(self) -> Stage:
        """The node and the world, without any rules yet."""
        interfaces = [
            Interface(each["name"], tuple(each["addresses"])) for each in self.config["interfaces"]
        ]
        return Stage(interfaces, route_localnet=bool(self.config["localhostNodePorts"]))


def read_scenarios(mode: str) -> list[Scenario]:
    """All scenarios of ``nftables`` or ``iptables`` mode."""
    return [
        Scenario(
            id=each["id"],
            test=each["test"],
            config=each["config"],
            objects=each["services"] + each["endpointSlices"],
            flows=tuple(_read_flow(flow, each) for flow in each["flows"]),
        )
        for each in json.loads((FLOWS / f"{mode}.json").read_text())
    ]


class Deviation(NamedTuple):
    """A flow whose packets did not fare as expected."""

    flow: Flow
    fates: set[Fate]

    def __str__(self) -> str:
        name, packet, expected = self.flow
        way = f"{packet.protocol} {packet.source} -> {packet.destination} port {packet.port}"
        seen = "; ".join(sorted(map(str, self.fates)))
        return f"{name}: {way}: expected {expected}, but: {seen}"


def find_deviations(stage: Stage, flows: Sequence[Flow]) -> list[Deviation]:
    """Those that did not fare as expected; all flows are played at once."""
    connections = [flow for flow in flows for _ in range(_count_tries(flow))]
    fates = stage.play(flow.packet for flow in connections)
    seen: defaultdict[Flow, set[Fate]] = defaultdict(set)
    for flow, fate in zip(connections, fates, strict=True):
        seen[flow].add(fate)
    return [
        Deviation(flow, seen[flow])
        for flow in flows
        if not _is_as_expected(stage, flow, seen[flow])
    ]


def deviation_of(stage: Stage, flow: Flow, expected: Fate, seen: Fate) -> Deviation | None:
    """How one packet of a flow deviates that may arrive at any of the expected places."""
    arrivals = _as_seen(stage, flow, expected.arrivals)
    is_right = seen.kind is expected.kind and seen.arrivals <= arrivals
    return None if is_right else Deviation(flow._replace(expected=expected), {seen})


def _count_tries(flow: Flow) -> int:
    arrivals = len(flow.expected.arrivals)
    return _TRIES.get(arrivals, arrivals * _TRIES_FOR_EACH)


def _is_as_expected(stage: Stage, flow: Flow, fates: set[Fate]) -> bool:
    if {fate.kind for fate in fates} != {flow.expected.kind}:
        return False
    seen = frozenset(arrival for fate in fates for arrival in fate.arrivals)
    return seen == _as_seen(stage, flow, flow.expected.arrivals)


def _as_seen(stage: Stage, flow: Flow, arrivals: frozenset[Arrival]) -> frozenset[Arrival]:
    if not stage.is_own(flow.packet.source):
        return arrivals
    # It bears an address of the node from the start: masqueraded or not, nobody can tell.
    return frozenset(arrival._replace(is_masqueraded=True) for arrival in arrivals)


def _read_flow(flow: dict[str, Any], scenario: dict[str, Any]) -> Flow:
    source = IPAddress(flow["sourceIP"])
    is_loopback = source.startswith("127.") or source == "::1"
    is_from_node = is_loopback or source in _addresses_of_node(scenario)
    packet = Packet(
        source,
        IPAddress(flow["destIP"]),
        flow["protocol"],
        flow["destPort"],
        "" if is_from_node else "eth0",
    )
    return Flow(flow["name"], packet, _read_fate(flow["output"], is_masqueraded=flow["masq"]))


def _addresses_of_node(scenario: dict[str, Any]) -> set[str]:
    """Those that it has, and load balancers': a node may answer to them as if they were its own."""
    ingress = [
        each.get("ip", "")
        for service in scenario["services"]
        for each in service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    ]
    return {*scenario["config"]["localIPs"], *ingress}


def _read_fate(output: str, *, is_masqueraded: bool) -> Fate:
    if output in _WORDS:
        return Fate(_WORDS[output])
    arrivals = set()
    for part in output.split(","):
        address, _, port = part.strip().rpartition(":")
        arrivals.add(Arrival(IPAddress(address.strip("[]")), int(port), is_masqueraded))
    return Fate(FateKind.FORWARD, frozenset(arrivals))
