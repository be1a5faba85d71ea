"""The rows of a cluster without Kubernetes."""

from __future__ import annotations

from tests.bench.rows import Result, Row, measure

_SERVICES = 30


def _born() -> Result:
    f = measure("born_services", _SERVICES)
    note = (
        f"slowest {f['slowest_ms']:.0f} ms; the API has it after {f['api_ms']:.1f} ms, its slice "
        f"is told after {f['slice_ms']:.1f} ms; then rules on the other node, and the asking"
    )
    return Result(f"median {f['answer_ms']:.0f} ms", f["answer_ms"] <= 100, note, f)


ROWS = (
    Row(
        "served-born",
        "standalone: create a Service → it answers a Pod on another node",
        "median ≤ 100 ms",
        _born,
    ),
)
