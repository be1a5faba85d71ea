"""One measurement in a process and a network namespace of its own; prints its figures as JSON.

``python -m tests.bench.measure NAME ARGUMENT…``, in a fresh network namespace.
"""

from __future__ import annotations

import gc
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from netproxy.backends.nftables.names import TABLE
from netproxy.kernel.nftables import Tables
from netproxy.model.events import Event, Listed, Upsert
from netproxy.model.ip import Family, IPAddress
from netproxy.model.parse import parse_object
from netproxy.nft.fake import FakeTable
from netproxy.proxier import Proxier
from netproxy.render.nftables import render_ruleset
from tests.bench import world

Figures = dict[str, float]


def first_sync(services: int) -> Figures:
    """Objects in memory → kernel committed."""
    proxier, seconds = _programmed(world.cluster(services))
    del proxier
    return {"seconds": seconds}


def nft_text(services: int) -> Figures:
    """The same rule set as text, through ``nft -f``."""
    proxier = Proxier(world.CONFIG, {Family.IPV4: FakeTable(Family.IPV4)})
    proxier.apply_events(world.cluster(services))
    text = render_ruleset(proxier.plan(against_kernel=False), {}, title="bench")
    return {"seconds": _load(text), "megabytes": len(text) / 1e6}


def changes(services: int, count: int) -> Figures:
    """One endpoint less, one more, one exchanged; event → kernel committed."""
    proxier, _ = _programmed(world.cluster(services))
    dice = random.Random(1)
    membership: list[float] = []
    exchange: list[float] = []
    for number in range(count):
        service = dice.randrange(services)
        fewer = world.slice_of(service, world.ENDPOINTS - 1)
        membership.append(_timed(proxier, fewer))
        membership.append(_timed(proxier, world.slice_of(service)))
        exchange.append(_timed(proxier, world.slice_of(service, exchanged=number + 1)))
    return {
        "p50_ms": statistics.median(membership) * 1000,
        "p99_ms": _percentile(membership, 99) * 1000,
        "max_ms": max(membership) * 1000,
        "exchange_p50_ms": statistics.median(exchange) * 1000,
        "exchange_p99_ms": _percentile(exchange, 99) * 1000,
        "changes": float(len(membership)),
    }


def restart(services: int) -> Figures:
    """A new process finds everything as it should be."""
    child = os.fork()
    if child == 0:
        _programmed(world.cluster(services))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, "the first process failed"
    proxier = Proxier(world.CONFIG, Tables(TABLE, [Family.IPV4]).by_family)
    events = world.cluster(services)
    started = time.perf_counter()
    proxier.apply_events(events)
    report = proxier.sync()
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "operations": float(report.families[0].operations)}


def memory(services: int) -> Figures:
    """Resident memory of a process that has read, programmed and keeps so many Services."""
    events: list[Event] = []
    for document in world.manifests(services):
        events += (Upsert(obj) for obj in parse_object(document).objects)
    proxier, _ = _programmed([*events, Listed()])
    del events
    gc.collect()
    resident = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line
    )
    assert proxier.is_listed
    return {"megabytes": int(resident.split()[1]) / 1024}


def yardstick(services: int) -> Figures:
    """A chain for each Service: loaded, then one Service changed."""
    load = _load("".join(world.chain_per_service(services)))
    change = [
        _load("".join(world.service_chain(services // 2, endpoints)))
        for endpoints in (world.ENDPOINTS - 1, world.ENDPOINTS)
    ]
    return {"load_seconds": load, "change_ms": statistics.median(change) * 1000}


def packet_path(few: int, many: int) -> Figures:
    """Nanoseconds of a first packet's way through a node, with few and with many Services.

    Frames are put into a node's cable; the kernel takes each through all hooks before the send
    returns. Two nodes are measured in turn, so that whatever else the machine does hits both.
    """
    from netproxy.core.packet import Packet
    from tests.netns.packets import build_packet
    from tests.netns.scenery import Interface, inject, open_cable
    from tests.netns.stage import Stage

    stages = {n: Stage([Interface("eth0", ("192.168.0.2/24",))]) for n in (few, many)}
    cables = {}
    for count, stage in stages.items():
        stage.node.call(lambda count=count: _programmed(world.cluster(count)))  # type: ignore[misc]
        cables[count] = stage.world.call(lambda: open_cable("eth0"))
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    destination = world.cluster_ip(3)
    rounds: dict[int, list[float]] = {few: [], many: []}
    for turn in range(24):
        source = IPAddress(f"10.200.{turn}.1")
        packet = Packet(source, destination, "TCP", 80, "eth0")
        frames = [build_packet(packet, source_port=20000 + i, tag=i) for i in range(1000)]
        for count in (few, many) if turn % 2 else (many, few):
            cable = cables[count]
            started = time.perf_counter()
            for frame in frames:
                inject(cable, 0, "eth0", frame)
            rounds[count].append((time.perf_counter() - started) / len(frames))
    ratios = [m / f for f, m in zip(rounds[few], rounds[many], strict=True)]
    for stage in stages.values():
        stage.close()
    return {
        "few_us": statistics.median(rounds[few]) * 1e6,
        "many_us": statistics.median(rounds[many]) * 1e6,
        "ratio": statistics.median(ratios),
        "ratio_low": _percentile(ratios, 25),
        "ratio_high": _percentile(ratios, 75),
    }


def _programmed(events: list[Event]) -> tuple[Proxier, float]:
    """A proxier in step with the kernel, and the seconds from objects to commit."""
    proxier = Proxier(world.CONFIG, Tables(TABLE, [Family.IPV4]).by_family)
    started = time.perf_counter()
    proxier.apply_events(events)
    proxier.sync()
    return proxier, time.perf_counter() - started


def _timed(proxier: Proxier, new: object) -> float:
    started = time.perf_counter()
    proxier.apply_events([Upsert(new)])  # type: ignore[arg-type]
    report = proxier.sync()
    seconds = time.perf_counter() - started
    assert report.changed, "nothing was programmed"
    assert not report.full, "a partial sync was to be measured"
    return seconds


def _load(text: str) -> float:
    """Seconds that an nft process takes for a text."""
    started = time.perf_counter()
    subprocess.run(["nft", "-f", "-"], input=text.encode(), check=True)
    return time.perf_counter() - started


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


MEASUREMENTS: dict[str, Callable[..., Figures]] = {
    function.__name__: function
    for function in (
        first_sync,
        nft_text,
        changes,
        restart,
        memory,
        yardstick,
        packet_path,
    )
}


def main() -> None:
    """Run the measurement that the command line names."""
    name, *arguments = sys.argv[1:]
    print(json.dumps(MEASUREMENTS[name](*map(int, arguments))))  # noqa: T201


if __name__ == "__main__":
    main()
