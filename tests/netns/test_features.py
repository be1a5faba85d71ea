"""What a scenario file cannot say: chances, connections that last, ping, marks and other tables."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

import pytest

from netproxy.core.config import ProxyConfig, ProxyMode
from netproxy.core.packet import FateKind, Packet
from netproxy.core.surroundings import Addresses
from netproxy.dataplanes import in_kernel
from netproxy.model.endpoints import Endpoint, EndpointSlice, SlicePort
from netproxy.model.events import Listed, Upsert
from netproxy.model.ip import Family, IPAddress, Prefix
from netproxy.model.names import ServiceKey
from netproxy.model.service import Service, ServicePort, TrafficPolicy
from netproxy.proxier import Proxier
from tests.conformance import covers
from tests.netns.namespace import NetworkNamespace
from tests.netns.packets import FENCE, build_echo, build_packet
from tests.netns.scenery import Interface
from tests.netns.stage import Stage
from tests.patience import patience

KEY = ServiceKey("default", "web")
NODE = {Family.IPV4: IPAddress("192.168.0.2"), Family.IPV6: IPAddress("2001:db8::2")}
VIP = {Family.IPV4: IPAddress("10.96.0.1"), Family.IPV6: IPAddress("fd00:96::1")}
OUTSIDE = {Family.IPV4: IPAddress("203.0.113.2"), Family.IPV6: IPAddress("2001:db8:f::2")}
PODS = {
    Family.IPV4: [IPAddress(f"10.1.0.{n}") for n in (1, 2, 3)],
    Family.IPV6: [IPAddress(f"fd00:1::{n}") for n in (1, 2, 3)],
}
NODE_PORT, HEALTH_PORT = 30080, 32000
PATIENCE_S = patience(20)
_HEADER = {Family.IPV4: 20, Family.IPV6: 40}
"""Length of an IP header."""
IPTABLES = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}

both_modes = pytest.mark.parametrize("mode", list(ProxyMode), ids=lambda mode: mode.value)
iptables_only = pytest.mark.parametrize("mode", [ProxyMode.IPTABLES], ids=["iptables"])
both_families = pytest.mark.parametrize("family", list(Family), ids=lambda family: family.label)


class Proxied:
    """A proxy in a namespace, for one Service of both families."""

    def __init__(self, node: NetworkNamespace, mode: ProxyMode, closing: ExitStack) -> None:
        pods = tuple(Prefix(IPAddress(p), n) for p, n in (("10.0.0.0", 8), ("fd00:1::", 64)))
        config = ProxyConfig("node-a", tuple(NODE.values()), cluster_cidrs=pods, mode=mode)
        kernel = closing.enter_context(node.call(lambda: in_kernel(config)))
        self._node = node
        self._proxier = Proxier(config, kernel.by_family, lambda family: ADDRESSES[family])

    def serve(self, family: Family, pods: Sequence[IPAddress], port: int) -> None:
        """Let these pods be the endpoints from now on."""
        service = Service(
            KEY,
            (ServicePort("", "TCP", 80, NODE_PORT), ServicePort("udp", "UDP", 80, NODE_PORT)),
            tuple(VIP.values()),
            external_policy=TrafficPolicy.CLUSTER,
            health_check_node_port=HEALTH_PORT,
        )
        endpoints = tuple(Endpoint(pod, "node-b") for pod in pods)
        ports = (SlicePort("", "TCP", port), SlicePort("udp", "UDP", port))
        one = EndpointSlice(KEY, "web-1", family, ports, endpoints)
        self._proxier.apply_events([Upsert(service), Upsert(one), Listed()])
        self._node.call(self._proxier.sync)


ADDRESSES = {family: Addresses((NODE[family],), NODE[family]) for family in Family}


@pytest.fixture
def stage(mode: ProxyMode, family: Family) -> Iterator[Stage]:
    """A node between cables, with three pods elsewhere."""
    cidrs = (f"{NODE[Family.IPV4]}/24", f"{NODE[Family.IPV6]}/64")
    with ExitStack() as closing:
        made = closing.enter_context(Stage([Interface("eth0", cidrs)]))
        Proxied(made.node, mode, closing).serve(family, PODS[family], 8080)
        yield made


@pytest.fixture
def host(netns: NetworkNamespace, mode: ProxyMode) -> Iterator[tuple[NetworkNamespace, Proxied]]:
    """A host that has its pods' addresses itself, and a way to everywhere."""
    for family, pods in PODS.items():
        for address in (NODE[family], *pods):
            length = 32 if family is Family.IPV4 else 128
            netns.run("ip", "address", "add", f"{address}/{length}", "dev", "lo", "nodad")
        word = "-4" if family is Family.IPV4 else "-6"
        netns.run("ip", word, "route", "add", "default", "dev", "lo")
    with ExitStack() as closing:
        yield netns, Proxied(netns, mode, closing)


@covers("choice.uniform", scenario="spread")
@both_families
@both_modes
def test_all_endpoints_are_equally_likely(stage: Stage, family: Family) -> None:
    """Of 600 connections 200 each are expected; less than 120 has a chance below 10^-11."""
    packet = Packet(OUTSIDE[family], NODE[family], "UDP", NODE_PORT, "eth0")
    arrivals = stage.spread(packet, 600)
    assert sorted(arrival.address for arrival in arrivals) == PODS[family]
    assert min(arrivals.values()) > 120


