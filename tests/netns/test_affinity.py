"""Session affinity in a real kernel: what is remembered, for how long, and what becomes of it."""

from __future__ import annotations

import ctypes
import fcntl
import re
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

import pytest

from netproxy.backends.nftables import layout, names
from netproxy.backends.nftables.dataplane import nftables_dataplanes
from netproxy.core.config import ProxyConfig
from netproxy.core.packet import Arrival, FateKind, Packet
from netproxy.kernel.nftables import Tables
from netproxy.model.endpoints import Endpoint, EndpointSlice, SlicePort
from netproxy.model.events import Event, Listed, Upsert
from netproxy.model.ip import Family, IPAddress
from netproxy.model.names import ServiceKey
from netproxy.model.service import Service, ServicePort
from netproxy.nft.objects import family_word
from netproxy.proxier import Proxier
from tests.netns.packets import has_right_checksums
from tests.netns.scenery import Interface, drain, open_cable
from tests.netns.stage import Stage
from tests.patience import patience
from tests.property import strategies as make

every_family = pytest.mark.parametrize("family", list(Family))
PROTOCOLS = {"TCP": 80, "UDP": 53, "SCTP": 5060}
NODE = Interface("eth0", ("192.168.0.2/24", "2001:db8::2/64"))
PATIENCE_S = patience(30)
"""How long to wait for the kernel to tidy up; nothing is said about how long it takes."""


class Node:
    """A node with one Service, whose clients are remembered, on a stage."""

    def __init__(self, stage: Stage, family: Family) -> None:
        self.stage = stage
        self.family = family
        self._told: list[Event] = [Listed()]
        self._start()

    def _start(self) -> None:
        self.tables = self.stage.node.call(lambda: Tables(names.TABLE, [self.family], listen=True))
        config = ProxyConfig(make.NODE, node_ips=make.NODE_ADDRESSES[self.family][:1])
        self.proxier = Proxier(config, nftables_dataplanes(self.tables.by_family))

    def put(self, *, timeout_s: int = 10800, endpoints: Iterable[int] = range(1, 6)) -> bool:
        """The Service with these endpoints; whether anything was written."""
        service = Service(
            ServiceKey("default", "web"),
            tuple(ServicePort(p.lower(), p, number) for p, number in PROTOCOLS.items()),
            (make.address(self.family, 96, 1),),
            affinity_timeout_s=timeout_s,
        )
        ports = tuple(SlicePort(p.lower(), p, 9000 + n) for p, n in PROTOCOLS.items())
        reached = tuple(Endpoint(make.address(self.family, 2, n), "node-b") for n in endpoints)
        web = EndpointSlice(service.key, "web-1", self.family, ports, reached)
        self._told = [Upsert(service), Upsert(web), Listed()]
        return self.sync(self._told)

    def sync(self, events: Iterable[Event] = ()) -> bool:
        self.proxier.apply_events(events)
        return self.stage.node.call(self.proxier.sync).changed

    def restart(self) -> bool:
        """Another process takes over; whether it wrote anything."""
        self.tables.close()
        self._start()
        return self.sync(self._told)

    def connect(
        self, clients: Iterable[int] = range(1, 101), protocol: str = "TCP"
    ) -> dict[int, Arrival]:
        """A new connection of each client: where they arrive."""
        clients = list(clients)
        packets = [
            Packet(
                make.address(self.family, 1, client),
                make.address(self.family, 96, 1),
                protocol,
                PROTOCOLS[protocol],
                "eth0",
            )
            for client in clients
        ]
        fates = self.stage.play(packets)
        assert {fate.kind for fate in fates} == {FateKind.FORWARD}
        return {c: next(iter(fate.arrivals)) for c, fate in zip(clients, fates, strict=True)}

    def remembered(self) -> list[tuple[float, float]]:
        """(timeout, time left) of all that the kernel remembers, in seconds."""
        word = family_word(self.family)
        text = self.stage.node.run("nft", "list", "map", word, names.TABLE, names.CLIENTS)
        found = re.findall(r"timeout (\w+) expires (\w+)", text)
        return [(_seconds(timeout), _seconds(left)) for timeout, left in found]

    def close(self) -> None:
        self.tables.close()


_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def _seconds(text: str) -> float:
    """Nft's way to write a time.

    Example: ``1h2m3s4ms``.
    """
    return sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"(\d+)(ms|[dhms])", text))


@pytest.fixture(params=list(Family), ids=str)
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    with Stage([NODE]) as stage:
        one = Node(stage, request.param)
        yield one
        one.close()


def addresses(places: Mapping[int, Arrival]) -> Counter[IPAddress]:
    return Counter(place.address for place in places.values())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_clients_stay_where_they_are_and_are_spread(node: Node, protocol: str) -> None:
    node.put()
    first = node.connect(protocol=protocol)
    # That one of five endpoints gets none of 100 clients has a chance of 10^-9.
    assert set(addresses(first)) == {make.address(node.family, 2, n) for n in range(1, 6)}
    assert node.connect(protocol=protocol) == first
    assert node.connect(protocol=protocol) == first


def test_what_the_kernel_learns_and_forgets_is_no_drift(node: Node) -> None:
    listener = node.tables.listener
    assert listener is not None
    node.put(timeout_s=1)
    listener.drain()
    node.connect()
    assert node.remembered()
    _wait_until_forgotten(node)
    assert not listener.drain()
    node.proxier.request_full()
    assert not node.sync()


