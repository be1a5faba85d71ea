"""A node and the world around it: play packets, see what becomes of each.

Two namespaces. The *node* has the interfaces and addresses of the scenario and whatever rules
are under test. The *world* is the far end of the node's cables and owns every other address:
clients, pods, endpoints. Nobody there answers; a packet that comes out of the node is looked at
and forgotten.

Rule 1: packets are played raw, from any source address: into a cable of the node, or as if a
process of the node had sent them.
Rule 2: what a packet became is read from where it turns up: out of the node (translated or not),
in the node behind the input hook, or as an ICMP error or a reset.
Whatever comes out has to have right checksums, or it would not arrive anywhere.
Rule 3: no waiting for things not to happen. All work of one batch is done on one processor, in
order; when a fence sent behind it has come through, whatever was not seen has been dropped.
"""

from __future__ import annotations

import itertools
import os
import random
import select
import socket
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Self

from netproxy.core.packet import Arrival, Fate, FateKind, Packet
from netproxy.model.ip import Family, IPAddress, family_of
from tests.netns.namespace import NetworkNamespace
from tests.netns.packets import (
    ICMP,
    ICMPV6,
    NUMBERS,
    Sight,
    Sighting,
    build_fence,
    build_packet,
    parse_fence,
    parse_packet,
)
from tests.netns.scenery import (
    Interface,
    configure,
    drain,
    inject,
    listen,
    open_cable,
    open_ear,
    open_mouth,
)
from tests.patience import patience

_BATCH = 64
"""Packets in flight at a time: small enough for any socket's receive buffer."""
_FENCES = 2
"""One fence passes two queues; no packet's story is longer than four."""
_FENCE_TIMEOUT_S = patience(10.0)
_FIRST_PORT, _LAST_PORT = 20000, 60000
_FIRST_TAG = 0x6E700000


