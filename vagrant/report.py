"""What the machines' tests said: from JUnit files to a summary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_SUITE = re.compile("<testsuite [^>]*>")
_NUMBER = re.compile(r'(errors|failures|skipped|tests|time)="([0-9.]+)"')
_OUTCOMES = {"failures": "failed", "errors": "error", "skipped": "skipped"}
_ORDER = ("failed", "error", "passed", "skipped")


class Report(NamedTuple):
    """What one machine said."""

    machine: str
    counts: Counter[str]
    """How many tests passed, failed, were skipped or ended in an error."""
    seconds: float
    verdict: str
    """pytest's exit code, or what is wrong instead."""

    @property
    def is_good(self) -> bool:
        return self.verdict == "0" and self.counts["passed"] > 0 and not self._bad

    @property
    def _bad(self) -> int:
        return self.counts["failed"] + self.counts["error"]

    def __str__(self) -> str:
        trouble = "" if self.verdict == "0" else f"; pytest: {self.verdict}"
        return f"{describe(self.counts)} in {self.seconds:.2f}s{trouble}"


def read_report(machine: str, directory: Path) -> Report:
    """The report that a machine left; one without tests if it left none."""
    try:
        suite = _SUITE.search((directory / "junit.xml").read_text())
        verdict = (directory / "verdict").read_text().strip()
    except OSError as error:
        return Report(machine, Counter(), 0.0, f"no results: {error.strerror}")
    if suite is None:
        return Report(machine, Counter(), 0.0, "junit.xml has no test suite")
    said = {name: float(value) for name, value in _NUMBER.findall(suite[0])}
    counts = Counter({word: int(said[name]) for name, word in _OUTCOMES.items()})
    counts["passed"] = int(said["tests"]) - counts.total()
    return Report(machine, counts, said["time"], verdict)


def describe(counts: Counter[str]) -> str:
    """As pytest puts it.

    Example:
        >>> describe(Counter(passed=3, failed=1))
        '1 failed, 3 passed'
    """
    return ", ".join(f"{counts[word]} {word}" for word in _ORDER if counts[word]) or "no tests ran"


def closing_line(reports: Sequence[Report]) -> str:
    """One line for all of them, in pytest's own words."""
    counts = sum((report.counts for report in reports), Counter[str]())
    seconds = sum(report.seconds for report in reports)
    return f" {describe(counts)} in {seconds:.2f}s ".center(80, "=")