def test_time_begins_anew_with_each_connection(node: Node) -> None:
    node.put(timeout_s=10800)
    node.connect([1])
    ((timeout, before),) = node.remembered()
    assert timeout == 10800
    while (left := node.remembered()[0][1]) > before - 0.1:
        time.sleep(0.02)
    node.connect([1])
    assert node.remembered()[0][1] > left


def test_who_does_not_come_for_that_long_is_forgotten(node: Node) -> None:
    node.put(timeout_s=1)
    first = node.connect()
    _wait_until_forgotten(node)
    assert node.connect() != first, "100 clients chose the same once more"


def _wait_until_forgotten(node: Node) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while node.remembered():
        assert time.monotonic() < deadline, "the kernel does not forget"
        time.sleep(0.05)


def test_only_clients_of_an_endpoint_that_is_gone_move(node: Node) -> None:
    node.put()
    first = node.connect()
    gone = make.address(node.family, 2, 3)
    node.put(endpoints=[1, 2, 4, 5])
    second = node.connect()
    moved = {client for client, place in first.items() if place.address == gone}
    assert {client for client in first if first[client] != second[client]} == moved
    assert gone not in addresses(second)
    assert len({second[client] for client in moved}) > 1, "they are spread"
    assert node.connect() == second, "and remembered where they are now"
    node.put(endpoints=range(1, 6))
    assert node.connect() == second, "nobody goes back"


def test_endpoints_that_come_take_nobody_away(node: Node) -> None:
    node.put(endpoints=[2, 4])
    first = node.connect()
    node.put(endpoints=range(1, 8))
    assert node.connect() == first
    assert len(addresses(node.connect(range(101, 201)))) > 2, "new clients go anywhere"


def test_a_restart_is_invisible(node: Node) -> None:
    node.put()
    node.put(endpoints=[5, 4, 1, 7])
    node.stage.node.call(node.proxier.tidy)
    first = node.connect()
    assert not node.restart(), "there is nothing to write"
    assert node.connect() == first
    assert len(node.remembered()) == len(first)


def test_a_restart_after_endpoints_have_changed_keeps_the_others_clients(node: Node) -> None:
    node.put()
    first = node.connect()
    node.tables.close()
    node._start()
    node.put(endpoints=[5, 3, 8, 1])
    stayed = {c: p for c, p in first.items() if p.address[-1] in "531"}
    second = node.connect()
    assert {client: second[client] for client in stayed} == stayed


def test_another_timeout_is_that_of_the_next_connection(node: Node) -> None:
    node.put(timeout_s=10800)
    first = node.connect()
    node.put(timeout_s=60)
    assert node.connect() == first, "nobody moves because of it"
    assert all(left <= 60 for _, left in node.remembered())
    node.put(timeout_s=86400)
    assert node.connect() == first
    assert all(left > 10800 for _, left in node.remembered())


def test_affinity_ends_with_the_field(node: Node) -> None:
    node.put()
    first = node.connect()
    node.put(timeout_s=0)
    assert node.connect() != first, "100 clients chose the same once more"


def test_who_finds_no_room_in_memory_is_served(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    small = layout.SETS[names.CLIENTS]._replace(size=3)
    monkeypatch.setitem(layout.SETS, names.CLIENTS, small)
    node.put()
    first = node.connect(range(1, 4))
    others = node.connect(range(4, 104))
    assert len(addresses(others)) == 5
    assert len(node.remembered()) == 3
    assert node.connect(range(1, 4)) == first
    # An endpoint goes: its client has a place in memory, and keeps it.
    node.put(endpoints=[int(n) for n in "12345" if first[1].address[-1] != n])
    moved = node.connect([1])
    assert moved[1] != first[1]


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["TCP", "UDP"])
def test_connections_of_processes_have_right_checksums(node: Node, kind: socket.SocketKind) -> None:
    """Theirs are half done when rules see them, and completed behind these."""
    node.put()
    protocol = {socket.SOCK_STREAM: "TCP", socket.SOCK_DGRAM: "UDP"}[kind]
    node.stage.node.call(lambda: _leave_checksums_to_the_kernel(NODE.name))
    with node.stage.world.call(lambda: open_cable(NODE.name)) as cable:
        for _ in range(2):
            with node.stage.node.call(lambda: socket.socket(_AF[node.family], kind)) as client:
                client.setblocking(False)
                with suppress(BlockingIOError):
                    client.connect((make.address(node.family, 96, 1), PROTOCOLS[protocol]))
                if kind is socket.SOCK_DGRAM:
                    client.send(b"hello")
                assert has_right_checksums(_await_packet(cable, 9000 + PROTOCOLS[protocol]))


_AF = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17
"""Source: linux/sockios.h, linux/ethtool.h."""


def _leave_checksums_to_the_kernel(interface: str) -> None:
    """Let the interface say that it computes none."""
    value = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP", interface.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCETHTOOL, request.ljust(40, b"\0"))


def _await_packet(cable: socket.socket, port: int) -> bytes:
    """The next packet that comes out of the node to this port."""
    while select.select([cable], [], [], PATIENCE_S)[0]:
        for data in drain(cable):
            if _port(data) == port:
                return data
    raise AssertionError("it did not come out")


def _port(data: bytes) -> int:
    start = (data[0] & 15) * 4 if data[0] >> 4 == 4 else 40
    return int.from_bytes(data[start + 2 : start + 4], "big")


def test_nothing_of_it_stays_after_cleanup(node: Node) -> None:
    node.put()
    node.connect()
    node.tables.delete()
    assert node.stage.node.run("nft", "list", "ruleset") == ""
