"""What a connection's first packet costs on its way through a node.

Frames are put into a node's cable; the kernel takes each through all hooks and out again before
the send returns. The nodes are measured in turn, a few frames at a time, so that whatever else
the machine does hits all of them.
"""

from __future__ import annotations

import os
import random
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from netproxy.core.packet import Packet
from netproxy.model.ip import IPAddress
from tests.bench import world
from tests.netns.namespace import NetworkNamespace
from tests.netns.packets import build_packet, parse_packet
from tests.netns.scenery import Interface, configure, drain, inject, open_cable

_ROUNDS = 24
_FRAMES = 1000
_AT_A_TIME = 50
_CABLE = "eth0"
_WARM_UP = 20


class Node:
    """A node and the far end of its cable.

    Args:
        setup: Programs the node's rules; called inside.
        closing: Takes the node down.
    """

    def __init__(self, setup: Callable[[], object], closing: ExitStack) -> None:
        self._space = closing.enter_context(NetworkNamespace())
        self._world = closing.enter_context(NetworkNamespace())
        interfaces = [Interface(_CABLE, ("192.168.0.2/24",))]
        configure(self._space, self._world, interfaces, route_localnet=False)
        self._space.call(setup)
        self._mouth = closing.enter_context(self._world.call(_open_mouth))
        self._sent = 0

    def check_translation(self, frames: Sequence[bytes]) -> None:
        """Whether frames come out with an endpoint's port; also warms the caches."""
        with self._world.call(lambda: open_cable(_CABLE)) as cable:
            self.send(frames)
            seen = [parse_packet(data) for data in drain(cable)]
        ports = [each.port for each in seen if each is not None]
        assert ports == [8080] * len(frames), f"not translated: {ports}"

    def send(self, frames: Sequence[bytes]) -> float:
        """Seconds for all of them."""
        mouth = self._mouth
        started = time.perf_counter()
        for frame in frames:
            inject(mouth, 0, _CABLE, frame)
        seconds = time.perf_counter() - started
        self._sent += len(frames)
        return seconds

    def check_all_passed(self) -> None:
        """Whether each frame made a connection and came out: a dropped one would cost less."""
        connections = int(self._space.call(_connections.read_text))
        assert connections == self._sent, f"{connections} connections of {self._sent}"
        came_out = self._world.call(_received)
        assert came_out >= self._sent, f"{came_out} frames of {self._sent} came out"


_connections = Path("/proc/sys/net/netfilter/nf_conntrack_count")


def compare(nodes: dict[str, Callable[[], object]], services: dict[str, int]) -> dict[str, float]:
    """Microseconds of a packet for each node, and the ratio of ``many`` to ``few``.

    Args:
        nodes: How to program the nodes ``bare``, ``few`` and ``many``.
        services: How many Services are called on each of them, in turn.
    """
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    seconds: dict[str, list[float]] = {name: [] for name in nodes}
    with ExitStack() as closing:
        stages = {name: Node(setup, closing) for name, setup in nodes.items()}
        for name, stage in stages.items():
            stage.check_translation(_frames(250, _WARM_UP, services[name]))
        for turn in range(_ROUNDS):
            frames = {name: _frames(turn, _FRAMES, services[name]) for name in nodes}
            order = list(nodes)
            total = dict.fromkeys(nodes, 0.0)
            for start in range(0, _FRAMES, _AT_A_TIME):
                order.append(order.pop(0))
                for name in order:
                    piece = frames[name][start : start + _AT_A_TIME]
                    total[name] += stages[name].send(piece)
            for name in nodes:
                seconds[name].append(total[name] / _FRAMES)
        for stage in stages.values():
            stage.check_all_passed()
    ratios = [many / few for few, many in zip(seconds["few"], seconds["many"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    times = {f"{name}_us": statistics.median(found) * 1e6 for name, found in seconds.items()}
    return {**times, "ratio": middle, "ratio_low": low, "ratio_high": high, "rounds": _ROUNDS}


def bare_rules(services: int) -> Iterator[str]:
    """The least that can be done for so many Services: a DNAT rule, or a map of them.

    In pieces that fit the socket of an nft without privileges.
    """
    rule = f"ip daddr {world.cluster_ip(3)} tcp dport 80 dnat to {world.pod_ip(15)}:8080"
    yield "add table ip bare\n"
    if services > 1:
        rule = "tcp dport 80 dnat to ip daddr map @bare:8080"
        yield f"add map ip bare bare {{ type ipv4_addr : ipv4_addr; size {services}; }}\n"
    yield "add chain ip bare prerouting { type nat hook prerouting priority -100; }\n"
    yield f"add rule ip bare prerouting {rule}\n"
    for start in range(0, services if services > 1 else 0, 500):
        numbers = range(start, min(start + 500, services))
        pairs = ", ".join(f"{world.cluster_ip(n)} : {world.pod_ip(5 * n)}" for n in numbers)
        yield f"add element ip bare bare {{ {pairs} }}\n"


def _frames(turn: int, count: int, services: int) -> list[bytes]:
    """First packets of different connections, to one Service or to each in a random order."""
    source = IPAddress(f"10.200.{turn}.1")
    dice = random.Random(turn)
    frames = []
    for number in range(count):
        service = 3 if services == 1 else dice.randrange(services)
        packet = Packet(source, world.cluster_ip(service), "TCP", 80, _CABLE)
        frames.append(build_packet(packet, source_port=20000 + number, tag=number))
    return frames


def _open_mouth() -> socket.socket:
    """Sends only: a socket that also listened would get a copy of each frame that comes out."""
    return socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)


def _received() -> int:
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    line = next(line for line in lines if line.strip().startswith(f"{_CABLE}:"))
    return int(line.partition(":")[2].split()[1])
