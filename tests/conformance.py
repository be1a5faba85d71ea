"""The table at the end of a test run: which features were seen to work, in which mode and family.

A test says what it shows with the marker ``covers``; the outcome travels with its report, from
whichever process ran it, to the one that prints. What ran is what counts: nothing is looked up.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import pytest
from _pytest.mark.structures import ParameterSet

from netproxy.core.config import ProxyMode
from netproxy.model.ip import Family
from tests.scenarios.features import FEATURES, reason_for_nothing
from tests.scenarios.story import Story

PROPERTY = "covers"
"""Of a test's report."""
PAPER, PACKETS = "paper", "packets"
_COLUMNS = [(mode, family) for mode in ProxyMode for family in Family]
_TITLE_WIDTH = 72
_CELL_WIDTH = 11


class Sighting(NamedTuple):
    """One test's outcome, for one feature in one mode and family."""

    feature: str
    mode: ProxyMode
    family: Family
    medium: str
    scenario: str
    """Several tests of one scenario count once; it has failed if one of them has."""
    passed: bool


Cell = tuple[str, ProxyMode, Family]
Outcomes = dict[str, dict[str, bool]]
"""Medium → scenario → whether it passed."""


def covers(
    *features: str,
    scenario: str,
    mode: ProxyMode | None = None,
    families: Iterable[Family] | None = None,
) -> pytest.MarkDecorator:
    """The marker of a test that shows these features.

    Args:
        features: Rows of ``features.py``.
        scenario: What tests of one scenario have in common.
        mode: The proxy mode in which it was seen; None: the test's parameter ``mode``.
        families: The IP families in which it was seen; None: the test's parameter ``family``, or
            both when it has none.
    """
    unknown = [each for each in features if each not in FEATURES]
    assert not unknown, f"{scenario}: not in tests/scenarios/features.py: {unknown}"
    return pytest.mark.covers(*features, scenario=scenario, mode=mode, families=families)


def as_parameters(stories: Iterable[Story]) -> list[ParameterSet]:
    """Scenario files as parameters of a test, each with what it covers."""
    return [
        pytest.param(
            story,
            id=story.path.stem,
            marks=[
                covers(row, scenario=story.path.stem, mode=story.config.mode, families=families)
                for row, families in story.covers
            ],
        )
        for story in stories
    ]


def properties_of(item: pytest.Item) -> Iterator[tuple[str, object]]:
    """What the report of a test is to carry: words only, since it may cross a process."""
    medium = PACKETS if item.get_closest_marker("kernel") else PAPER
    callspec = getattr(item, "callspec", None)
    parameters: dict[str, Any] = callspec.params if callspec else {}
    for mark in item.iter_markers("covers"):
        mode: ProxyMode = mark.kwargs["mode"] or parameters["mode"]
        families = mark.kwargs["families"] or _families(parameters)
        yield (
            PROPERTY,
            {
                "features": list(mark.args),
                "scenario": mark.kwargs["scenario"],
                "mode": mode.name,
                "families": [family.name for family in families],
                "medium": medium,
            },
        )


def _families(parameters: Mapping[str, Any]) -> Iterable[Family]:
    family = parameters.get("family")
    return [family] if isinstance(family, Family) else list(Family)


def sightings_of(report: pytest.TestReport) -> Iterator[Sighting]:
    """What a report says; nothing for a test that was skipped."""
    if report.skipped or not (report.when == "call" or report.failed):
        return
    for name, value in report.user_properties:
        if name != PROPERTY:
            continue
        assert isinstance(value, dict)
        for feature in value["features"]:
            for family in value["families"]:
                yield Sighting(
                    feature,
                    ProxyMode[value["mode"]],
                    Family[family],
                    value["medium"],
                    value["scenario"],
                    report.passed,
                )


Asked = tuple[str, ProxyMode, str]
"""Medium, mode, scenario."""


