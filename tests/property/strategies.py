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
PORTS = {"": ("TCP", 80), "http": ("TCP", 80), "dns": ("UDP", 53), "sip": ("SCTP", 53)}
"""Name → protocol and number: nearly always the same, so that slices fit their services."""

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
usually = st.integers(0, 9).map(lambda n: n < 9)
service_keys = st.builds(ServiceKey, st.just("ns"), st.sampled_from(["a", "b", "c"]))
policies = st.sampled_from(list(TrafficPolicy))


@st.composite
def service_ports(draw: st.DrawFn) -> ServicePort:
    name = draw(st.sampled_from(list(PORTS)))
    protocol, port = PORTS[name] if draw(usually) else draw(st.sampled_from(list(PORTS.values())))
    return ServicePort(name, protocol, port, draw(st.sampled_from([30080, 0, 30053])))


@st.composite
def slice_ports(draw: st.DrawFn) -> SlicePort:
    name = draw(st.sampled_from(list(PORTS)))
    protocol = PORTS[name][0] if draw(usually) else draw(st.sampled_from(PROTOCOLS))
    return SlicePort(name, protocol, draw(st.sampled_from([8080, 5353])))


_RANGES = (
    *("203.0.113.0/25", "203.0.113.0/28", "203.0.113.4/30", "10.1.0.0/31", "10.1.0.2/32"),
    *("192.168.0.0/24", "2001:db8:7::/64", "2001:db8:7::7/128", "fd00:1::/127", "2001:db8::/32"),
)
source_ranges = st.lists(st.sampled_from(_RANGES).map(parse_prefix), max_size=3)
"""They overlap, and let some clients in; none at all lets everybody in."""


