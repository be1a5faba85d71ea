"""Who says what becomes of a packet: the plans, or the rules; both on paper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from netproxy.backends.iptables.dataplane import iptables_dataplanes
from netproxy.backends.nftables.dataplane import nftables_dataplanes
from netproxy.backends.nftables.layout import SETS
from netproxy.core.config import ProxyMode
from netproxy.core.oracle import World, judge, service_port_of
from netproxy.core.packet import Arrival, Fate, Packet
from netproxy.core.plan import ServicePlan
from netproxy.core.resolve import resolve_service
from netproxy.core.store import Store
from netproxy.core.surroundings import Addresses, Surroundings, look_around
from netproxy.ipt.fake import FakeIptables
from netproxy.model.events import Event
from netproxy.model.ip import Family, IPAddress, family_of
from netproxy.model.names import ServicePortName
from netproxy.nft.fake import FakeTable
from netproxy.nft.objects import family_word
from netproxy.nft.text import element_text
from netproxy.proxier import Proxier
from netproxy.render.environment import fill_in
from netproxy.trace import iptables
from netproxy.trace.nftables import journeys, trace
from tests.scenarios.stickiness import Stickiness
from tests.scenarios.story import Play, Story


class Judge(Protocol):
    """Is told what happens in the cluster, and asked about packets."""

    def tell(self, events: Iterable[Event]) -> None:
        """Take events in, all at once."""

    def fate(self, packet: Packet) -> Fate:
        """What becomes of a packet now."""

    def settle(self, packet: Packet, arrival: Arrival) -> None:
        """A connection was opened, and this is where it arrived."""


class Oracle:
    """Asks the plans."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._store = Store(story.config.node_name)
        self._memory: dict[tuple[ServicePortName, IPAddress], set[tuple[IPAddress, int]]] = {}

    def tell(self, events: Iterable[Event]) -> None:
        for event in events:
            self._store.apply(event)

    def fate(self, packet: Packet) -> Fate:
        seen, world = self._look_around(packet)
        return judge(packet, self._plans(seen), world, self._memory)

    def settle(self, packet: Packet, arrival: Arrival) -> None:
        seen, world = self._look_around(packet)
        name = service_port_of(packet, self._plans(seen), world)
        assert name is not None, packet
        known = self._memory.setdefault((name, packet.source), set())
        if self._story.config.mode is ProxyMode.NFTABLES:
            known.clear()
        known.add((arrival.address, arrival.port))

    def _look_around(self, packet: Packet) -> tuple[Surroundings, World]:
        family = family_of(packet.destination)
        addresses = self._story.addresses(family)
        seen = look_around(
            self._story.config,
            family,
            node=self._store.node,
            service_cidrs=self._store.service_cidrs,
            addresses=addresses,
        )
        world = World(
            local_addresses=addresses.local,
            nodeport_addresses=_nodeport_addresses(seen, addresses),
            is_from_pod=(
                (lambda one: _is_from_pod(one, seen))
                if seen.pod_prefix or seen.pod_interface
                else None
            ),
            masquerade_all=self._story.config.masquerade_all,
            service_cidrs=seen.service_cidrs,
            mode=self._story.config.mode,
        )
        return seen, world

    def _plans(self, seen: Surroundings) -> list[ServicePlan]:
        store = self._store
        return [
            plan
            for key, service in store.services.items()
            for plan in resolve_service(
                service,
                store.slices_of(key),
                seen.locality,
                (seen.family,),
                store.lost_frontends(service),
            )
        ]


def _nodeport_addresses(seen: Surroundings, addresses: Addresses) -> Sequence[IPAddress]:
    if seen.nodeport_ips is not None:
        return seen.nodeport_ips
    if seen.accepts_localhost_nodeports:
        return addresses.local
    return [a for a in addresses.local if a not in ("127.0.0.1", "::1")]


def _is_from_pod(packet: Packet, seen: Surroundings) -> bool:
    if seen.pod_prefix:
        return seen.pod_prefix.contains(packet.source)
    if seen.pod_interface.endswith("*"):
        return packet.interface.startswith(seen.pod_interface[:-1])
    return packet.interface == seen.pod_interface


class Tracer:
    """Walks through the rules of a proxy on fake tables."""

    def __init__(self, story: Story, tables: Mapping[Family, FakeTable] | None = None) -> None:
        self._story = story
        self.tables = tables or {family: FakeTable(family) for family in Family}
        self.proxier = Proxier(story.config, nftables_dataplanes(self.tables), story.addresses)

    def tell(self, events: Iterable[Event]) -> None:
        self.proxier.apply_events(events)
        self.proxier.sync()

    def fate(self, packet: Packet) -> Fate:
        family = family_of(packet.destination)
        local = self._story.addresses(family).local
        return trace(packet, self.tables[family].ruleset, local)

    def settle(self, packet: Packet, arrival: Arrival) -> None:
        family = family_of(packet.destination)
        local = self._story.addresses(family).local
        ways = journeys(packet, self.tables[family].ruleset, local)
        memory = next(way.memory for way in ways if arrival in way.fate.arrivals)
        self.tables[family].remember(memory)

    def elements(self) -> str:
        """Every element in nft's words, one per line."""
        return "".join(
            f"{family_word(family)} {name} {{ {text} }}\n"
            for family, table in self.tables.items()
            for name in SETS
            for text in sorted(
                element_text(SETS[name], key, data, family)
                for key, data in table.ruleset.elements.get(name, {}).items()
            )
        )


class IptablesTracer:
    """Walks through the iptables rules of a proxy on fake tables."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._fakes = {family: FakeIptables(family) for family in Family}
        self._memories: dict[Family, iptables.Memory] = {family: {} for family in Family}
        dataplanes = iptables_dataplanes(self._fakes, fill_in)
        self._proxier = Proxier(story.config, dataplanes, story.addresses)

    def tell(self, events: Iterable[Event]) -> None:
        self._proxier.apply_events(events)
        self._proxier.sync()

    def fate(self, packet: Packet) -> Fate:
        family, local = self._surroundings(packet)
        return iptables.trace(packet, self._fakes[family].tables, local, self._memories[family])

    def settle(self, packet: Packet, arrival: Arrival) -> None:
        family, local = self._surroundings(packet)
        tables, memory = self._fakes[family].tables, self._memories[family]
        ways = iptables.journeys(packet, tables, local, memory)
        self._memories[family] = next(w.memory for w in ways if arrival in w.fate.arrivals)

    def _surroundings(self, packet: Packet) -> tuple[Family, tuple[IPAddress, ...]]:
        family = family_of(packet.destination)
        return family, self._story.addresses(family).local


def deviations(judge_: Judge, plays: Iterable[Play], stickiness: Stickiness) -> list[str]:
    """Lines of packets that fare otherwise, and how."""
    found = []
    for play in plays:
        fate = judge_.fate(play.packet)
        if not stickiness.is_right(play, fate):
            found.append(f"{play.line}\n    but: {fate}")
        elif play.affinity:
            # Any will do; it is not always the first.
            arrival = max(fate.arrivals, key=lambda each: (each.port, each.address[::-1]))
            judge_.settle(play.packet, arrival)
            stickiness.note(play, arrival)
    return found
