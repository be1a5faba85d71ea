"""Random clusters: small ones, in which everything collides with everything."""

from __future__ import annotations

from hypothesis import strategies as st

from netproxy.core.config import DetectLocalMode, ProxyConfig
from netproxy.core.packet import Packet
from netproxy.model.endpoints import Endpoint, EndpointSlice, SlicePort
from netproxy.model.events import Delete, Event, Listed, Upsert, key_of
from netproxy.model.ip import Family, IPAddress, parse_prefix
from netproxy.model.names import ServiceKey
from netproxy.model.service import IgnoredService, Service, ServicePort, TrafficPolicy

NODE = "node-a"
PROTOCOLS = ("TCP", "UDP", "SCTP")
PORT_NAMES = ("", "http", "dns")

_PREFIXES = {Family.IPV4: "10.{}.0.{}", Family.IPV6: "fd00:{}::{}"}
NODE_ADDRESSES = {
    Family.IPV4: (IPAddress("192.168.0.2"), IPAddress("192.168.0.3"), IPAddress("127.0.0.1")),
    Family.IPV6: (IPAddress("2001:db8::2"), IPAddress("2001:db8::3"), IPAddress("::1")),
}
OUTSIDE = {Family.IPV4: IPAddress("203.0.113.7"), Family.IPV6: IPAddress("2001:db8:7::7")}


def address(family: Family, group: int, number: int) -> IPAddress:
    """One of a few addresses: group 1 pods, 2 endpoints elsewhere, 96 cluster IPs, 9 external."""
    return IPAddress(_PREFIXES[family].format(group, number))


def addresses(family: Family, group: int, count: int = 4) -> st.SearchStrategy[IPAddress]:
    return st.integers(1, count).map(lambda n: address(family, group, n))


families = st.sampled_from(list(Family))
service_keys = st.builds(ServiceKey, st.just("ns"), st.sampled_from(["a", "b", "c", "d"]))
policies = st.sampled_from(list(TrafficPolicy))


@st.composite
def services(draw: st.DrawFn) -> Service:
    """A Service; different ones claim the same addresses and ports now and then."""
    chosen = draw(st.lists(families, min_size=1, max_size=2, unique=True))
    ports = draw(
        st.lists(
            st.builds(
                ServicePort,
                name=st.sampled_from(PORT_NAMES),
                protocol=st.sampled_from(PROTOCOLS),
                port=st.sampled_from([80, 53]),
                node_port=st.sampled_from([0, 30080, 30053]),
            ),
            min_size=1,
            max_size=3,
            unique_by=(lambda p: p.name, lambda p: (p.protocol, p.port)),
        ).filter(_has_unique_node_ports)
    )
    external = [a for f in chosen for a in draw(st.lists(addresses(f, 9, 2), max_size=2))]
    return Service(
        key=draw(service_keys),
        ports=tuple(ports),
        cluster_ips=tuple(draw(addresses(f, 96, 6)) for f in chosen),
        external_ips=tuple(external[:1]),
        load_balancer_ips=tuple(external[1:]),
        internal_policy=draw(policies),
        external_policy=draw(policies),
        creation_timestamp=draw(st.sampled_from(["", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"])),
    )


def _has_unique_node_ports(ports: list[ServicePort]) -> bool:
    numbers = [(p.protocol, p.node_port) for p in ports if p.node_port]
    return len(numbers) == len(set(numbers))


hints = st.frozensets(st.sampled_from(["zone-1", "zone-2"]), max_size=1)


@st.composite
def endpoints(draw: st.DrawFn, family: Family) -> Endpoint:
    node = draw(st.sampled_from([NODE, "node-b", ""]))
    return Endpoint(
        address=draw(addresses(family, 1 if node == NODE else 2, 5)),
        node=node,
        ready=draw(st.booleans()),
        serving=draw(st.booleans()),
        terminating=draw(st.booleans()),
        zone_hints=draw(hints),
    )


@st.composite
def slices(draw: st.DrawFn) -> EndpointSlice:
    family = draw(families)
    return EndpointSlice(
        service=draw(service_keys),
        name=draw(st.sampled_from(["s1", "s2", "s3", "s4", "s5"])),
        family=family,
        ports=tuple(
            draw(
                st.lists(
                    st.builds(
                        SlicePort,
                        name=st.sampled_from(PORT_NAMES),
                        protocol=st.sampled_from(PROTOCOLS),
                        port=st.sampled_from([8080, 5353]),
                    ),
                    min_size=1,
                    max_size=3,
                    unique_by=lambda p: p.name,
                )
            )
        ),
        endpoints=tuple(draw(st.lists(endpoints(family), max_size=6))),
        is_legacy=draw(st.booleans()) and draw(st.booleans()),
    )


ignored = st.builds(IgnoredService, service_keys, st.just("headless"))
objects = st.one_of(services(), slices(), slices(), ignored)


@st.composite
def histories(draw: st.DrawFn, max_size: int = 25) -> list[Event]:
    """Upserts, replacements and deletions, in any order, as a source may tell them."""
    events: list[Event] = [Upsert(obj) for obj in draw(st.lists(objects, max_size=max_size))]
    known = [key_of(event.object) for event in events if isinstance(event, Upsert)]
    if known:
        deletions = draw(st.lists(st.sampled_from(known), max_size=6))
        for key in deletions:
            events.insert(draw(st.integers(0, len(events))), Delete(key))
    return [*events, Listed()]


@st.composite
def configs(draw: st.DrawFn) -> ProxyConfig:
    mode = draw(st.sampled_from(["none", "cidr", "bridge", "prefix"]))
    base = ProxyConfig(
        NODE,
        node_ips=(NODE_ADDRESSES[Family.IPV4][0], NODE_ADDRESSES[Family.IPV6][0]),
        zone=draw(st.sampled_from(["", "zone-1"])),
        service_cidrs=(parse_prefix("10.96.0.0/16"), parse_prefix("fd00:96::/32")),
        masquerade_all=draw(st.booleans()),
        masquerade_bit=draw(st.sampled_from([14, 0, 31])),
    )
    match mode:
        case "cidr":
            cidrs = parse_prefix("10.1.0.0/16"), parse_prefix("fd00:1::/31")
            return base._replace(cluster_cidrs=cidrs)
        case "bridge":
            bridge = DetectLocalMode.BRIDGE_INTERFACE
            return base._replace(detect_local_mode=bridge, pod_bridge_interface="cni0")
        case "prefix":
            prefix = DetectLocalMode.INTERFACE_NAME_PREFIX
            return base._replace(detect_local_mode=prefix, pod_interface_name_prefix="veth")
        case _:
            return base


@st.composite
def packets(draw: st.DrawFn, family: Family) -> Packet:
    source, interface = draw(
        st.sampled_from(
            [
                (address(family, 1, 1), "veth1"),
                (address(family, 1, 2), "cni0"),
                (OUTSIDE[family], "eth0"),
                (NODE_ADDRESSES[family][0], ""),
            ]
        )
    )
    destination = draw(
        st.one_of(
            addresses(family, 96, 7),
            addresses(family, 9, 3),
            st.sampled_from(NODE_ADDRESSES[family]),
            addresses(family, 1),
        )
    )
    port = draw(st.sampled_from([80, 53, 30080, 30053, 81]))
    return Packet(source, destination, draw(st.sampled_from(PROTOCOLS)), port, interface)
