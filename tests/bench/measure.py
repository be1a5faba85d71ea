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

from netproxy.backends.nftables.dataplane import nftables_dataplanes
from netproxy.backends.nftables.names import TABLE
from netproxy.dataplanes import render_all
from netproxy.kernel.nftables import Tables
from netproxy.model.events import Event, Listed, Upsert
from netproxy.model.ip import Family
from netproxy.model.parse import parse_object
from netproxy.nft.fake import FakeTable
from netproxy.proxier import Proxier
from tests.bench import iptables, path, world

Figures = dict[str, float]


def first_sync(services: int) -> Figures:
    """Objects in memory → kernel committed."""
    proxier, seconds = _programmed(world.cluster(services))
    del proxier
    return {"seconds": seconds}


def nft_text(services: int) -> Figures:
    """The same rule set as text, through ``nft -f``."""
    proxier = Proxier(world.CONFIG, nftables_dataplanes({Family.IPV4: FakeTable(Family.IPV4)}))
    proxier.apply_events(world.cluster(services))
    text = render_all(proxier.plan(against_kernel=False), proxier.owners, title="bench")
    return {"seconds": _load(text), "megabytes": len(text) / 1e6}


def changes(services: int, count: int, tidy_every: int) -> Figures:
    """One endpoint less and one more, of random Services; event → kernel committed.

    Before every so many Services the chains that nobody uses are deleted, as the daemon does in
    a pause. The change that follows has to make its class chain again.
    """
    proxier, _ = _programmed(world.cluster(services))
    dice = random.Random(1)
    tidied: list[float] = []
    busy: list[float] = []
    for number in range(count):
        service = dice.randrange(services)
        is_tidied = number % tidy_every == 0
        if is_tidied:
            proxier.tidy()
        fewer = world.slice_of(service, world.ENDPOINTS - 1)
        (tidied if is_tidied else busy).append(_timed(proxier, fewer))
        busy.append(_timed(proxier, world.slice_of(service)))
    return {
        **_in_milliseconds(tidied + busy),
        **{f"tidied_{name}": value for name, value in _in_milliseconds(tidied).items()},
        **{f"busy_{name}": value for name, value in _in_milliseconds(busy).items()},
        "changes": float(len(tidied) + len(busy)),
    }


def exchanges(services: int, count: int) -> Figures:
    """One endpoint exchanged for another, of random Services."""
    proxier, _ = _programmed(world.cluster(services))
    dice = random.Random(1)
    times = [
        _timed(proxier, world.slice_of(dice.randrange(services), exchanged=number))
        for number in range(1, count + 1)
    ]
    return {**_in_milliseconds(times), "changes": float(count)}


def restart(services: int) -> Figures:
    """A new process finds everything as it should be."""
    child = os.fork()
    if child == 0:
        _programmed(world.cluster(services))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, "the first process failed"
    proxier = Proxier(world.CONFIG, nftables_dataplanes(Tables(TABLE, [Family.IPV4]).by_family))
    events = world.cluster(services)
    started = time.perf_counter()
    proxier.apply_events(events)
    report = proxier.sync()
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "operations": float(report.families[0].operations)}


def memory(services: int) -> Figures:
    """Resident memory of a process that has read, programmed and keeps so many Services.

    Each object comes out of JSON of its own, so that no two share a string that only this
    program would share.
    """
    events: list[Event] = []
    for document in world.manifests(services):
        events += (Upsert(o) for o in parse_object(json.loads(json.dumps(document))).objects)
    proxier, _ = _programmed([*events, Listed()])
    del events
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    assert proxier.is_listed
    return {
        "megabytes": int(status["VmRSS"].split()[0]) / 1024,
        "peak_megabytes": int(status["VmHWM"].split()[0]) / 1024,
    }


def yardstick(services: int, limit_s: int) -> Figures:
    """A chain for each Service: loaded, then one Service changed, again and again."""
    load = _load("".join(world.chain_per_service(services)), limit_s)
    dice = random.Random(1)
    times = [
        _load("".join(world.service_chain(service, endpoints)), limit_s)
        for service in dice.sample(range(services), 5)
        for endpoints in (world.ENDPOINTS - 1, world.ENDPOINTS)
    ]
    start = statistics.median(_load("", limit_s) for _ in range(5))
    return {
        "load_seconds": load,
        "change_ms": statistics.median(times) * 1000,
        "start_ms": start * 1000,
    }


def packets_to_one(few: int, many: int) -> Figures:
    """First packets to one Service, with few and with many Services beside it."""
    return path.compare(_nodes(few, many, 1), dict.fromkeys(("bare", "few", "many"), 1))


def packets_to_all(few: int, many: int) -> Figures:
    """First packets to all of few or of many Services: each finds its part of the maps cold."""
    return path.compare(_nodes(few, many, many), {"bare": many, "few": few, "many": many})


def _nodes(few: int, many: int, bare: int) -> dict[str, Callable[[], object]]:
    return {
        "bare": lambda: [_load(text) for text in path.bare_rules(bare)],
        "few": lambda: _programmed(world.cluster(few)),
        "many": lambda: _programmed(world.cluster(many)),
    }


def _programmed(events: list[Event]) -> tuple[Proxier, float]:
    """A proxier in step with the kernel, and the seconds from objects to commit."""
    proxier = Proxier(world.CONFIG, nftables_dataplanes(Tables(TABLE, [Family.IPV4]).by_family))
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


def _load(text: str, limit_s: float | None = None) -> float:
    """Seconds that an nft process takes for a text."""
    started = time.perf_counter()
    command = ["nft", "-f", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=limit_s)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[0]
        raise RuntimeError(f"nft -f: {said}")
    return seconds


def _in_milliseconds(times: list[float]) -> Figures:
    ordered = sorted(times)
    rank = -(-99 * len(ordered) // 100) - 1  # the nearest rank that 99 % do not exceed
    figures = {"p50": statistics.median(ordered), "p99": ordered[rank], "max": ordered[-1]}
    return {f"{name}_ms": value * 1000 for name, value in figures.items()}


MEASUREMENTS: dict[str, Callable[..., Figures]] = {
    function.__name__: function
    for function in (
        first_sync,
        nft_text,
        changes,
        exchanges,
        restart,
        memory,
        yardstick,
        packets_to_one,
        packets_to_all,
        iptables.iptables_first_sync,
        iptables.iptables_changes,
        iptables.iptables_restart,
        iptables.iptables_memory,
        iptables.iptables_rules_passed,
    )
}


def main() -> None:
    """Run the measurement that the command line names."""
    name, *arguments = sys.argv[1:]
    if name.startswith("cluster_"):
        # Imported by those alone that measure it: an HTTP server would count as our memory.
        from tests.bench import cluster

        measurement: Callable[..., Figures] = getattr(cluster, name)
    elif name.startswith("dns_"):
        from tests.bench import names

        measurement = getattr(names, name)
    elif name.startswith("api_"):
        from tests.bench import api

        measurement = getattr(api, name)
    elif name.startswith("born_"):
        from tests.bench import born

        measurement = getattr(born, name)
    else:
        measurement = MEASUREMENTS[name]
    print(json.dumps(measurement(*map(int, arguments))))  # noqa: T201


if __name__ == "__main__":
    main()
