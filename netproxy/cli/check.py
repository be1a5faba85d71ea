"""``netproxy check``: are these manifests right?"""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from netproxy.cli import output
from netproxy.cli.options import output_flag
from netproxy.errors import EXIT_BAD_INPUT, EXIT_OK
from netproxy.model.diagnostic import Severity


@click.command()
@click.option(
    "-f",
    "--filename",
    "filenames",
    multiple=True,
    required=True,
    type=click.Path(allow_dash=True),
    help="A manifest, a directory of manifests, or - for standard input; repeatable.",
)
@output_flag
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Whether to use colours.",
)
def check(*, filenames: tuple[str, ...], output_format: str, color: str) -> int:
    """Validate manifests: file, line and field of every finding.

    Exit code 0: nothing wrong, or warnings only; 2: at least one error.
    """
    from netproxy.sources.manifests import read_manifests

    with output.progress(filenames, color=color) as say:
        say("reading manifests")
        manifests = read_manifests(filenames)
    severities = Counter(d.severity for d in manifests.diagnostics)
    errors, warnings = severities[Severity.ERROR], severities[Severity.WARNING]
    kinds = Counter(type(obj).__name__ for obj in manifests.objects)
    if output_format == "json":
        document: dict[str, Any] = {
            "diagnostics": [
                {**d._asdict(), "severity": d.severity.value} for d in manifests.diagnostics
            ],
            "errors": errors,
            "warnings": warnings,
            "objects": dict(kinds),
        }
        output.print_json(document)
    else:
        output.print_diagnostics(manifests.diagnostics, color=color)
        click.echo(f"{sum(kinds.values())} objects, {errors} errors, {warnings} warnings")
    return EXIT_BAD_INPUT if errors else EXIT_OK
