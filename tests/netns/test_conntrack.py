"""Connections of UDP are forgotten when their endpoints are gone, and no others."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import ClassVar

import pytest

from netproxy.contracts import Flows
from netproxy.core.config import ProxyConfig, ProxyMode
from netproxy.core.conntrack import Sweep
from netproxy.dataplanes import in_kernel
from netproxy.errors import DataplaneError
from netproxy.kernel import conntrack
from netproxy.kernel.addresses import read_addresses
from netproxy.model.endpoints import Endpoint, EndpointSlice, SlicePort
from netproxy.model.events import Delete, Event, Listed, Upsert
from netproxy.model.ip import Family, IPAddress, pack_address
from netproxy.model.names import ServiceKey
from netproxy.model.service import Service, ServicePort, TrafficPolicy
from netproxy.proxier import Proxier
from tests.conformance import covers
from tests.netns.namespace import NetworkNamespace
from tests.netns.traffic import NODE_IP, PODS, World
from tests.patience import patience

KEY = ServiceKey("ns", "dns")
VIP, NODE_PORT = "172.30.0.10", 30053
PODS_6, NODE_IP_6, VIP_6 = ("fd00:10:180::1", "fd00:10:180::2"), "2001:db8::a", "fd00:172::10"
CONFIGS = {
    "nftables": ProxyConfig("node-1", node_ips=(IPAddress(NODE_IP), IPAddress(NODE_IP_6))),
    "iptables": ProxyConfig("node-1", mode=ProxyMode.IPTABLES, iptables_variant="legacy"),
}
PATIENCE_S = patience(5)


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> ProxyConfig:
    return CONFIGS[request.param]


class Node:
    """A proxy in a namespace, with one Service of DNS over UDP, and TCP beside it."""

    def __init__(
        self, space: NetworkNamespace, config: ProxyConfig, flows: Flows | None = None
    ) -> None:
        self.space = space
        self._stack = contextlib.ExitStack()
        planes = self._stack.enter_context(space.call(lambda: in_kernel(config)))
        self._proxier = space.call(
            lambda: Proxier(config, planes.by_family, read_addresses, flows or planes.flows)
        )

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def serve(self, *pods: str, serving: bool = True, vip: str = VIP) -> int:
        """The Service has these endpoints now; returns how many connections were forgotten."""
        ports = (ServicePort("dns", "UDP", 53, NODE_PORT), ServicePort("tcp", "TCP", 53))
        family = Family.IPV6 if ":" in vip else Family.IPV4
        reached = tuple(Endpoint(IPAddress(p), "node-2", serving, serving) for p in pods)
        slice_ports = SlicePort("dns", "UDP", 5353), SlicePort("tcp", "TCP", 5353)
        return self.tell(
            Upsert(Service(KEY, ports, (IPAddress(vip),))),
            Upsert(EndpointSlice(KEY, "dns-1", family, slice_ports, reached)),
            Listed(),
        )

    def tell(self, *events: Event) -> int:
        self._proxier.apply_events(events)
        report = self.space.call(self._proxier.sync)
        assert report.flow_trouble is None, report.flow_trouble
        return report.forgotten_flows

    def flows(self, word: str = "ipv4") -> list[str]:
        return node_flows(self.space, word)


def node_flows(space: NetworkNamespace, word: str) -> list[str]:
    """Protocol, destination, port and answering address of every connection."""
    text = space.run("conntrack", "-L", "-f", word)
    pattern = r"(\w+) .*?dst=(\S+) sport=\d+ dport=(\d+) .*?src=(\S+) "
    return [f"{m[1]} {m[2]}:{m[3]} {m[4]}" for m in re.finditer(pattern, text)]


class Servers:
    """Answers every datagram with the address that it was sent to."""

    def __init__(self, space: NetworkNamespace, *places: tuple[str, int]) -> None:
        self._end, self._stop = socket.socketpair()
        self._places: dict[socket.socket, tuple[str, int]] = {
            space.call(partial(_bound, place)): place for place in places
        }
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for each in (self._end, *self._places):
                selector.register(each, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    one = key.fileobj
                    assert isinstance(one, socket.socket)
                    if one is self._end:
                        return
                    _, client = one.recvfrom(100)
                    one.sendto(self._places[one][0].encode(), client)

    def close(self) -> None:
        self._stop.close()
        self._thread.join(PATIENCE_S)
        for one in (self._end, *self._places):
            one.close()


def _bound(place: tuple[str, int]) -> socket.socket:
    one = _datagrams(place[0])
    one.bind(place)
    return one


def _datagrams(address: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)


class Client:
    """Keeps its socket, and so its port, as DNS clients do."""

    def __init__(self, space: NetworkNamespace, destination: tuple[str, int]) -> None:
        self._socket = space.call(lambda: _datagrams(destination[0]))
        self._socket.settimeout(PATIENCE_S)
        space.call(lambda: self._socket.connect(destination))

    def send(self) -> None:
        self._socket.send(b"who is there?")

    def ask(self) -> str:
        self.send()
        return self._socket.recv(100).decode()

    def close(self) -> None:
        self._socket.close()


PLACES = {
    "IPv4": (PODS, VIP, NODE_IP),
    "IPv6": (PODS_6, VIP_6, NODE_IP_6),
}


@pytest.fixture
def world() -> Iterator[World]:
    with World() as one:
        add_ipv6(one)
        places = [(pod, 5353) for pod in (*PODS, *PODS_6)]
        servers = Servers(one.pods, *places, (PODS[1], NODE_PORT))
        try:
            yield one
        finally:
            servers.close()


def add_ipv6(world: World) -> None:
    """A second family on the same cables."""
    world.node.write_sysctl("net.ipv6.conf.all.forwarding", "1\n")
    for space, device, address in (
        (world.node, "out0", "2001:db8:1::1/64"),
        (world.client, "out0", "2001:db8:1::2/64"),
        (world.node, "pod0", "fd00:10:180::ff/64"),
        (world.pods, "pod0", f"{PODS_6[0]}/64"),
        (world.pods, "pod0", f"{PODS_6[1]}/64"),
        (world.node, "lo", f"{NODE_IP_6}/128"),
    ):
        space.run("ip", "addr", "add", address, "dev", device, "nodad")
    world.client.run("ip", "route", "add", "default", "via", "2001:db8:1::1")
    world.pods.run("ip", "route", "add", "default", "via", "fd00:10:180::ff")
    world.node.run("ip", "-6", "route", "add", "default", "dev", "pod0")


@pytest.mark.parametrize("is_nodeport", [False, True], ids=["VIP", "NodePort"])
@pytest.mark.parametrize("family", PLACES)
def test_a_client_that_keeps_its_socket(
    world: World, config: ProxyConfig, family: str, is_nodeport: bool
) -> None:
    (first, second), vip, node_ip = PLACES[family]
    destination = (node_ip, NODE_PORT) if is_nodeport else (vip, 53)
    with (
        Node(world.node, config) as node,
        contextlib.closing(Client(world.client, destination)) as client,
    ):
        node.serve(first, vip=vip)
        assert client.ask() == first
        assert node.serve(first, second, vip=vip) == 0
        assert client.ask() == first, "one more endpoint moves nobody"
        assert node.serve(second, vip=vip) == 1
        assert client.ask() == second, "its endpoint is gone"
        assert node.serve(vip=vip) == 1
        with pytest.raises(ConnectionRefusedError):
            client.ask()
        node.serve(first, vip=vip)
        assert client.ask() == first, "somebody is there again"


@pytest.mark.parametrize("family", PLACES)
def test_a_client_that_sent_before_anybody_knew_the_service(
    world: World, config: ProxyConfig, family: str
) -> None:
    (first, _), vip, _ = PLACES[family]
    with (
        Node(world.node, config) as node,
        contextlib.closing(Client(world.client, (vip, 53))) as client,
    ):
        node.tell(Listed())
        client.send()
        untranslated = f"udp {vip}:53 {vip}"
        assert wait_until(lambda: untranslated in node.flows(family.lower()))
        assert node.serve(first, vip=vip) == 1
        assert client.ask() == first


def wait_until(is_so: Callable[[], bool]) -> bool:
    """Whether it became so while there was patience: packets take their time on a busy machine."""
    deadline = time.monotonic() + PATIENCE_S
    while not (so := is_so()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return so


def test_an_endpoint_that_stays_elsewhere(world: World, config: ProxyConfig) -> None:
    """Only endpoints of this node are chosen now; whoever has one of another node keeps it."""
    with (
        Node(world.node, config) as node,
        contextlib.closing(Client(world.client, (VIP, 53))) as client,
    ):
        node.serve(PODS[0])
        assert client.ask() == PODS[0]
        ports = (ServicePort("dns", "UDP", 53, NODE_PORT),)
        service = Service(KEY, ports, (IPAddress(VIP),), internal_policy=TrafficPolicy.LOCAL)
        assert node.tell(Upsert(service)) == 0
        assert client.ask() == PODS[0]


def test_an_endpoint_that_no_longer_serves(world: World, config: ProxyConfig) -> None:
    with (
        Node(world.node, config) as node,
        contextlib.closing(Client(world.client, (VIP, 53))) as client,
    ):
        node.serve(PODS[0])
        assert client.ask() == PODS[0]
        assert node.serve(PODS[0], serving=False) == 1
        with pytest.raises(ConnectionRefusedError):
            client.ask()
        assert node.serve(PODS[0]) == 0
        assert client.ask() == PODS[0], "it serves again"


def test_a_service_that_is_gone(world: World, config: ProxyConfig) -> None:
    with (
        Node(world.node, config) as node,
        contextlib.closing(Client(world.client, (VIP, 53))) as client,
    ):
        node.serve(PODS[0])
        client.ask()
        assert node.tell(Delete(("Service", *KEY))) == 1
        assert not any(VIP in flow for flow in node.flows())
        client.send()
        assert wait_until(lambda: f"udp {VIP}:53 {VIP}" in node.flows()), "it leads to nobody"


def test_a_connection_that_only_passes_by(world: World, config: ProxyConfig) -> None:
    with (
        Node(world.node, config) as node,
        contextlib.closing(Client(world.client, (PODS[1], NODE_PORT))) as client,
    ):
        node.serve(PODS[0])
        assert client.ask() == PODS[1], "to the pod itself, on the number of the NodePort"
        assert node.serve() == 0
        assert node.tell(Delete(("Service", *KEY))) == 0
        assert f"udp {PODS[1]}:{NODE_PORT} {PODS[1]}" in node.flows()


def test_a_restart_moves_nobody(world: World, config: ProxyConfig) -> None:
    with contextlib.closing(Client(world.client, (VIP, 53))) as client:
        with Node(world.node, config) as node:
            node.serve(*PODS)
            server = client.ask()
        with Node(world.node, config) as newborn:
            assert newborn.serve(*PODS) == 0
            assert client.ask() == server
        other = next(pod for pod in PODS if pod != server)
        with Node(world.node, config) as later:
            assert later.serve(other) == 1, "gone while nobody looked"
            assert client.ask() == other


ENTRIES = {
    "ipv4": (VIP, "10.180.0.1", "10.180.0.9", "203.0.113.2"),
    "ipv6": ("fd00:172::10", "fd00:10:180::1", "fd00:10:180::9", "2001:db8::2"),
}


_client_ports = itertools.count(4000)


def insert(
    space: NetworkNamespace, word: str, protocol: str, to: tuple[str, int], server: str
) -> None:
    """Put a connection into the kernel's table."""
    client, port = ENTRIES[word][3], str(next(_client_ports))
    command = ["conntrack", "-I", "-p", protocol, "-s", client, "-d", to[0]]
    command += ["--reply-src", server, "--reply-dst", client, "--timeout", "100"]
    command += ["--sport", port, "--dport", str(to[1])]
    command += ["--reply-port-src", "5353" if server != to[0] else str(to[1])]
    command += ["--reply-port-dst", port]
    space.run(*command, *(["--state", "ESTABLISHED"] if protocol == "tcp" else []))


