"""The rows of cluster DNS."""

from __future__ import annotations

import shutil
import statistics

from tests.bench.rows import RUNS, Result, Row, measure

_SERVICES = 10_000
_SECONDS = 4
_TARGET = 10_000


def _asked(name: str) -> Result:
    if shutil.which("dnsperf") is None:
        raise RuntimeError("dnsperf is not installed")
    runs = [measure(name, _SERVICES, _SECONDS) for _ in range(RUNS)]
    rates = [run["rate"] for run in runs]
    cpu = statistics.median(run["cpu_us"] for run in runs)
    rate = statistics.median(rates)
    note = (
        f"median of {RUNS}; {min(rates):,.0f} to {max(rates):,.0f}/s; {cpu:.1f} µs of processor "
        f"each; {sum(run['lost'] for run in runs):.0f} lost; dnsperf beside it, over loopback"
    )
    return Result(f"{rate:,.0f}/s", rate >= _TARGET, note, {"rates": rates, "cpu_us": cpu})


def _changes() -> Result:
    f = measure("dns_changes", _SERVICES, 1000)
    note = "1,000 changes of headless Services with 5 endpoints, each followed by its question"
    return Result(f"median {f['p50_us']:.0f} µs, slowest {f['max_us']:.0f} µs", None, note, f)


def _load() -> Result:
    runs = [measure("dns_load", _SERVICES)["seconds"] for _ in range(RUNS)]
    note = f"median of {RUNS}; objects in memory; {min(runs):.2f} to {max(runs):.2f} s"
    return Result(f"{statistics.median(runs):.2f} s", None, note, {"seconds": runs})


ROWS = (
    Row(
        "dns-answers",
        "DNS: answers from one process, addresses among 10,000 Services",
        "≥ 10,000/s",
        lambda: _asked("dns_answers"),
    ),
    Row(
        "dns-missing",
        "DNS: names that do not exist, as search paths make them",
        "≥ 10,000/s",
        lambda: _asked("dns_missing"),
    ),
    Row("dns-change", "DNS: one endpoint more or less → its answer", "", _changes),
    Row("dns-load", "DNS: 10,000 Services x 5 endpoints have names", "", _load),
)
