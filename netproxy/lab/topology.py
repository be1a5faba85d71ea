"""What a lab consists of: its namespaces, wires, addresses and routes, as values.

Rule 1: pure. ``build`` does to the kernel exactly what stands here, and decides nothing.
Rule 2: every address is inside the lab's own namespaces, so labs may have equal addresses.
Rule 3: pods are *routed*, never bridged: a bridge would carry the reply of one pod to another
past the node's hooks, and a reply that is not un-DNATed is a reply from a stranger.

The wires::

    backbone (bridge br0, 192.168.77.254)
      ├─ eth0  node-1  192.168.77.1 ─ pod2 ── eth0  pod 10.244.1.2/32, default via 169.254.1.1
      │                             └ pod3 ── eth0  pod 10.244.1.3/32
      ├─ eth0  node-2  192.168.77.2 ─ ...
      └─ eth0  client  192.168.77.200, reaches load balancers' addresses through node-1

Not here: what namespaces are called (``names``), what runs inside (``process``), and how one
is made (``build``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from netproxy.errors import ConfigError
from netproxy.lab.names import Role, check_lab_name, check_label, namespace_name
from netproxy.model.ip import Family, IPAddress, Prefix, parse_address, parse_prefix

UPLINK = "eth0"
BRIDGE = "br0"

CLUSTER_CIDRS = {
    Family.IPV4: parse_prefix("10.244.0.0/16"),
    Family.IPV6: parse_prefix("fd00:244::/32"),
}
SERVICE_CIDRS = {
    Family.IPV4: parse_prefix("10.96.0.0/16"),
    Family.IPV6: parse_prefix("fd00:96::/112"),
}
EXTERNAL_CIDRS = {
    Family.IPV4: parse_prefix("203.0.113.0/24"),
    Family.IPV6: parse_prefix("fd00:203::/64"),
}
"""Where load balancers' and external addresses of Services are taken from (RFC 5737)."""

_BACKBONE = {Family.IPV4: ("192.168.77.{}", 24), Family.IPV6: ("fd00:77::{}", 64)}
_POD_SUBNET = {Family.IPV4: ("10.244.{}.{}", 24), Family.IPV6: ("fd00:244:{}::{}", 64)}
_POD_GATEWAY = {
    Family.IPV4: parse_address("169.254.1.1"),
    Family.IPV6: parse_address("fe80::1"),
}
_DEFAULT = {Family.IPV4: "0.0.0.0/0", Family.IPV6: "::/0"}
_HOST_BITS = {Family.IPV4: 32, Family.IPV6: 128}

_ROUTER_NUMBER = 254
_FIRST_HOST_NUMBER = 200
_FIRST_POD_NUMBER = 2
MAX_NODES = 99
MAX_PODS_PER_NODE = 200
MAX_HOSTS = 50


class PodSpec(NamedTuple):
    """One pod to be."""

    name: str
    node: int
    """1-based number of its node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSpec:
    """What was asked for."""

    name: str = "lab"
    nodes: int = 2
    pods: tuple[PodSpec, ...] = ()
    hosts: tuple[str, ...] = ()
    """Further hosts on the backbone, beside the client that is always there."""
    families: tuple[Family, ...] = (Family.IPV4, Family.IPV6)
    echo_ports: tuple[int, ...] = (80, 9376)
    """On which pods and hosts answer, with TCP, UDP and SCTP."""
    is_cluster: bool = False
    """The nodes are a cluster of their own: they run the Pods and know the ways to each other."""


class Route(NamedTuple):
    """One route. Neither gateway nor interface means: unreachable."""

    destination: str
    gateway: str = ""
    interface: str = ""


class Sysctl(NamedTuple):
    """A file below ``/proc/sys/net`` and what to write; a missing file is no error."""

    path: str
    value: str


class Uplink(NamedTuple):
    """A veth pair from ``eth0`` of this namespace to another one, and what that end needs."""

    parent: str
    """Namespace of the other end."""
    parent_interface: str
    addresses: tuple[Prefix, ...]
    """Of this end; a ``Prefix`` whose host bits count."""
    bridge: str = ""
    parent_addresses: tuple[Prefix, ...] = ()
    parent_routes: tuple[Route, ...] = ()
    parent_sysctls: tuple[Sysctl, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """One network namespace."""

    name: str
    """As in ``/run/netns``."""
    role: Role
    member: str
    """What people call it: ``node-1``, ``client``, ``web-1``."""
    node: str = ""
    """The node it runs on, for a pod."""
    addresses: tuple[IPAddress, ...] = ()
    sysctls: tuple[Sysctl, ...] = ()
    bridge_addresses: tuple[Prefix, ...] = ()
    uplink: Uplink | None = None
    routes: tuple[Route, ...] = ()

    def address(self, family: Family) -> IPAddress:
        """Its address of one family; a ``KeyError`` where the lab does not have that family."""
        for address in self.addresses:
            if (":" in address) == (family is Family.IPV6):
                return address
        raise KeyError(family.label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A whole lab, in the order in which it must be built: an uplink's parent comes first."""

    spec: LabSpec
    namespaces: tuple[Namespace, ...]

    def of_role(self, role: Role) -> list[Namespace]:
        return [each for each in self.namespaces if each.role is role]

    def member(self, name: str) -> Namespace:
        """A node, pod or host by the name people use.

        Raises:
            ConfigError: there is none; the hint lists those that exist.
        """
        for each in self.namespaces:
            if name in (each.member, each.name):
                return each
        known = ", ".join(each.member for each in self.namespaces)
        raise ConfigError(
            setting=name, problem="no such member of the lab", hint=f"there are: {known}"
        )