@covers("conntrack.udp", scenario="conntrack: what stays and what goes")
@pytest.mark.parametrize("mode", ProxyMode, ids=lambda mode: mode.value)
@pytest.mark.parametrize("family", Family, ids=lambda family: family.label)
def test_what_stays_and_what_goes(netns: NetworkNamespace, mode: ProxyMode, family: Family) -> None:
    config, word = CONFIGS[mode.value], family.label.lower()
    vip, good, gone, _ = ENTRIES[word]
    insert(netns, word, "udp", (vip, 53), gone)
    insert(netns, word, "tcp", (vip, 53), gone)
    insert(netns, word, "udp", (vip, 54), gone)
    with Node(netns, config) as node:
        assert node.serve(good, vip=vip) == 1
        assert sorted(node.flows(word)) == [f"tcp {vip}:53 {gone}", f"udp {vip}:54 {gone}"]
        insert(netns, word, "udp", (vip, 53), good)
        assert node.serve(good, gone, vip=vip) == 0
        assert node.serve(good, vip=vip) == 0
        assert f"udp {vip}:53 {good}" in node.flows(word)


@pytest.mark.parametrize("word", ENTRIES)
def test_a_client_that_came_before_the_first_endpoint(netns: NetworkNamespace, word: str) -> None:
    vip, good, _, _ = ENTRIES[word]
    with Node(netns, CONFIGS["nftables"]) as node:
        node.serve(vip=vip)
        insert(netns, word, "udp", (vip, 53), vip)
        assert node.serve(good, vip=vip) == 1, "it would go on untranslated"


