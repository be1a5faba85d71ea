"""Measurements of iptables mode; see ``measure``. The programs are those of iptables-legacy."""

from __future__ import annotations

import gc
import json
import os
import random
import time
from pathlib import Path

from netproxy.backends.iptables.dataplane import iptables_dataplanes
from netproxy.core.config import ProxyMode
from netproxy.dataplanes import in_kernel
from netproxy.ipt.fake import FakeIptables
from netproxy.ipt.text import Tables
from netproxy.model.events import Event, Listed, Upsert
from netproxy.model.ip import Family
from netproxy.model.parse import parse_object
from netproxy.proxier import Proxier
from netproxy.render.environment import fill_in
from tests.bench import world

CONFIG = world.CONFIG._replace(mode=ProxyMode.IPTABLES, iptables_variant="legacy")

Figures = dict[str, float]


def iptables_first_sync(services: int) -> Figures:
    """Objects in memory → kernel committed."""
    _, seconds = _programmed(world.cluster(services))
    return {"seconds": seconds}


def iptables_changes(services: int, count: int) -> Figures:
    """One endpoint less and one more, of random Services; event → kernel committed."""
    proxier, _ = _programmed(world.cluster(services))
    dice = random.Random(1)
    times = []
    for _ in range(count):
        service = dice.randrange(services)
        for endpoints in (world.ENDPOINTS - 1, world.ENDPOINTS):
            started = time.perf_counter()
            proxier.apply_events([Upsert(world.slice_of(service, endpoints))])
            report = proxier.sync()
            times.append(time.perf_counter() - started)
            assert report.changed
            assert not report.full
    return {"median": sorted(times)[len(times) // 2], "slowest": max(times)}


def iptables_restart(services: int) -> Figures:
    """A new process finds everything as it should be."""
    child = os.fork()
    if child == 0:
        _programmed(world.cluster(services))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0, "the first process failed"
    events = world.cluster(services)
    proxier = Proxier(CONFIG, in_kernel(CONFIG).by_family)
    started = time.perf_counter()
    proxier.apply_events(events)
    report = proxier.sync()
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "operations": float(report.families[0].operations)}


def iptables_memory(services: int) -> Figures:
    """Resident memory of a process that has read, programmed and keeps so many Services."""
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


def iptables_rules_passed(services: int) -> Figures:
    """How many rules the first packet of a connection is held against, at most."""
    tables = FakeIptables(Family.IPV4)
    proxier = Proxier(CONFIG, iptables_dataplanes({Family.IPV4: tables}, fill_in))
    proxier.apply_events(world.cluster(services))
    proxier.sync()
    return {"rules": float(most_rules_passed(tables.tables)), "flat": float(services)}


def most_rules_passed(tables: Tables) -> int:
    """An upper bound over all packets: forwarded, or to and from the node itself.

    In a list that leads to several chains a packet takes the longest one, and after it the
    list's last rule's, where those that nobody took go on. Endpoint chains end the walk.
    """
    ways = (
        (("nat", "PREROUTING"), ("filter", "FORWARD"), ("nat", "POSTROUTING")),
        (("nat", "PREROUTING"), ("filter", "INPUT")),
        (("nat", "OUTPUT"), ("filter", "OUTPUT"), ("nat", "POSTROUTING")),
    )
    return max(sum(_length(tables[table].chains, chain) for table, chain in way) for way in ways)


def _length(chains: dict[str, str], chain: str) -> int:
    lines = chains[chain].splitlines()
    targets = [line.rpartition(" -j ")[2].split(" ")[0] for line in lines]
    is_built_in = not chain.startswith("KUBE-")
    lengths = [_length(chains, target) for target in targets if target in chains]
    if is_built_in:
        return len(lines) + sum(lengths)
    last = lengths[-1:] if chain == "KUBE-SERVICES" else []
    return len(lines) + max(lengths, default=0) + sum(last)


def _programmed(events: list[Event]) -> tuple[Proxier, float]:
    """A proxier in step with the kernel, and the seconds from objects to commit."""
    proxier = Proxier(CONFIG, in_kernel(CONFIG).by_family)
    started = time.perf_counter()
    proxier.apply_events(events)
    proxier.sync()
    return proxier, time.perf_counter() - started
