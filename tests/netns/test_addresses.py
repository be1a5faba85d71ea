"""NodePorts follow the addresses of the node, as they come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from netproxy.core.packet import FateKind, Packet
from netproxy.kernel.addresses import AddressListener, primary_address
from netproxy.model.ip import Family, IPAddress
from tests.netns.daemon import Daemon
from tests.netns.namespace import NetworkNamespace
from tests.netns.scenery import Interface
from tests.netns.stage import Stage

MANIFEST = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: 10.96.0.1
  clusterIPs: [10.96.0.1, "fd00:96::1"]
  ipFamilies: [IPv4, IPv6]
  ports: [{port: 80, nodePort: 30080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.1]}]
ports: [{port: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-2, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
endpoints: [{addresses: ["fd00:1::1"]}]
ports: [{port: 8080}]
"""
MODES = {
    "nftables": ("--proxy-mode", "nftables"),
    "legacy": ("--proxy-mode", "iptables", "--iptables-variant", "legacy"),
    "nft": ("--proxy-mode", "iptables", "--iptables-variant", "nft"),
}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Node(Daemon):
    """``netproxy run`` with a NodePort."""

    def __init__(self, space: NetworkNamespace, directory: Path, mode: str, addresses: str) -> None:
        self.mode = mode
        self.flags = (*MODES[mode], "--nodeport-addresses", addresses)
        manifests = directory / "manifests"
        manifests.mkdir()
        (manifests / "web.yaml").write_text(MANIFEST)
        super().__init__(space, manifests, directory / "log")

    def accepts(self, address: str) -> bool:
        """Whether the rules let NodePorts be reached at this address."""
        if self.mode == "nftables":
            family = "ip6" if ":" in address else "ip"
            return address in self.space.run(
                "nft", "list", "set", family, "netproxy", "nodeport-ips"
            )
        word = "ip6tables" if ":" in address else "iptables"
        saved = self.space.run(f"{word}-{self.mode}-save", "-t", "nat")
        lines = [line for line in saved.splitlines() if line.endswith("-j KUBE-NODEPORTS")]
        return any(f"-d {address}/" in line for line in lines)

    def wait_until_settled(self) -> None:
        self.wait_for(lambda: any(e["event"] == "in charge" for e in self.events()), "settled")

    def after_a_sync(self, change: Callable[[], object]) -> None:
        """Make a change of which the daemon hears; return when it has had its effect."""
        before = self.syncs()
        change()
        self.wait_for(lambda: self.syncs() > before, "the daemon heard nothing")

    def syncs(self) -> int:
        return sum(e["event"] == "sync done" for e in self.events())

    def full_syncs(self) -> int:
        return sum(e["event"] == "sync done" and e["full"] is True for e in self.events())


class NodeOfTheKernel(Node):
    """Nobody says what its primary address is."""

    node_ip = ()


@pytest.fixture
def node(netns: NetworkNamespace, tmp_path: Path, mode: str) -> Iterator[Node]:
    netns.run("ip", "addr", "add", "192.168.5.1/32", "dev", "lo")
    one = Node(netns, tmp_path, mode, "192.168.0.0/16,2001:db8::/64")
    try:
        one.wait_until_settled()
        yield one
    finally:
        one.process.kill()
        one.process.wait()


@pytest.mark.parametrize("address", ["192.168.5.2", "2001:db8::2"])
def test_an_address_that_comes_and_goes(node: Node, address: str) -> None:
    assert node.accepts("192.168.5.1")
    assert not node.accepts(address)
    before = node.full_syncs()
    length = "128" if ":" in address else "32"
    node.space.run("ip", "addr", "add", f"{address}/{length}", "dev", "lo", "nodad")
    node.wait_for(lambda: node.accepts(address), "new address")
    node.space.run("ip", "addr", "del", f"{address}/{length}", "dev", "lo")
    node.wait_for(lambda: not node.accepts(address), "address gone")
    assert node.accepts("192.168.5.1")
    assert node.full_syncs() == before, "nothing else had to be looked at"


def test_the_primary_address_moves(netns: NetworkNamespace, tmp_path: Path, mode: str) -> None:
    netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    netns.run("ip", "link", "set", "eth1", "up")
    netns.run("ip", "link", "set", "eth0", "up")
    netns.run("ip", "addr", "add", "192.168.5.1/24", "dev", "eth0")
    netns.run("ip", "route", "add", "default", "dev", "eth0")
    one = NodeOfTheKernel(netns, tmp_path, mode, "primary")
    try:
        one.wait_until_settled()
        assert one.accepts("192.168.5.1")
        netns.run("ip", "addr", "add", "192.168.6.1/24", "dev", "eth0")
        netns.run("ip", "addr", "del", "192.168.5.1/24", "dev", "eth0")
        one.wait_for(lambda: one.accepts("192.168.6.1"), "moved")
        assert not one.accepts("192.168.5.1")
    finally:
        one.process.kill()
        one.process.wait()


CLIENTS = {Family.IPV4: IPAddress("10.9.9.9"), Family.IPV6: IPAddress("fd00:9::9")}