class Conformance:
    """A pytest plugin: gathers, prints, and fails a complete run that has holes.

    Args:
        expected: Tells what a complete run has asked.
    """

    def __init__(self, expected: Callable[[], Collection[Asked]]) -> None:
        self._expected = expected
        self._asked: set[Asked] = set()
        self._cells: defaultdict[Cell, Outcomes] = defaultdict(lambda: {PAPER: {}, PACKETS: {}})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for one in sightings_of(report):
            self.add(one)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.faults() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._asked:
            terminalreporter.section("conformance with kube-proxy 1.36")
            for line in self.table():
                terminalreporter.write_line(line)

    def add(self, one: Sighting) -> None:
        """Take an outcome in."""
        self._asked.add((one.medium, one.mode, one.scenario))
        outcomes = self._cells[one.feature, one.mode, one.family][one.medium]
        outcomes[one.scenario] = outcomes.get(one.scenario, True) and one.passed

    @property
    def is_complete(self) -> bool:
        """Whether everything was asked, on paper and with real packets."""
        return bool(self._asked) and self._asked.issuperset(self._everything)

    @cached_property
    def _everything(self) -> Collection[Asked]:
        return self._expected()

    def faults(self) -> list[str]:
        """Holes, and reasons for holes that are none; of a complete run only."""
        if not self.is_complete:
            return []
        found = []
        for feature in FEATURES:
            for mode, family in _COLUMNS:
                reason = reason_for_nothing(feature, mode, family)
                is_hole = (feature, mode, family) not in self._cells
                where = f"{feature}, {mode.value}, {family.label}"
                if is_hole and not reason:
                    found.append(f"{where}: no scenario, and no reason why")
                if reason and not is_hole:
                    found.append(f"{where}: has scenarios; the reason can go: {reason}")
        return found

    def table(self) -> list[str]:
        """Plain text, a line for each feature that was asked about; all, if the run is complete."""
        reasons: dict[str, int] = {}
        lines = [*_LEGEND, "", *_HEADER]
        for feature, title in FEATURES.items():
            if self.is_complete or any((feature, *column) in self._cells for column in _COLUMNS):
                cells = [self._cell(feature, *column, reasons) for column in _COLUMNS]
                lines += _row(feature, title, cells)
        if not self.is_complete:
            lines += ["", "Not everything was asked in this run; ./dev test asks everything."]
        if reasons:
            lines += ["", *(f"-{number}: {reason}" for reason, number in reasons.items())]
        return lines + [f"FAILED {fault}" for fault in self.faults()]

    def _cell(self, feature: str, mode: ProxyMode, family: Family, reasons: dict[str, int]) -> str:
        outcomes = self._cells.get((feature, mode, family))
        if outcomes is not None:
            failed = sum(not ok for each in outcomes.values() for ok in each.values())
            passed = "/".join(
                str(sum(outcomes[medium].values())) if self._was_asked(medium) else "."
                for medium in (PAPER, PACKETS)
            )
            return f"{passed} FAIL {failed}" if failed else passed
        reason = reason_for_nothing(feature, mode, family)
        if reason:
            return f"-{reasons.setdefault(reason, len(reasons) + 1)}"
        return "HOLE" if self.is_complete else ""

    def _was_asked(self, medium: str) -> bool:
        return any(asked == medium for asked, _, _ in self._asked)


_LEGEND = textwrap.wrap(
    "Each cell: scenarios that passed on paper / with real packets; a dot: not asked in this run; "
    "a number after - : why there is none, see below.",
    _TITLE_WIDTH + len(_COLUMNS) * _CELL_WIDTH,
)
_HEADER = [
    " " * _TITLE_WIDTH + "".join(f"{mode.value:<{2 * _CELL_WIDTH}}" for mode in ProxyMode).rstrip(),
    " " * _TITLE_WIDTH
    + "".join(f"{family.label:<{_CELL_WIDTH}}" for _, family in _COLUMNS).rstrip(),
]


def _row(feature: str, title: str, cells: Iterable[str]) -> list[str]:
    text = f"{feature}: {title}"
    first, *rest = textwrap.wrap(text, _TITLE_WIDTH - 2, subsequent_indent="    ")
    line = f"{first:<{_TITLE_WIDTH}}" + "".join(f"{cell:<{_CELL_WIDTH}}" for cell in cells)
    return [line.rstrip(), *rest]
