"""The rows of the API server."""

from __future__ import annotations

import statistics

from tests.bench.rows import RUNS, Result, Row, measure

_CLIENTS, _EACH = 32, 100
_WATCHERS, _WRITERS, _EVENTS_EACH = 500, 8, 50
_WRITES_TARGET = 1_000
_EVENTS_TARGET = 20_000


def _result(runs: list[dict[str, float]], target: int, note: str) -> Result:
    rates = [run["rate"] for run in runs]
    rate = statistics.median(rates)
    cpu = statistics.median(run["cpu_us"] for run in runs)
    note = (
        f"median of {RUNS}; {min(rates):,.0f} to {max(rates):,.0f}/s; {cpu:.0f} µs of the server's "
        f"processor each; {note}"
    )
    return Result(f"{rate:,.0f}/s", rate >= target, note, {"rates": rates, "cpu_us": cpu})


def _writes() -> Result:
    runs = [measure("api_writes", _CLIENTS, _EACH) for _ in range(RUNS)]
    return _result(runs, _WRITES_TARGET, f"{_CLIENTS} clients, each waits for its answer; TLS")


def _events() -> Result:
    runs = [measure("api_events", _WATCHERS, _WRITERS, _EVENTS_EACH) for _ in range(RUNS)]
    note = f"{_WATCHERS} watchers over TLS, {_WRITERS} writers; all clients in one process"
    return _result(runs, _EVENTS_TARGET, note)


ROWS = (
    Row(
        "api-writes",
        "API server: Services created, with addresses, on the disk when answered",
        "≥ 1,000/s",
        _writes,
    ),
    Row(
        "api-events",
        "API server: events delivered to 500 watchers, all together",
        "≥ 20,000/s",
        _events,
    ),
)