def resolve_topology(spec: LabSpec) -> Topology:
    """Everything that the lab needs, with every address and route worked out.

    Raises:
        ConfigError: a name, number or count is impossible.
    """
    _check_spec(spec)
    numbers = _number_pods(spec.pods)
    hosts = [("client", Role.CLIENT), *((name, Role.HOST) for name in spec.hosts)]
    return Topology(
        spec=spec,
        namespaces=(
            _backbone(spec),
            *(_node(spec, number) for number in range(1, spec.nodes + 1)),
            *(
                _host(spec, name=name, role=role, number=_FIRST_HOST_NUMBER + index)
                for index, (name, role) in enumerate(hosts)
            ),
            *(_pod(spec, pod, number=numbers[pod]) for pod in spec.pods if not spec.is_cluster),
        ),
    )


def default_pods(*, nodes: int, per_node: int) -> tuple[PodSpec, ...]:
    """Pods called ``1-1``, ``1-2``, ... after their node."""
    return tuple(
        PodSpec(f"{node}-{number}", node)
        for node in range(1, nodes + 1)
        for number in range(1, per_node + 1)
    )


def cidr_list(cidrs: dict[Family, Prefix], families: Iterable[Family]) -> str:
    """The prefixes of some families, as a flag wants them."""
    return ",".join(str(cidrs[family]) for family in families)


def _check_spec(spec: LabSpec) -> None:
    check_lab_name(spec.name)
    _check_range("nodes", spec.nodes, 1, MAX_NODES)
    _check_range("hosts", len(spec.hosts), 0, MAX_HOSTS)
    if not spec.families:
        raise ConfigError(setting="families", problem="a lab needs at least one IP family")
    for port in spec.echo_ports:
        _check_range("echo port", port, 1, 65535)
    for pod in spec.pods:
        check_label(pod.name, setting="pod name")
        _check_range(f"node of pod {pod.name}", pod.node, 1, spec.nodes)
    for host in spec.hosts:
        check_label(host, setting="host name")
    names = [f"node-{number}" for number in range(1, spec.nodes + 1)]
    names += ["backbone", "client", *spec.hosts, *(pod.name for pod in spec.pods)]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(setting="lab", problem=f"two members are called {name!r}")
    for node in range(1, spec.nodes + 1):
        count = sum(pod.node == node for pod in spec.pods)
        _check_range(f"pods on node-{node}", count, 0, MAX_PODS_PER_NODE)


