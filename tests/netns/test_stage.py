"""The stage tells the truth: rules written by hand, and packets whose fate is obvious."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from netproxy.core.packet import Arrival, Fate, FateKind, Packet
from netproxy.model.ip import IPAddress
from tests.netns.packets import NUMBERS, build_packet, has_right_checksums
from tests.netns.scenery import Interface
from tests.netns.stage import Stage

ETH0 = Interface("eth0", ("192.168.0.2/24", "192.168.99.11/24", "2001:db8::1/64"))
RULES = """
table inet stage {
    chain services {
        meta l4proto { tcp, udp, sctp } ip daddr 172.30.0.1 dnat ip to 10.180.0.1:8080
        meta l4proto { tcp, udp, sctp } ip daddr 172.30.0.2 dnat ip to 192.168.99.11:8080
        meta l4proto { tcp, udp, sctp } ip daddr 172.30.0.3 dnat ip to 10.180.0.1 : \
            numgen random mod 3 map { 0: 80, 1: 81, 2: 82 }
        meta l4proto { tcp, udp, sctp } ip6 daddr fd00:172::1 dnat ip6 to [fd00:10:180::1]:8080
        meta l4proto { tcp, udp, sctp } ip6 daddr fd00:172::2 dnat ip6 to [2001:db8::1]:8080
    }
    chain prerouting { type nat hook prerouting priority dstnat; jump services; }
    chain output { type nat hook output priority -100; jump services; }
    chain postrouting {
        type nat hook postrouting priority srcnat
        ip saddr { 10.0.0.9, 1.2.3.4, 10.180.0.1 } masquerade fully-random
        ip6 saddr { fd00:10::9, fd00:10:180::1 } masquerade
    }
    chain filter {
        th dport 92 reject
        th dport 93 drop
        tcp dport 94 reject with tcp reset
    }
    chain forward { type filter hook forward priority 0; jump filter; }
    chain input { type filter hook input priority 0; jump filter; }
    chain local { type filter hook output priority 0; jump filter; }
}
"""
ACCEPT, REJECT, DROP = Fate(FateKind.ACCEPT), Fate(FateKind.REJECT), Fate(FateKind.DROP)


@pytest.fixture(scope="module")
def bare() -> Iterator[Stage]:
    with Stage([ETH0]) as stage:
        yield stage


@pytest.fixture(scope="module")
def ruled() -> Iterator[Stage]:
    with Stage([Interface("lo", ("127.0.0.1/8",)), ETH0], route_localnet=True) as stage:
        stage.node.run("nft", "-f", "-", stdin=RULES)
        yield stage


def packet(protocol: str, source: str, destination: str, port: int = 80) -> Packet:
    """From the world, unless the source is an address of the node."""
    is_own = source in ("192.168.0.2", "2001:db8::1", "127.0.0.1", "1.2.3.4")
    interface = "" if is_own else "eth0"
    return Packet(IPAddress(source), IPAddress(destination), protocol, port, interface)


def forward(address: str, port: int, *, is_masqueraded: bool) -> Fate:
    return Fate(FateKind.FORWARD, frozenset({Arrival(IPAddress(address), port, is_masqueraded)}))


@pytest.mark.parametrize("protocol", NUMBERS)
def test_without_rules_everything_goes_on(bare: Stage, protocol: str) -> None:
    packets = [
        packet(protocol, *way)
        for way in (
            ("10.0.0.2", "10.180.0.1"),
            ("10.0.0.2", "192.168.0.2"),
            ("192.168.0.2", "10.180.0.1"),
            ("192.168.0.2", "192.168.99.11"),
            ("1.2.3.4", "10.180.0.1"),
            ("fd00:10::2", "fd00:10:180::1"),
            ("fd00:10::2", "2001:db8::1"),
            ("2001:db8::1", "fd00:10:180::1"),
            ("2001:db8::1", "2001:db8::1"),
        )
    ]
    assert bare.play(packets) == [ACCEPT] * len(packets)


@pytest.mark.parametrize("protocol", NUMBERS)
@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        ("10.0.0.2", "172.30.0.1", forward("10.180.0.1", 8080, is_masqueraded=False)),
        ("10.0.0.9", "172.30.0.1", forward("10.180.0.1", 8080, is_masqueraded=True)),
        ("10.180.0.1", "172.30.0.1", forward("10.180.0.1", 8080, is_masqueraded=True)),
        ("192.168.0.2", "172.30.0.1", forward("10.180.0.1", 8080, is_masqueraded=True)),
        ("1.2.3.4", "172.30.0.1", forward("10.180.0.1", 8080, is_masqueraded=True)),
        ("10.0.0.2", "172.30.0.2", forward("192.168.99.11", 8080, is_masqueraded=False)),
        ("192.168.0.2", "172.30.0.2", forward("192.168.99.11", 8080, is_masqueraded=True)),
        ("fd00:10::2", "fd00:172::1", forward("fd00:10:180::1", 8080, is_masqueraded=False)),
        ("fd00:10::9", "fd00:172::1", forward("fd00:10:180::1", 8080, is_masqueraded=True)),
        ("fd00:10:180::1", "fd00:172::1", forward("fd00:10:180::1", 8080, is_masqueraded=True)),
        ("2001:db8::1", "fd00:172::1", forward("fd00:10:180::1", 8080, is_masqueraded=True)),
        ("fd00:10::2", "fd00:172::2", forward("2001:db8::1", 8080, is_masqueraded=False)),
    ],
)
def test_translation(
    ruled: Stage, protocol: str, source: str, destination: str, expected: Fate
) -> None:
    assert ruled.play([packet(protocol, source, destination)]) == [expected]


@pytest.mark.parametrize("protocol", NUMBERS)
@pytest.mark.parametrize(("port", "expected"), [(92, REJECT), (93, DROP), (95, ACCEPT)])
def test_refusal(ruled: Stage, protocol: str, port: int, expected: Fate) -> None:
    packets = [
        packet(protocol, *way, port=port)
        for way in (
            ("10.0.0.2", "10.180.0.1"),
            ("10.0.0.2", "192.168.99.11"),
            ("192.168.0.2", "10.180.0.1"),
            ("192.168.0.2", "192.168.99.11"),
            ("1.2.3.4", "10.180.0.1"),
            ("fd00:10::2", "fd00:10:180::2"),
            ("fd00:10::2", "2001:db8::1"),
            ("2001:db8::1", "fd00:10:180::1"),
            ("2001:db8::1", "2001:db8::1"),
        )
    ]
    assert ruled.play(packets) == [expected] * len(packets)


def test_a_reset_is_a_refusal(ruled: Stage) -> None:
    ways = [("10.0.0.2", "10.180.0.1"), ("10.0.0.2", "192.168.0.2"), ("192.168.0.2", "10.0.0.7")]
    packets = [packet("TCP", *way, port=94) for way in ways]
    assert ruled.play(packets) == [REJECT] * len(packets)


def test_loopback_may_leave_the_node_when_asked_for(ruled: Stage) -> None:
    (fate,) = ruled.play([packet("TCP", "127.0.0.1", "172.30.0.1")])
    assert fate == forward("10.180.0.1", 8080, is_masqueraded=True)


def test_spread_counts_every_connection(ruled: Stage) -> None:
    arrivals = ruled.spread(packet("TCP", "10.0.0.2", "172.30.0.3"), 600)
    assert {arrival.port for arrival in arrivals} == {80, 81, 82}
    assert arrivals.total() == 600
    assert min(arrivals.values()) > 120  # a fair die falls short of this once in 10^12 runs


def test_a_packet_on_a_second_cable_comes_from_there() -> None:
    with Stage([ETH0, Interface("cali0", ())]) as stage:
        rule = "add table ip t; add chain ip t f { type filter hook forward priority 0; }; "
        stage.node.run("nft", rule + "add rule ip t f iifname cali0 drop")
        near = packet("TCP", "10.0.0.2", "10.180.0.1")
        assert stage.play([near, near._replace(interface="cali0")]) == [ACCEPT, DROP]


@pytest.mark.parametrize("protocol", NUMBERS)
@pytest.mark.parametrize("way", [("10.0.0.2", "10.180.0.1"), ("fd00::2", "fd00::1")])
def test_a_wrong_bit_is_noticed(protocol: str, way: tuple[str, str]) -> None:
    data = build_packet(packet(protocol, *way), source_port=1234, tag=5)
    assert has_right_checksums(data)
    for place in (-1, -6, 15 if "." in way[0] else 20):
        spoilt = bytearray(data)
        spoilt[place] ^= 4
        is_address = place > 0
        # SCTP's checksum does not cover addresses, nor does IPv6's header have one.
        unnoticed = is_address and protocol == "SCTP" and ":" in way[0]
        assert has_right_checksums(bytes(spoilt)) is unnoticed, place
