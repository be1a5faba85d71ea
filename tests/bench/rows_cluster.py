"""The rows of a daemon in a cluster."""

from __future__ import annotations

import statistics

from tests.bench.rows import RUNS, Result, Row, measure

_SERVICES = 10_000


def _start() -> Result:
    runs = [measure("cluster_start", _SERVICES) for _ in range(RUNS)]
    times = [run["seconds"] for run in runs]
    note = f"median of {RUNS}; {min(times):.2f} to {max(times):.2f} s; the process's start included"
    return Result(f"{statistics.median(times):.2f} s", None, note, {"seconds": times})


def _memory() -> Result:
    f = measure("cluster_start", _SERVICES)
    note = f"at most {f['peak_megabytes']:.0f} MB on the way; health, metrics and events included"
    return Result(f"{f['megabytes']:.0f} MB", f["megabytes"] <= 150, note, f)


def _change() -> Result:
    f = measure("cluster_changes", _SERVICES, 50)
    return Result(
        f"median {f['p50_ms']:.1f} ms, p99 {f['p99_ms']:.1f} ms",
        f["p50_ms"] <= 20,
        f"{f['changes']:.0f} changes, each after a pause, the server's own part included",
        f,
    )


def _decode() -> Result:
    f = measure("cluster_decode", _SERVICES)
    note = "CPU time of reading, decoding and checking; gzip over loopback"
    return Result(f"{f['seconds']:.2f} s", f["seconds"] <= 2, note, f)


ROWS = (
    Row("cluster-decode", "10,000 Services and slices from an API server", "≤ 2 s", _decode),
    Row("cluster-start", "run: from its start to all rules, 10,000 x 5 over HTTP", "", _start),
    Row(
        "cluster-change",
        "run: one endpoint more or less, API server → kernel",
        "median ≤ 20 ms",
        _change,
    ),
    Row("cluster-memory", "run: resident memory, 10,000 x 5", "≤ 150 MB", _memory),
)