@covers("choice.sticky", scenario="a connection that lasts")
@both_families
@both_modes
def test_a_connection_stays_with_its_endpoint(
    host: tuple[NetworkNamespace, Proxied], family: Family
) -> None:
    node, proxied = host
    first, second, _ = PODS[family]
    with ExitStack() as closing:

        def listen(pod: IPAddress) -> socket.socket:
            listener = socket.create_server((pod, 8080), family=_af(family))
            listener.settimeout(PATIENCE_S)
            return closing.enter_context(listener)

        def connect() -> socket.socket:
            return closing.enter_context(socket.create_connection((VIP[family], 80), PATIENCE_S))

        listeners = {pod: node.call(partial(listen, pod)) for pod in (first, second)}
        proxied.serve(family, [first], 8080)
        old = node.call(connect)
        accepted, _ = listeners[first].accept()
        closing.enter_context(accepted)
        proxied.serve(family, [second], 8080)
        node.call(connect)
        closing.enter_context(listeners[second].accept()[0])
        proxied.serve(family, [], 8080)
        old.sendall(b"still there?")
        assert accepted.recv(100) == b"still there?"
        accepted.sendall(b"yes")
        assert old.recv(100) == b"yes"


@covers("cluster-ip.ping", scenario="ping")
@both_families
@pytest.mark.parametrize("mode", [ProxyMode.NFTABLES], ids=["nftables"])
def test_a_cluster_ip_refuses_to_be_pinged(stage: Stage, family: Family) -> None:
    """Port unreachable, which is what a plain reject says of anything."""
    answers = stage.throw("eth0", build_echo(OUTSIDE[family], VIP[family]))
    unreachable = b"\x03\x03" if family is Family.IPV4 else b"\x01\x04"
    assert [answer[_HEADER[family] :][:2] for answer in answers].count(unreachable) == 1


@covers("masquerade.foreign-bits", scenario="marks of others")
@both_families
@both_modes
def test_other_bits_of_the_mark_stay(stage: Stage, family: Family) -> None:
    """Somebody's rule sets a mark, another's reads it when all is done; ours is gone by then."""
    word = "ip" if family is Family.IPV4 else "ip6"
    stage.node.run(
        "nft",
        f"""table {word} probe {{
            chain before {{
                type filter hook prerouting priority -140
                udp dport {NODE_PORT} meta mark set 0x80010001
            }}
            chain after {{
                type filter hook postrouting priority 200
                meta mark 0x80010001 {word} daddr {PODS[family][0]} counter accept
                {word} daddr {PODS[family][0]} counter accept
            }}
        }}""",
    )
    packet = Packet(OUTSIDE[family], NODE[family], "UDP", NODE_PORT, "eth0")
    arrivals = stage.spread(packet, 60)
    assert all(arrival.is_masqueraded for arrival in arrivals)
    kept, lost = (
        int(line.split("packets ")[1].split()[0])
        for line in stage.node.run("nft", "list", "chain", word, "probe", "after").splitlines()
        if "counter" in line
    )
    assert (kept > 0, lost) == (True, 0)


@covers("forward.accept", scenario="a FORWARD chain that drops")
@both_families
@iptables_only
def test_service_traffic_passes_a_forward_chain_that_drops(stage: Stage, family: Family) -> None:
    program = IPTABLES[family]
    stage.node.run(program, "-P", "FORWARD", "DROP")
    stage.node.run("iptables", "-A", "FORWARD", "-p", str(FENCE), "-j", "ACCEPT")
    stray = Packet(OUTSIDE[family], PODS[family][0], "TCP", 8080, "eth0")
    served = Packet(OUTSIDE[family], NODE[family], "TCP", NODE_PORT, "eth0")
    assert [fate.kind for fate in stage.play([stray, served])] == [
        FateKind.DROP,
        FateKind.FORWARD,
    ]


@covers("forward.invalid", scenario="a packet that conntrack cannot place")
@both_families
@iptables_only
def test_what_conntrack_cannot_place_is_dropped(stage: Stage, family: Family) -> None:
    packet = Packet(OUTSIDE[family], PODS[family][0], "UDP", 8080, "eth0")
    good = build_packet(packet, source_port=20000, tag=1)
    bad = good[:-1] + bytes([good[-1] ^ 0x55])  # its checksum is another's
    for data, is_forwarded in ((good, True), (bad, False)):
        seen = [each[_HEADER[family] :] for each in stage.throw("eth0", data)]
        assert (data[_HEADER[family] :] in seen) is is_forwarded


@covers("health.accept", scenario="an INPUT chain that drops")
@both_families
@iptables_only
def test_health_checks_pass_an_input_chain_that_drops(stage: Stage, family: Family) -> None:
    stage.node.run(IPTABLES[family], "-P", "INPUT", "DROP")
    asked = Packet(OUTSIDE[family], NODE[family], "TCP", HEALTH_PORT, "eth0")
    stray = asked._replace(port=HEALTH_PORT + 1)
    assert [fate.kind for fate in stage.play([stray, asked])] == [FateKind.DROP, FateKind.ACCEPT]


def _af(family: Family) -> socket.AddressFamily:
    return socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
