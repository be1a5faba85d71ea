"""``python -m tests.bench``: every figure, beside its target."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent.parent
_TIMEOUT_S = 300
_RUNS = 3


class Row(NamedTuple):
    """One line of the table."""

    what: str
    measured: str
    target: str
    is_met: bool | None
    """None: there is no target."""
    figures: dict[str, Any]


def measure(name: str, *arguments: int) -> dict[str, float]:
    """One measurement in a process and a network namespace of its own."""
    command = ["unshare", "--net", "--", sys.executable, "-m", "tests.bench.measure", name]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["failed"])[-1]
        raise RuntimeError(last)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def median_of(name: str, *arguments: int, figure: str = "seconds", runs: int = _RUNS) -> float:
    """The median of a figure over some processes."""
    return statistics.median(measure(name, *arguments)[figure] for _ in range(runs))


def first_syncs(*, is_quick: bool) -> Iterator[Row]:
    """Loading everything, against nft with the same rules."""
    ours = median_of("first_sync", 10_000)
    nft = median_of("nft_text", 10_000)
    ratio = ours / nft
    yield Row(
        "first sync, 10,000 services x 5 endpoints",
        f"{ours:.2f} s; nft -f: {nft:.2f} s; ratio {ratio:.2f}",
        "≤ 0.6 s, ≤ nft -f",
        ours <= 0.6 and ratio <= 1,
        {"seconds": ours, "nft_seconds": nft, "ratio": ratio},
    )
    if not is_quick:
        large = median_of("first_sync", 100_000)
        yield Row(
            "first sync, 100,000 x 5", f"{large:.2f} s", "≤ 6 s", large <= 6, {"seconds": large}
        )


def single_changes(*, is_quick: bool) -> Iterator[Row]:
    """One endpoint more or less."""
    f = measure("changes", 10_000, 200)
    yield Row(
        "one endpoint added or removed, 10,000 services",
        f"median {f['p50_ms']:.1f} ms, p99 {f['p99_ms']:.1f} ms",
        "median ≤ 5 ms, p99 ≤ 15 ms",
        f["p50_ms"] <= 5 and f["p99_ms"] <= 15,
        f,
    )
    yield Row(
        "one endpoint exchanged, 10,000 services",
        f"median {f['exchange_p50_ms']:.2f} ms, p99 {f['exchange_p99_ms']:.2f} ms",
        "",
        None,
        {},
    )
    if not is_quick:
        f = measure("changes", 100_000, 20)
        yield Row(
            "one endpoint added or removed, 100,000 services",
            f"median {f['p50_ms']:.0f} ms, p99 {f['p99_ms']:.0f} ms",
            "≤ 50 ms",
            f["p50_ms"] <= 50,
            f,
        )


def lives(*, is_quick: bool) -> Iterator[Row]:
    """Restart, memory, start of the program."""
    runs = [measure("restart", 10_000) for _ in range(_RUNS)]
    seconds = statistics.median(r["seconds"] for r in runs)
    operations = max(r["operations"] for r in runs)
    yield Row(
        "restart, nothing changed, 10,000 services",
        f"{seconds:.2f} s, {operations:.0f} operations",
        "≤ 1 s, writes nothing",
        seconds <= 1 and operations == 0,
        {"seconds": seconds, "operations": operations},
    )
    megabytes = median_of("memory", 10_000, figure="megabytes", runs=1)
    yield Row(
        "resident memory, 10,000 x 5",
        f"{megabytes:.0f} MB",
        "≤ 150 MB",
        megabytes <= 150,
        {"megabytes": megabytes},
    )
    start = _start_ms("--help")
    yield Row("netproxy --help", f"{start:.0f} ms", "≤ 150 ms", start <= 150, {"ms": start})
    render = _start_ms("render", "-f", "templates/demo", "--node-ip", "192.0.2.1")
    yield Row(
        "netproxy render of the demo's manifests", f"{render:.0f} ms", "", None, {"ms": render}
    )


def _start_ms(*arguments: str) -> float:
    """Median of whole processes, in milliseconds."""
    times = []
    for _ in range(9):
        started = time.perf_counter()
        command = [sys.executable, "-m", "netproxy", *arguments]
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def packets(*, is_quick: bool) -> Iterator[Row]:
    """The way of a connection's first packet."""
    f = measure("packet_path", 10, 10_000)
    yield Row(
        "first packet of a connection: 10,000 services against 10",
        f"{f['many_us']:.2f} µs against {f['few_us']:.2f} µs: ratio {f['ratio']:.3f} "
        f"({f['ratio_low']:.3f} to {f['ratio_high']:.3f})",
        "within 5 %",
        f["ratio"] <= 1.05,
        f,
    )


def yardstick(*, is_quick: bool) -> Iterator[Row]:
    """What a chain for each service costs."""
    for services in (1000,) if is_quick else (1000, 10_000):
        f = measure("yardstick", services)
        yield Row(
            f"yardstick: a chain for each of {services:,} services, through nft -f",
            f"load {f['load_seconds']:.2f} s, one change {f['change_ms']:.0f} ms",
            "",
            None,
            f,
        )


GROUPS = {
    "first": first_syncs,
    "change": single_changes,
    "life": lives,
    "packet": packets,
    "yardstick": yardstick,
}


def machine() -> dict[str, str]:
    """Where the figures come from."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": f"{os.cpu_count()} x {model}",
        "memory": f"{pages / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("groups", nargs="*", choices=[[], *GROUPS], help="default: all")
    parser.add_argument("--quick", action="store_true", help="leave 100,000 services out")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json")
    options = parser.parse_args()
    console, notes = Console(), Console(stderr=True)
    where = machine()
    rows: list[Row] = []
    for name in options.groups or GROUPS:
        with notes.status(f"measuring: {name}"):
            try:
                rows += GROUPS[name](is_quick=options.quick)
            except (RuntimeError, subprocess.SubprocessError, OSError) as error:
                rows.append(Row(name, f"failed: {error}", "", False, {}))
    table = Table(title=", ".join(where.values()), title_justify="left")
    for heading in ("what", "measured", "target", "met"):
        table.add_column(heading)
    for row in rows:
        table.add_row(*row[:3], {True: "yes", False: "NO", None: ""}[row.is_met])
    console.print(table)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": where, "rows": [row._asdict() for row in rows]}
    options.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    notes.print(f"written: {options.json}")


if __name__ == "__main__":
    main()
