"""``python -m tests.bench``: every figure, beside its target."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import rows, rows_api, rows_cluster, rows_iptables, rows_names, rows_served, world
from tests.bench.rows import ROOT, Result, Row

ROWS = (
    *rows.ROWS, *rows_cluster.ROWS, *rows_iptables.ROWS, *rows_names.ROWS, *rows_served.ROWS,
    *rows_api.ROWS,
)  # fmt: skip
_HEADINGS = ("row", "measured", "target", "met", "note")
_MET = {True: "yes", False: "NO", None: ""}


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
        "kernel": f"Linux {platform.release()}",
        "python": f"Python {platform.python_version()}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        # What else the machine did: with two processors, 1.0 is half of it.
        "load": f"load {os.getloadavg()[0]:.1f} before",
    }


def run_row(row: Row) -> Result:
    """Measure; an error is this row's result, and the others go on."""
    try:
        return row.run()
    except (
        ArithmeticError,
        LookupError,
        OSError,
        RuntimeError,
        ValueError,
        subprocess.SubprocessError,
    ) as error:
        return Result("failed", False if row.target else None, str(error), {})


def choose(beginnings: Sequence[str], *, is_quick: bool) -> list[Row]:
    """The rows whose names begin so, or all; a row named in full is never too long.

    Raises:
        ValueError: no row's name begins so.
    """
    for beginning in beginnings:
        if not any(row.name.startswith(beginning) for row in ROWS):
            names = ", ".join(row.name for row in ROWS)
            raise ValueError(f"no such row: {beginning}; there are: {names}")
    wanted = [row for row in ROWS if not beginnings or row.name.startswith(tuple(beginnings))]
    return [row for row in wanted if row.name in beginnings or not (is_quick and row.is_long)]


def show(console: Console, where: dict[str, str], lines: Sequence[Sequence[str]]) -> None:
    """A table on a terminal, aligned columns elsewhere."""
    title = ", ".join(where.values())
    if console.is_terminal:
        table = Table(title=title, title_justify="left")
        for heading in _HEADINGS:
            table.add_column(heading, style="dim" if heading == "note" else "")
        for line in lines:
            table.add_row(*line)
        console.print(table)
        return
    columns = zip(_HEADINGS, *lines, strict=True)
    widths = [max(map(len, column)) for column in columns]
    out = [title, ""]
    for line in (_HEADINGS, *lines):
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        out.append("  ".join(cells).rstrip())
    sys.stdout.write("\n".join(out) + "\n")


def main() -> None:
    """Measure, print a table, write JSON."""
    names = ", ".join(row.name for row in ROWS)
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="row", help=f"beginnings of: {names}")
    parser.add_argument("--quick", action="store_true", help="leave out what takes long")
    parser.add_argument(
        "--half",
        action="append",
        choices=list(world.FEATURES),
        default=[],
        help="give every second Service this feature",
    )
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json")
    options = parser.parse_args()
    try:
        wanted = choose(options.rows, is_quick=options.quick)
    except ValueError as error:
        parser.error(str(error))
    os.environ[world.HALF] = ",".join(options.half)
    console, notes = Console(), Console(stderr=True)
    where = machine()
    if options.half:
        where["half"] = f"{' and '.join(options.half)} on half of the Services"
    results: list[tuple[Row, Result]] = []
    for number, row in enumerate(wanted, 1):
        progress = f"{number}/{len(wanted)} {row.what}"
        if notes.is_terminal:
            with notes.status(progress):
                results.append((row, run_row(row)))
        else:
            sys.stderr.write(f"{progress}\n")
            results.append((row, run_row(row)))
    lines = [
        (row.what, found.measured, row.target, _MET[found.is_met], found.note)
        for row, found in results
    ]
    show(console, where, lines)
    entries = [
        {"name": row.name, "what": row.what, "target": row.target, **found._asdict()}
        for row, found in results
    ]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": where, "rows": entries}
    options.json.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    sys.stderr.write(f"written: {options.json}\n")


if __name__ == "__main__":
    main()