class Stage:
    """The two namespaces and the sockets that look at them. Close it, or use it in ``with``.

    Args:
        interfaces: Of the node; ``lo`` may be among them. The first other one leads everywhere.
        route_localnet: Let packets with a loopback source leave the node, for IPv4 NodePorts
            on 127.0.0.1.

    Attributes:
        node: The namespace with the rules under test.
        world: The far end of its cables.
    """

    def __init__(self, interfaces: Sequence[Interface], *, route_localnet: bool = False) -> None:
        self._closing = ExitStack()
        self.node = self._closing.enter_context(NetworkNamespace())
        self.world = self._closing.enter_context(NetworkNamespace())
        self._cables = [each.name for each in interfaces if each.name != "lo"]
        self._own = {
            IPAddress(address.partition("/")[0])
            for interface in interfaces
            for address in interface.addresses
        } | {IPAddress("127.0.0.1"), IPAddress("::1")}
        self._tags = itertools.count(_FIRST_TAG)
        self._source_ports = itertools.cycle(range(_FIRST_PORT, _LAST_PORT))
        configure(self.node, self.world, interfaces, route_localnet=route_localnet)
        self._open_sockets()

    def is_own(self, address: IPAddress) -> bool:
        """Whether the address is one of the node's."""
        return address in self._own

    def play(self, packets: Iterable[Packet]) -> list[Fate]:
        """What becomes of each packet: every one opens a connection of its own.

        A packet without ``interface`` is sent by a process of the node. The fate of a forwarded
        packet has exactly one arrival. ``ACCEPT`` is both: it left the node untouched, and a
        process of the node could have had it.
        """
        fates: list[Fate] = []
        with _on_one_processor():
            for batch in _batched(list(packets), _BATCH):
                fates += self._play_batch(batch)
        return fates

    def spread(self, packet: Packet, count: int) -> Counter[Arrival]:
        """Where that many connections of one kind arrive.

        Raises:
            AssertionError: one of them was not forwarded.
        """
        arrivals: Counter[Arrival] = Counter()
        for fate in self.play([packet] * count):
            assert fate.kind is FateKind.FORWARD, f"{packet}: {fate}"
            arrivals.update(fate.arrivals)
        return arrivals

    def throw(self, interface: str, data: bytes) -> list[bytes]:
        """The IP packets that come out of the node when this one is put in as it is."""
        with _on_one_processor():
            self._inject(interface, data)
            return [each for _ in range(_FENCES) for each in self._until_fence()]

    def close(self) -> None:
        """Take everything down."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open_sockets(self) -> None:
        keep = self._closing.enter_context
        self._into = {
            name: keep(self.world.call(partial(open_cable, name))) for name in self._cables
        }
        self._mouths = {
            family: keep(self.node.call(partial(open_mouth, family))) for family in Family
        }
        self._ears: dict[socket.socket, int] = {}
        """What arrives at the node's own processes: socket and IP protocol."""
        for family, icmp in ((Family.IPV4, ICMP), (Family.IPV6, ICMPV6)):
            for protocol in (*NUMBERS.values(), icmp):
                ear = keep(self.node.call(partial(open_ear, family, protocol)))
                self._ears[ear] = protocol
        self._poll = select.poll()
        for cable in self._into.values():
            self._poll.register(cable, select.POLLIN)

    def _play_batch(self, packets: Sequence[Packet]) -> list[Fate]:
        tags = [next(self._tags) for _ in packets]
        for packet, tag in zip(packets, tags, strict=True):
            self._send(packet, tag)
        seen: defaultdict[int, list[Sighting]] = defaultdict(list)
        for _ in range(_FENCES):
            for sighting in self._await_fence():
                seen[sighting.tag].append(sighting)
        return [self._judge(packet, seen[tag]) for packet, tag in zip(packets, tags, strict=True)]

    def _send(self, packet: Packet, tag: int) -> None:
        data = build_packet(packet, source_port=next(self._source_ports), tag=tag)
        if packet.interface:
            self._inject(packet.interface, data)
            return
        with suppress(PermissionError):  # a drop at the output hook is told to the sender
            self._mouths[family_of(packet.source)].sendto(data, (packet.destination, 0))

    def _inject(self, interface: str, data: bytes) -> None:
        inject(self._into[interface], self._cables.index(interface), interface, data)

    def _await_fence(self) -> Iterator[Sighting]:
        """Everything seen until a fence sent now has come through the node."""
        for data in self._until_fence():
            if (sighting := parse_packet(data)) is not None:
                yield sighting
        for ear, protocol in self._ears.items():
            yield from listen(ear, protocol)

    def _until_fence(self) -> Iterator[bytes]:
        """All that comes out of the node, but for the fence itself."""
        fence = next(self._tags)
        self._inject(self._cables[0], build_fence(fence))
        has_passed = False
        while not has_passed:
            ready = self._poll.poll(_FENCE_TIMEOUT_S * 1000)
            assert ready, "the node does not forward: no fence came through"
            for cable in self._into.values():
                for data in drain(cable):
                    if parse_fence(data) == fence:
                        has_passed = True
                    else:
                        yield data

    def _judge(self, packet: Packet, seen: Sequence[Sighting]) -> Fate:
        arrived = {s for s in seen if s.sight is Sight.PACKET}
        assert len(arrived) <= 1, f"{packet} turned up in several places: {arrived}"
        if not arrived:
            # Nobody got it. An error without a packet is the work of a rule.
            return Fate(FateKind.REJECT if seen else FateKind.DROP)
        (found,) = arrived
        if (found.destination, found.port) == (packet.destination, packet.port):
            return Fate(FateKind.ACCEPT)
        is_masqueraded = self.is_own(found.source)
        arrival = Arrival(found.destination, found.port, is_masqueraded)
        return Fate(FateKind.FORWARD, frozenset({arrival}))


@contextmanager
def _on_one_processor() -> Iterator[None]:
    """Queues of received packets are per processor; within one, order is kept."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {random.choice(sorted(allowed))})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _batched(packets: Sequence[Packet], size: int) -> Iterator[Sequence[Packet]]:
    for start in range(0, len(packets), size):
        yield packets[start : start + size]