def _check_range(setting: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(setting=setting, problem=f"{value} is not between {low} and {high}")


def _number_pods(pods: Sequence[PodSpec]) -> dict[PodSpec, int]:
    """The last number of each pod's address; numbers start anew on every node."""
    used: dict[int, int] = {}
    numbers = {}
    for pod in pods:
        numbers[pod] = used.setdefault(pod.node, _FIRST_POD_NUMBER)
        used[pod.node] += 1
    return numbers


def _backbone_address(family: Family, number: int) -> IPAddress:
    return parse_address(_BACKBONE[family][0].format(number))


def _backbone_prefix(family: Family, number: int) -> Prefix:
    return Prefix(_backbone_address(family, number), _BACKBONE[family][1])


def _pod_address(family: Family, node: int, number: int) -> IPAddress:
    return parse_address(_POD_SUBNET[family][0].format(node, number))


def _pod_cidr(family: Family, node: int) -> Prefix:
    pattern, length = _POD_SUBNET[family]
    return parse_prefix(f"{pattern.format(node, 0)}/{length}")


def _backbone(spec: LabSpec) -> Namespace:
    routers = tuple(_backbone_prefix(family, _ROUTER_NUMBER) for family in spec.families)
    return Namespace(
        name=namespace_name(spec.name, Role.BACKBONE, "backbone"),
        role=Role.BACKBONE,
        member="backbone",
        addresses=tuple(router.address for router in routers),
        sysctls=(*_base_sysctls(spec), *_forwarding()),
        bridge_addresses=routers,
        # A node's default route ends here. Whatever has no rules is refused at once rather
        # than lost, so that "no rules yet" shows within a millisecond, to pods as well.
        routes=(
            *(Route(_DEFAULT[family]) for family in spec.families),
            *(
                route
                for family in spec.families
                for route in _pod_subnet_routes(spec, family, except_node=0)
            ),
        ),
    )


def _node(spec: LabSpec, number: int) -> Namespace:
    routes = []
    for family in spec.families:
        # A Service's address needs *some* route before the output hook may rewrite it.
        routes.append(Route(_DEFAULT[family], gateway=_backbone_address(family, _ROUTER_NUMBER)))
        routes += _pod_subnet_routes(spec, family, except_node=number)
        if not spec.is_cluster:
            routes.append(Route(str(_pod_cidr(family, number))))
    loose = (Sysctl("ipv4/conf/all/rp_filter", "2"),)
    return Namespace(
        name=namespace_name(spec.name, Role.NODE, f"node-{number}"),
        role=Role.NODE,
        member=f"node-{number}",
        addresses=tuple(_backbone_address(family, number) for family in spec.families),
        sysctls=(*_base_sysctls(spec), *_forwarding(), *loose),
        uplink=_backbone_uplink(spec, number),
        routes=tuple(routes),
    )


def _host(spec: LabSpec, *, name: str, role: Role, number: int) -> Namespace:
    routes = []
    for family in spec.families:
        # Pods reach hosts outside with their own address, as in a routed cluster.
        routes += _pod_subnet_routes(spec, family, except_node=0)
        gateway = _backbone_address(family, 1)
        routes.append(Route(str(EXTERNAL_CIDRS[family]), gateway=gateway))
    return Namespace(
        name=namespace_name(spec.name, role, name),
        role=role,
        member=name,
        addresses=tuple(_backbone_address(family, number) for family in spec.families),
        sysctls=_base_sysctls(spec),
        uplink=_backbone_uplink(spec, number),
        routes=tuple(routes),
    )


def _pod(spec: LabSpec, pod: PodSpec, *, number: int) -> Namespace:
    node = f"node-{pod.node}"
    interface = f"pod{number}"
    addresses = tuple(_pod_address(family, pod.node, number) for family in spec.families)
    single = tuple(
        Prefix(address, _HOST_BITS[family])
        for family, address in zip(spec.families, addresses, strict=True)
    )
    routes = []
    for family in spec.families:
        gateway = _POD_GATEWAY[family]
        if family is Family.IPV4:
            routes.append(Route(f"{gateway}/32", interface=UPLINK))
        routes.append(Route(_DEFAULT[family], gateway=gateway, interface=UPLINK))
    has_ipv6 = Family.IPV6 in spec.families
    return Namespace(
        name=namespace_name(spec.name, Role.POD, pod.name),
        role=Role.POD,
        member=pod.name,
        node=node,
        addresses=addresses,
        sysctls=_base_sysctls(spec),
        uplink=Uplink(
            parent=namespace_name(spec.name, Role.NODE, node),
            parent_interface=interface,
            addresses=single,
            parent_addresses=(Prefix(_POD_GATEWAY[Family.IPV6], 64),) if has_ipv6 else (),
            parent_routes=tuple(Route(str(prefix), interface=interface) for prefix in single),
            # The node answers for 169.254.1.1 although nobody has that address; without the
            # delay of 0 it would think about it for up to 0.8 s.
            parent_sysctls=(
                Sysctl(f"ipv4/conf/{interface}/proxy_arp", "1"),
                Sysctl(f"ipv4/neigh/{interface}/proxy_delay", "0"),
            ),
        ),
        routes=tuple(routes),
    )


def _backbone_uplink(spec: LabSpec, number: int) -> Uplink:
    return Uplink(
        parent=namespace_name(spec.name, Role.BACKBONE, "backbone"),
        parent_interface=f"port{number}",
        addresses=tuple(_backbone_prefix(family, number) for family in spec.families),
        bridge=BRIDGE,
    )


def _pod_subnet_routes(spec: LabSpec, family: Family, *, except_node: int) -> list[Route]:
    """None in a cluster: which node gets which prefix is its own business."""
    if spec.is_cluster:
        return []
    return [
        Route(str(_pod_cidr(family, node)), gateway=_backbone_address(family, node))
        for node in range(1, spec.nodes + 1)
        if node != except_node
    ]


def _base_sysctls(spec: LabSpec) -> tuple[Sysctl, ...]:
    """What every namespace gets before it has a single interface."""
    everywhere = {
        "ipv4/conf/{}/rp_filter": "0",
        "ipv4/conf/{}/accept_redirects": "0",
        # Nodes and hosts share one wire; a node must not tell the client of a shorter way.
        "ipv4/conf/{}/send_redirects": "0",
        "ipv6/conf/{}/accept_redirects": "0",
        "ipv6/conf/{}/accept_ra": "0",
        # Duplicate address detection keeps an address unusable for a second or two.
        "ipv6/conf/{}/accept_dad": "0",
        "ipv6/conf/{}/disable_ipv6": "0" if Family.IPV6 in spec.families else "1",
    }
    return (
        *(
            Sysctl(path.format(scope), value)
            for path, value in everywhere.items()
            for scope in ("all", "default")
        ),
        # Every refused connection gets its answer, also the hundredth within a second.
        Sysctl("ipv4/icmp_ratelimit", "0"),
        Sysctl("ipv6/icmp/ratelimit", "0"),
    )


def _forwarding() -> tuple[Sysctl, ...]:
    return (
        Sysctl("ipv4/ip_forward", "1"),
        Sysctl("ipv6/conf/all/forwarding", "1"),
        Sysctl("ipv6/conf/default/forwarding", "1"),
    )