@pytest.mark.parametrize("word", ENTRIES)
@pytest.mark.parametrize("count", [1, 2, 9, 20])
def test_however_much_there_is_to_look_for(netns: NetworkNamespace, word: str, count: int) -> None:
    vip, good, gone, _ = ENTRIES[word]
    family = Family.IPV6 if ":" in vip else Family.IPV4
    packed = pack_address(IPAddress(vip))
    for port in (53, 54, 99):
        for server in (good, gone):
            insert(netns, word, "udp", (vip, port), server)
    insert(netns, word, "udp", (gone, 53), gone)
    servers = frozenset({(pack_address(IPAddress(good)), 5353)})
    sweep = Sweep(family, {(packed, 53 + n): servers for n in range(count)}, frozenset())
    flows = conntrack.KernelFlows()
    assert netns.call(lambda: flows.forget(sweep)) == min(count, 2)
    assert flows._can_filter, "it gave what it was asked for"
    left = [flow.removeprefix("udp ") for flow in node_flows(netns, word)]
    bad = [f"{vip}:{port} {gone}" for port in (53, 54)[:count]]
    assert sorted({f"{vip}:{port} {gone}" for port in (53, 54)} - set(left)) == bad
    assert len(left) == 7 - len(bad)


# As a kernel before 5.8 takes them: it passes over the filter; and as one that refuses this one.
OLD_KERNELS = {"passes over it": b"", "refuses it": b"\x08\0\x19\x80\x04\0\x63\0"}