class Visitor:
    """Somebody outside who tries NodePorts with real packets."""

    def __init__(self, stage: Stage, node: Node) -> None:
        self._stage, self._node = stage, node

    def is_served(self, address: str, interface: str = "eth0") -> bool:
        """Whether a connection is forwarded to the endpoint; if not, the node itself has it."""
        client = CLIENTS[Family.IPV6 if ":" in address else Family.IPV4]
        packet = Packet(client, IPAddress(address), "TCP", 30080, interface)
        (fate,) = self._stage.play([packet])
        assert fate.kind in (FateKind.FORWARD, FateKind.ACCEPT), fate
        return fate.kind is FateKind.FORWARD

    def waits_until(self, address: str, *, served: bool, interface: str = "eth0") -> None:
        what = f"{address} is {'' if served else 'not '}served"
        self._node.wait_for(lambda: self.is_served(address, interface) is served, what)


@pytest.fixture
def stage() -> Iterator[Stage]:
    cables = [
        Interface("eth0", ("192.168.0.2/24", "2001:db8::2/64")),
        Interface("eth1", ("192.168.7.2/24", "2001:db8:7::2/64")),
    ]
    with Stage(cables) as one:
        yield one


@pytest.mark.parametrize(
    ("addresses", "takes_new_ones"),
    [("192.168.0.0/16,2001:db8::/32", True), ("0.0.0.0/0,::/0", True), ("primary", False)],
    ids=["list", "all", "primary"],
)
def test_packets_follow_the_addresses(
    stage: Stage, tmp_path: Path, mode: str, addresses: str, *, takes_new_ones: bool
) -> None:
    one = NodeOfTheKernel(stage.node, tmp_path, mode, addresses)
    visitor = Visitor(stage, one)
    try:
        one.wait_until_settled()
        for own, new, length in (
            ("192.168.0.2", "192.168.0.77", 24),
            ("2001:db8::2", "2001:db8::77", 64),
        ):
            visitor.waits_until(own, served=True)
            for interface in ("eth0", "eth1"):
                place = (f"{new}/{length}", "dev", interface)
                # The kernel speaks from the newer of two IPv6 addresses, unless it is deprecated.
                kind = ("nodad", "valid_lft", "forever", "preferred_lft", "0")
                one.after_a_sync(partial(stage.node.run, "ip", "addr", "add", *place, *kind))
                visitor.waits_until(new, served=takes_new_ones)
                one.after_a_sync(partial(stage.node.run, "ip", "addr", "del", *place))
            visitor.waits_until(own, served=True)
    finally:
        one.process.kill()
        one.process.wait()


def test_packets_follow_the_way_to_the_world(stage: Stage, tmp_path: Path, mode: str) -> None:
    first, second = "192.168.0.2", "192.168.7.2"
    # Without IPv6 nothing but the link itself tells that its routes are gone.
    stage.node.write_sysctl("net.ipv6.conf.eth1.disable_ipv6", "1\n")
    one = NodeOfTheKernel(stage.node, tmp_path, mode, "primary")
    visitor = Visitor(stage, one)
    try:
        one.wait_until_settled()
        visitor.waits_until(first, served=True)
        assert not visitor.is_served(second)
        before = one.full_syncs()
        stage.node.run("ip", "route", "add", "128.0.0.0/1", "dev", "eth1")
        visitor.waits_until(second, served=True)
        assert not visitor.is_served(first)
        stage.node.run("ip", "link", "set", "eth1", "down")
        visitor.waits_until(first, served=True)
        assert one.full_syncs() == before, "nothing else had to be looked at"
    finally:
        one.process.kill()
        one.process.wait()


def test_loopback_is_not_the_way_to_the_world(netns: NetworkNamespace) -> None:
    netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
    netns.run("ip", "link", "set", "eth0", "up")
    for word, family in (("-4", Family.IPV4), ("-6", Family.IPV6)):
        netns.run("ip", word, "route", "add", "default", "dev", "eth0")
        assert netns.call(partial(primary_address, family)) is None


def test_pods_routes_are_nobodys_business(netns: NetworkNamespace) -> None:
    ears = netns.call(AddressListener)
    netns.run("ip", "route", "add", "10.1.0.0/24", "dev", "lo")
    assert not ears.drain()
    netns.run("ip", "addr", "add", "192.168.5.1/32", "dev", "lo")
    assert ears.drain()
    assert not ears.drain()
    netns.run("ip", "route", "add", "default", "dev", "lo")
    assert ears.drain()
    netns.run("ip", "-6", "route", "add", "fd00:1::/64", "dev", "lo")
    assert not ears.drain()
    netns.run("ip", "-6", "route", "add", "2000::/3", "dev", "lo")
    assert ears.drain(), "a way to half of the world is one"
    netns.run("ip", "link", "add", "cable", "type", "veth", "peer", "name", "pod")
    assert not ears.drain()
    ears.close()


def test_more_news_than_can_be_heard(netns: NetworkNamespace) -> None:
    import socket

    ears = netns.call(AddressListener)
    ears._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for number in range(100):
        netns.run("ip", "route", "add", f"10.{number}.0.0/24", "dev", "lo")
    assert ears.drain(), "who missed something looks again"
    ears.close()