@st.composite
def services(draw: st.DrawFn) -> Service:
    """A Service; different ones claim the same addresses and ports now and then."""
    chosen = draw(st.sampled_from([[Family.IPV4], [Family.IPV6], [*Family], [*Family]]))
    ports = draw(
        st.lists(
            service_ports(),
            min_size=1,
            max_size=3,
            unique_by=(lambda p: p.name, lambda p: (p.protocol, p.port)),
        ).filter(_has_unique_node_ports)
    )
    external = [
        a for f in chosen for a in draw(st.lists(addresses(f, 9, 2), max_size=2, unique=True))
    ]
    return Service(
        key=draw(service_keys),
        ports=tuple(ports),
        cluster_ips=tuple(draw(addresses(f, 96, 6)) for f in chosen),
        external_ips=tuple(external[:1]),
        load_balancer_ips=tuple(external[1:]),
        internal_policy=draw(policies),
        external_policy=draw(policies),
        source_ranges=tuple(draw(source_ranges)),
        affinity_timeout_s=draw(st.sampled_from([0, 0, 10800, 1])),
        creation_timestamp=draw(
            st.sampled_from(["", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"])
        ),
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
        ready=draw(usually),
        serving=draw(st.booleans()),
        terminating=draw(st.booleans()),
        zone_hints=draw(hints) if draw(st.booleans()) else frozenset(),
    )


@st.composite
def slices(draw: st.DrawFn) -> EndpointSlice:
    family = draw(families)
    return EndpointSlice(
        service=draw(service_keys),
        name=draw(st.sampled_from(["s1", "s2", "s3", "s4", "s5"])),
        family=family,
        ports=tuple(
            draw(st.lists(slice_ports(), min_size=2, max_size=4, unique_by=lambda p: p.name))
        ),
        endpoints=tuple(draw(st.lists(endpoints(family), min_size=1, max_size=6))),
        is_legacy=draw(st.booleans()) and draw(st.booleans()),
    )


ignored = st.builds(IgnoredService, service_keys, st.just("headless"))
objects = st.one_of(services(), slices(), slices(), ignored)


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Upserts, replacements and deletions, in any order, as a source may tell them."""
    first = draw(st.lists(services(), min_size=2, max_size=5))
    then = draw(st.lists(slices(), min_size=3, max_size=8))
    more = draw(st.lists(objects, max_size=12))
    shuffled = draw(st.permutations([*first, *then, *more]))
    events: list[Event] = [Upsert(obj) for obj in shuffled]
    known = [key_of(event.object) for event in events if isinstance(event, Upsert)]
    if draw(st.booleans()):
        deletions = draw(st.lists(st.sampled_from(known), max_size=3))
        for key in deletions:
            events.insert(draw(st.integers(0, len(events))), Delete(key))
    return [*events, Listed()]


@st.composite
def sticky_services(draw: st.DrawFn, family: Family) -> Service:
    """A Service with session affinity and every kind of frontend."""
    return Service(
        ServiceKey("ns", "a"),
        (ServicePort("", "TCP", 80, 30080),),
        (address(family, 96, 1),),
        (address(family, 9, 1),),
        (address(family, 9, 2),),
        internal_policy=draw(policies),
        external_policy=draw(policies),
        affinity_timeout_s=10800,
    )


@st.composite
def slices_of(draw: st.DrawFn, service: Service, family: Family) -> EndpointSlice:
    """The endpoints that a Service has now: at least one, here or elsewhere."""
    reached = draw(st.lists(endpoints(family), min_size=1, max_size=4))
    keeps_one = reached[0]._replace(ready=True)
    ports = (SlicePort("", "TCP", 8080),)
    return EndpointSlice(service.key, "s1", family, ports, (keeps_one, *reached[1:]))


def calls(service: Service, family: Family) -> st.SearchStrategy[Packet]:
    """Packets of a few clients to any frontend of a Service."""
    (port,) = service.ports
    addresses = (*service.cluster_ips, *service.external_ips, *service.load_balancer_ips)
    places = [(one, port.port) for one in addresses]
    places.append((NODE_ADDRESSES[family][0], port.node_port))
    clients = [(address(family, 1, 1), "veth1"), (OUTSIDE[family], "eth0")]
    clients.append((NODE_ADDRESSES[family][0], ""))
    return st.builds(
        lambda client, place: Packet(client[0], place[0], port.protocol, place[1], client[1]),
        st.sampled_from(clients),
        st.sampled_from(places),
    )


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
            addresses(family, 9, 2),
            st.sampled_from(NODE_ADDRESSES[family]),
            addresses(family, 1),
        )
    )
    fitting = st.sampled_from([("TCP", 80), ("UDP", 53), ("TCP", 30080), ("UDP", 30080)])
    any_at_all = st.tuples(st.sampled_from(PROTOCOLS), st.sampled_from([80, 53, 30080, 30053, 81]))
    protocol, port = draw(st.one_of(fitting, fitting, any_at_all))
    return Packet(source, destination, protocol, port, interface)


def many_services(count: int, first: int = 0) -> list[Event]:
    """Ordinary Services with three endpoints each, one of them here; both families."""
    events: list[Event] = []
    for number in range(first, first + count):
        key = ServiceKey("many", f"s{number}")
        high, low = divmod(number + 1, 250)
        ips = {f: IPAddress(_PREFIXES[f].format(96, low + 1)) for f in Family}
        ips[Family.IPV4] = IPAddress(f"10.96.{high}.{low + 1}")
        ips[Family.IPV6] = IPAddress(f"fd00:96::{high + 1}:{low + 1}")
        ports = (ServicePort("http", "TCP", 80), ServicePort("dns", "UDP", 53))
        events.append(Upsert(Service(key, ports, tuple(ips.values()))))
        for family in Family:
            reached = tuple(
                Endpoint(_pod(family, number, n), NODE if n == 0 else "node-b") for n in range(3)
            )
            slice_ports = SlicePort("http", "TCP", 8080), SlicePort("dns", "UDP", 5353)
            events.append(
                Upsert(EndpointSlice(key, f"s{number}-{family}", family, slice_ports, reached))
            )
    return [*events, Listed()]


def _pod(family: Family, service: int, number: int) -> IPAddress:
    high, low = divmod(service * 3 + number + 1, 250)
    text = f"10.1.{high}.{low + 1}" if family is Family.IPV4 else f"fd00:1::{high + 1}:{low + 1}"
    return IPAddress(text)


def fixed_history() -> list[Event]:
    """One of everything: policies, NodePorts, external addresses, nobody there."""
    events = many_services(2)[:-1]
    for number, policy in enumerate(TrafficPolicy, 1):
        key = ServiceKey("ns", policy.value.lower())
        ports = (ServicePort("http", "TCP", 80, 30080 + number),)
        ips = tuple(address(f, 96, 100 + number) for f in Family)
        outside = tuple(address(f, 9, number) for f in Family)
        service = Service(key, ports, ips, outside, internal_policy=policy, external_policy=policy)
        if policy is TrafficPolicy.LOCAL:
            service = service._replace(affinity_timeout_s=10800)
            ranges = tuple(map(parse_prefix, ["203.0.113.0/25", "203.0.113.0/28", "2001:db8::/32"]))
            lb = tuple(address(f, 9, 8) for f in Family)
            service = service._replace(load_balancer_ips=lb, source_ranges=ranges)
        events.append(Upsert(service))
        for family in Family:
            reached = (
                Endpoint(address(family, 1, 1), NODE),
                Endpoint(address(family, 2, 2), "node-b"),
            )
            slice_ports = (SlicePort("http", "TCP", 8080),)
            name = f"{key.name}-{family}"
            events.append(Upsert(EndpointSlice(key, name, family, slice_ports, reached)))
    nobody = ServiceKey("ns", "nobody")
    ips = tuple(address(f, 96, 99) for f in Family)
    events.append(Upsert(Service(nobody, (ServicePort("", "SCTP", 80, 30099),), ips)))
    return [*events, Listed()]