@pytest.mark.parametrize("filter_", OLD_KERNELS.values(), ids=OLD_KERNELS)
def test_a_kernel_without_filters(
    netns: NetworkNamespace, monkeypatch: pytest.MonkeyPatch, filter_: bytes
) -> None:
    asked: list[bytes] = []
    dump = conntrack._Conversation.dump

    def listen(self: conntrack._Conversation, family: Family, body: bytes) -> Iterator[bytes]:
        asked.append(body)
        return dump(self, family, body)

    monkeypatch.setattr(conntrack._Question, "encode", lambda _: filter_)
    monkeypatch.setattr(conntrack._Conversation, "dump", listen)
    for number in range(200):
        insert(netns, "ipv4", "udp", (VIP, 1000 + number), "10.180.0.9")
    insert(netns, "ipv4", "udp", (VIP, 53), "10.180.0.9")
    with Node(netns, CONFIGS["nftables"]) as node:
        assert node.serve("10.180.0.1") == 1
        assert len(node.flows()) == 200
        assert asked == [filter_, b""], "it was asked once"
        node.serve("10.180.0.2")
        assert asked == [filter_, b"", b""]


class Moody(conntrack._Conversation):
    """A kernel that has trouble of the moment, some times."""

    troubles: ClassVar[list[int]] = []

    def dump(self, family: Family, body: bytes) -> Iterator[bytes]:
        yield from super().dump(family, body)
        if self.troubles:
            number = self.troubles.pop()
            raise OSError(number, os.strerror(number))


