"""The rows of iptables mode."""

from __future__ import annotations

import statistics

from tests.bench.rows import RUNS, Result, Row, measure

_SERVICES = 10_000


def _first() -> Result:
    runs = [measure("iptables_first_sync", _SERVICES)["seconds"] for _ in range(RUNS)]
    seconds = statistics.median(runs)
    note = f"median of {RUNS}; {min(runs):.2f} to {max(runs):.2f} s"
    return Result(f"{seconds:.2f} s", seconds <= 4, note, {"seconds": runs})


def _change() -> Result:
    f = measure("iptables_changes", _SERVICES, 10)
    return Result(
        f"median {f['median']:.2f} s, slowest {f['slowest']:.2f} s",
        f["median"] <= 1.2,
        "the kernel replaces the whole table, whatever changes in it",
        f,
    )


def _restart() -> Result:
    f = measure("iptables_restart", _SERVICES)
    measured = f"{f['seconds']:.2f} s, {f['operations']:.0f} operations"
    return Result(measured, f["operations"] == 0, "", f)


def _memory() -> Result:
    f = measure("iptables_memory", _SERVICES)
    note = f"objects parsed from JSON; at most {f['peak_megabytes']:.0f} MB on the way"
    return Result(f"{f['megabytes']:.0f} MB", f["megabytes"] <= 200, note, f)


def _rules() -> Result:
    f = measure("iptables_rules_passed", _SERVICES)
    note = f"an upper bound; kube-proxy's list of services alone has {f['flat']:.0f}"
    return Result(f"{f['rules']:.0f}", f["rules"] <= 600, note, f)


ROWS = (
    Row("iptables-first", "iptables-legacy: first sync, 10,000 x 5", "≤ 4 s", _first),
    Row("iptables-change", "iptables-legacy: one endpoint more or less", "≤ 1.2 s", _change),
    Row("iptables-restart", "iptables-legacy: restart", "writes nothing", _restart),
    Row("iptables-memory", "iptables mode: resident memory, 10,000 x 5", "≤ 200 MB", _memory),
    Row("iptables-rules", "iptables mode: rules that a packet passes at most", "≤ 600", _rules),
)
