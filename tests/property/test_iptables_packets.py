"""In iptables mode rules do what the plans say: the walker and the oracle agree on every packet."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from netproxy.backends.iptables.dataplane import iptables_dataplanes
from netproxy.core.config import ProxyConfig, ProxyMode
from netproxy.core.oracle import World, judge, service_port_of
from netproxy.core.packet import Arrival, Fate, Packet
from netproxy.core.plan import ServicePlan
from netproxy.core.surroundings import Addresses, look_around
from netproxy.ipt.fake import FakeIptables
from netproxy.model.events import Event, Listed, Upsert
from netproxy.model.ip import Family, IPAddress, parse_prefix
from netproxy.model.names import ServicePortName
from netproxy.proxier import Proxier
from netproxy.render.environment import fill_in
from netproxy.trace.iptables import Journey, Memory, journeys
from tests.property import strategies as make
from tests.property.test_laws import _detector, _plans

LOOPBACK = ("127.0.0.1", "::1")
NODEPORT_ADDRESSES = [
    (),
    ("0.0.0.0/0", "::/0"),
    ("192.168.0.3/32", "2001:db8::2/127"),
    ("192.168.0.0/24",),
    ("127.0.0.0/8", "::1/128"),
    ("10.1.0.0/16", "fd00:1::/32"),
]


legible = settings(
    # Shrinking takes minutes; what is found first is small enough to be read.
    phases=[Phase.explicit, Phase.reuse, Phase.generate]
)


def packets(family: Family) -> st.SearchStrategy[Packet]:
    """What goes to loopback comes from there: nothing else is let through, proxy or not."""
    return make.packets(family).map(
        lambda packet: (
            packet._replace(source=packet.destination, interface="")
            if packet.destination in LOOPBACK
            else packet
        )
    )


@st.composite
def configs(draw: st.DrawFn) -> ProxyConfig:
    words = draw(st.sampled_from(NODEPORT_ADDRESSES))
    return draw(make.configs())._replace(
        mode=ProxyMode.IPTABLES,
        nodeport_addresses=tuple(parse_prefix(word) for word in words),
        nodeport_primary=not words and draw(st.booleans()),
        localhost_nodeports=draw(st.booleans()),
    )


class Traffic:
    """Packets on paper, in one family: rules are held against plans, and clients are remembered."""

    def __init__(self, config: ProxyConfig, family: Family) -> None:
        self._config = config
        self._family = family
        self._local = make.NODE_ADDRESSES[family]
        self._addresses = Addresses(self._local, self._local[0])
        self._tables = FakeIptables(family)
        self._told: list[Event] = []
        self._lists: Memory = {}
        self._places: dict[tuple[ServicePortName, IPAddress], set[tuple[IPAddress, int]]] = {}
        self._start()

    def _start(self) -> None:
        dataplanes = iptables_dataplanes({self._family: self._tables}, fill_in)
        self._proxier = Proxier(self._config, dataplanes, lambda _: self._addresses)

    def restart(self) -> None:
        """Another process takes over."""
        self._start()
        self.sync(self._told)

    def sync(self, events: Sequence[Event]) -> None:
        """Take events in; who leaves is forgotten, even if it comes back."""
        if events is not self._told:
            self._told += events
        self._proxier.apply_events(events)
        self._proxier.sync()
        text = self._tables.text()
        self._lists = {n: who for n, who in self._lists.items() if f"--set --name {n} " in text}
        has = {plan.name: (*plan.targets, *plan.local_targets) for plan in self._plans}
        for (name, _), places in self._places.items():
            places &= {(target.address, target.port) for target in has[name]}

    def check(self, packet: Packet) -> Fate:
        """What becomes of a packet, by the rules; asserts that the plans say the same."""
        ways = [way.fate for way in self._ways(packet)]
        (kind,) = {fate.kind for fate in ways}
        fate = Fate(kind, frozenset(a for way in ways for a in way.arrivals))
        expected = judge(packet, self._plans, self._world, self._places)
        if self._places and fate.kind is expected.kind and fate.arrivals:
            # Who was sent to several endpoints goes to the first one in the list.
            assert fate.arrivals <= expected.arrivals, packet
        else:
            assert str(fate) == str(expected), packet
        return fate

    def settle(self, packet: Packet, arrival: Arrival) -> None:
        """The packet has arrived there."""
        self._lists = next(w.memory for w in self._ways(packet) if arrival in w.fate.arrivals)
        name = service_port_of(packet, self._plans, self._world)
        assert name is not None
        places = self._places.setdefault((name, packet.source), set())
        places.add((arrival.address, arrival.port))

    def _ways(self, packet: Packet) -> list[Journey]:
        return list(journeys(packet, self._tables.tables, self._local, self._lists))

    @property
    def _plans(self) -> list[ServicePlan]:
        return _plans(self._config, self._told, self._family)

    @property
    def _world(self) -> World:
        config, family = self._config, self._family
        seen = look_around(config, family, node=None, service_cidrs=(), addresses=self._addresses)
        accepting = seen.nodeport_ips
        if accepting is None:
            is_loopback_open = seen.accepts_localhost_nodeports
            accepting = tuple(a for a in self._local if a not in LOOPBACK or is_loopback_open)
        return World(
            local_addresses=self._local,
            nodeport_addresses=accepting,
            is_from_pod=_detector(config, family),
            masquerade_all=config.masquerade_all,
            service_cidrs=config.service_cidrs,
            mode=ProxyMode.IPTABLES,
        )


@pytest.mark.parametrize("family", list(Family))
@legible
@given(data=st.data(), config=configs(), history=make.histories())
def test_rules_do_what_the_plans_say(
    family: Family, data: st.DataObject, config: ProxyConfig, history: list[Event]
) -> None:
    traffic = Traffic(config, family)
    traffic.sync(history)
    for packet in data.draw(st.lists(packets(family), min_size=1, max_size=12)):
        traffic.check(packet)


@pytest.mark.parametrize("family", list(Family))
@legible
@given(data=st.data(), config=configs())
def test_clients_stay_where_the_plans_say(
    family: Family, data: st.DataObject, config: ProxyConfig
) -> None:
    """Endpoints come and go, the process is restarted, and clients come again by all ways."""
    service = data.draw(make.sticky_services(family))
    traffic = Traffic(config, family)
    traffic.sync([Upsert(service), Listed()])
    for _ in range(data.draw(st.integers(1, 4))):
        traffic.sync([Upsert(data.draw(make.slices_of(service, family)))])
        if data.draw(st.booleans()):
            traffic.restart()
        for packet in data.draw(st.lists(make.calls(service, family), min_size=1, max_size=10)):
            fate = traffic.check(packet)
            if fate.arrivals:
                traffic.settle(packet, data.draw(st.sampled_from(sorted(fate.arrivals))))