def test_trouble_of_the_moment(netns: NetworkNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conntrack, "_Conversation", Moody)
    sweep = Sweep(Family.IPV4, {(pack_address(IPAddress(VIP)), 53): frozenset()}, frozenset())
    flows = conntrack.KernelFlows()
    Moody.troubles = [errno.EINTR, errno.ENOBUFS, errno.EBUSY]
    insert(netns, "ipv4", "udp", (VIP, 53), "10.180.0.9")
    assert netns.call(lambda: flows.forget(sweep)) == 1
    Moody.troubles = [errno.ENOBUFS] * 100
    with pytest.raises(DataplaneError):
        netns.call(lambda: flows.forget(sweep))
    assert len(Moody.troubles) == 95, "five attempts"


def test_many_at_once(netns: NetworkNamespace) -> None:
    lines = [
        f"-I -p udp -s 203.0.113.2 -d {VIP} --reply-src 10.180.0.9 --reply-dst 203.0.113.2 "
        f"--sport {2000 + number} --dport 53 --reply-port-src 5353 --reply-port-dst "
        f"{2000 + number} --timeout 100\n"
        for number in range(500)
    ]
    netns.run("conntrack", "--load-file", "-", stdin="".join(lines))
    assert len(netns.run("conntrack", "-L").splitlines()) == 500
    with Node(netns, CONFIGS["nftables"]) as node:
        assert node.serve("10.180.0.1") == 500
        assert not node.flows()


class Unwilling:
    """Connections that cannot be looked at, for a while."""

    def __init__(self) -> None:
        self.sweeps: list[Sweep] = []
        self.is_well = False

    def forget(self, sweep: Sweep) -> int:
        self.sweeps.append(sweep)
        if not self.is_well:
            raise DataplaneError(operation="forget", subject="connections", errno=1)
        return len(sweep.frontends)


def test_trouble_does_not_fail_the_sync_and_is_made_up_for(netns: NetworkNamespace) -> None:
    flows = Unwilling()
    with Node(netns, CONFIGS["nftables"], flows) as node:
        with pytest.raises(AssertionError, match="cannot forget connections"):
            node.serve("10.180.0.1")
        flows.is_well = True
        assert node.tell() == 2, "the ClusterIP and the NodePort"
        count = len(flows.sweeps)
        tcp = EndpointSlice(
            KEY,
            "dns-2",
            Family.IPV4,
            (SlicePort("tcp", "TCP", 99),),
            (Endpoint(IPAddress("10.1.1.1"), "x"),),
        )
        node.tell(Upsert(tcp))
        assert len(flows.sweeps) == count, "nothing of UDP has changed"
