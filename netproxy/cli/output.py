"""What commands print: for a person at a terminal, for a pipe, for a program.

Results go to stdout; diagnostics, notes and progress to stderr. In a pipe everything is plain.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TextIO

import click

from netproxy.model.diagnostic import Diagnostic, Severity

if TYPE_CHECKING:
    from netproxy.proxier import SyncReport

_LONG_WORK_BYTES = 500_000
"""Manifests larger than this are worth a progress bar: some 1,000 Services."""
_STEPS = 4
"""Of a progress bar: reading, computing, programming each family."""

Say = Callable[[str], None]

_NFT_WORDS = re.compile(
    r"(?P<comment>#.*)"
    r"|(?P<verb>\b(?:add|delete|flush|table|chain|map|set|type|hook|priority|policy|elements)\b)"
    r"|(?P<verdict>\b(?:goto|jump|dnat|masquerade|reject|drop|accept|return|vmap)\b)"
    r"|(?P<map>@[\w-]+)"
    r"|(?P<address>\b\d+\.\d+\.\d+\.\d+(?:/\d+)?|\b[0-9a-f]*:[0-9a-f:.]*:[0-9a-f:]*(?:/\d+)?)"
)
_NFT_COLORS = {
    "comment": "bright_black",
    "verb": "blue",
    "verdict": "magenta",
    "map": "yellow",
    "address": "cyan",
}


def uses_color(choice: str, stream: TextIO) -> bool:
    """Whether to colour: ``--color``, then NO_COLOR, then whether a person is looking."""
    if choice != "auto":
        return choice == "always"
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_rules(text: str, *, color: str) -> None:
    """Print nft syntax."""
    if uses_color(color, sys.stdout):
        text = "".join(_highlight(line) for line in text.splitlines(keepends=True))
    sys.stdout.write(text)


def print_json(value: object) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_note(text: str) -> None:
    """Say something beside the result."""
    click.echo(printable(text), err=True)


def print_diagnostics(diagnostics: Iterable[Diagnostic], *, color: str) -> None:
    """Print findings about objects, one per line: ``error: web.yaml:3: Service default/web: …``."""
    is_colored = uses_color(color, sys.stderr)
    for diagnostic in diagnostics:
        word = f"{diagnostic.severity.value}:"
        if is_colored:
            word = click.style(
                word, fg="red" if diagnostic.severity is Severity.ERROR else "yellow"
            )
        click.echo(f"{word} {printable(str(diagnostic))}", err=True, color=is_colored)


def printable(text: str) -> str:
    r"""The text on one line and without control characters, whoever wrote it.

    Example:
        >>> printable("web\x1b[2J\n")
        'web\\x1b[2J\\n'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def report_to_json(report: SyncReport, diagnostics: Sequence[Diagnostic]) -> dict[str, object]:
    """A sync's summary for programs."""
    return {
        "full": report.full,
        "services": report.services,
        "endpoints": report.endpoints,
        "families": [
            {
                "family": each.family.label,
                "operations": each.operations,
                "elementsAdded": each.elements_added,
                "elementsDeleted": each.elements_deleted,
            }
            for each in report.families
        ],
        "forgottenFlows": report.forgotten_flows,
        "compileMs": round(report.compile_ms, 3),
        "kernelMs": round(report.kernel_ms, 3),
        "diagnostics": [
            {**diagnostic._asdict(), "severity": diagnostic.severity.value}
            for diagnostic in diagnostics
        ],
    }


def print_report(report: SyncReport, *, color: str) -> None:
    """Print a sync's summary for a person; a table on a terminal, lines in a pipe."""
    total = (
        f"{report.services} services, {report.endpoints} endpoints; computed in "
        f"{report.compile_ms:.1f} ms, programmed in {report.kernel_ms:.1f} ms"
    )
    rows = [
        (each.family.label, each.operations, each.elements_added, each.elements_deleted)
        for each in report.families
    ]
    if not sys.stdout.isatty():
        for family, operations, added, deleted in rows:
            click.echo(f"{family}: {operations} operations, {added} added, {deleted} deleted")
        click.echo(total)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("family")
    for heading in ("operations", "added", "deleted"):
        table.add_column(heading, justify="right")
    for family, *numbers in rows:
        table.add_row(family, *(f"{number:,}" if number else "-" for number in numbers))
    console = Console(color_system=_color_system(color, sys.stdout), highlight=False)
    console.print(table)
    console.print(total)


@contextlib.contextmanager
def progress(paths: Sequence[str], *, color: str) -> Iterator[Say]:
    """A bar on a terminal for long work; call what it yields with the name of each step."""
    if not (sys.stderr.isatty() and is_long_work(paths)):
        yield _say_nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, color_system=_color_system(color, sys.stderr))
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=24),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=_STEPS, completed=-1)

        def say(words: str) -> None:
            bar.update(task, description=words, advance=1, refresh=True)

        yield say


def is_long_work(paths: Sequence[str]) -> bool:
    """Whether these manifests are large enough to make a person wait."""
    from pathlib import Path

    size = 0
    for path in paths:
        if path == "-":
            return True
        with contextlib.suppress(OSError):  # whoever reads them says what is wrong
            there = Path(path)
            files = there.rglob("*") if there.is_dir() else [there]
            size += sum(file.stat().st_size for file in files)
    return size > _LONG_WORK_BYTES


def _color_system(choice: str, stream: TextIO) -> Literal["auto"] | None:
    return "auto" if uses_color(choice, stream) else None


def _say_nothing(_words: str) -> None:
    return


def _highlight(line: str) -> str:
    def paint(match: re.Match[str]) -> str:
        return click.style(match.group(), fg=_NFT_COLORS[match.lastgroup or ""])

    return _NFT_WORDS.sub(paint, line)
