"""How many rules a packet is held against in iptables mode, with a bit of everything around."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netproxy.backends.iptables.dataplane import iptables_dataplanes
from netproxy.core.packet import Packet
from netproxy.core.surroundings import Addresses
from netproxy.ipt.fake import FakeIptables
from netproxy.ipt.text import Tables
from netproxy.model.events import Event, Listed, Upsert
from netproxy.model.ip import Family, IPAddress, parse_prefix
from netproxy.model.names import ServiceKey
from netproxy.model.service import Service, ServicePort, TrafficPolicy
from netproxy.proxier import Proxier
from netproxy.render.environment import fill_in
from netproxy.trace.iptables import rules_passed
from tests.bench import world
from tests.bench.iptables import CONFIG, most_rules_passed

SERVICES = 10_000
NODE_PORTS = 2768
"""As many as the default range has."""
LIMIT = 600
NODE = IPAddress("192.168.0.2")
LOCAL = (NODE, IPAddress("127.0.0.1"))
RANGES = tuple(parse_prefix(f"203.0.{third}.0/24") for third in range(113, 121))


def external_ip(number: int) -> IPAddress:
    return IPAddress(f"198.18.{number >> 8}.{number & 255}")


def load_balancer_ip(number: int) -> IPAddress:
    return IPAddress(f"198.19.{number >> 8}.{number & 255}")


def service(number: int) -> Service:
    """Every second one is external, every seventh has affinity, policies and ranges."""
    is_external, is_special = number % 2 == 0, number % 7 == 0
    node_port = 30_000 + number if number < NODE_PORTS else 0
    return Service(
        ServiceKey("bench", f"s{number}"),
        (ServicePort("http", "TCP", 80, node_port),),
        (world.cluster_ip(number),),
        external_ips=(external_ip(number),) if is_external else (),
        load_balancer_ips=(load_balancer_ip(number),) if is_external else (),
        external_policy=TrafficPolicy.LOCAL if is_special else TrafficPolicy.CLUSTER,
        source_ranges=RANGES if is_special else (),
        affinity_timeout_s=10_800 if is_special else 0,
        type="LoadBalancer",
    )


@pytest.fixture(scope="module")
def tables() -> Tables:
    events: list[Event] = []
    for number in range(SERVICES):
        events.append(Upsert(service(number)))
        if number % 5:  # every fifth has no endpoints
            events.append(Upsert(world.slice_of(number)))
    fake = FakeIptables(Family.IPV4)
    dataplanes = iptables_dataplanes({Family.IPV4: fake}, fill_in)
    proxier = Proxier(CONFIG, dataplanes, lambda _: Addresses(LOCAL, NODE))
    proxier.apply_events([*events, Listed()])
    proxier.sync()
    return fake.tables


def destinations() -> Iterator[tuple[IPAddress, int]]:
    for number in range(0, SERVICES, 61):
        yield world.cluster_ip(number), 80
        yield world.cluster_ip(number), 81
        yield external_ip(number), 80
        yield load_balancer_ip(number), 80
    for number in range(0, NODE_PORTS, 61):
        yield NODE, 30_000 + number
    yield NODE, 22
    yield IPAddress("10.96.200.1"), 80
    yield IPAddress("192.0.2.1"), 443


@pytest.mark.slow
def test_no_packet_passes_more_than_600_rules(tables: Tables) -> None:
    sources = [("203.0.120.9", "eth0"), ("192.0.2.9", "eth0"), (NODE, ""), ("10.128.0.9", "eth0")]
    counts = {
        packet: rules_passed(packet, tables, LOCAL)
        for address, port in destinations()
        for source, interface in sources
        for packet in [Packet(IPAddress(source), address, "TCP", port, interface)]
    }
    longest = max(counts, key=counts.__getitem__)
    assert counts[longest] <= LIMIT, longest
    assert counts[longest] <= most_rules_passed(tables), "what ./dev bench calls the most"
