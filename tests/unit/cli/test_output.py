"""What is printed where, and that nobody's words leave their place."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from netproxy.cli import output
from netproxy.contracts import FamilyReport
from netproxy.model.diagnostic import Diagnostic, Severity
from netproxy.model.ip import Family
from netproxy.proxier import SyncReport

BAD = Diagnostic(Severity.ERROR, "Service default/web", "spec", "is \x1b[2J bad", "web.yaml", 3)
REPORT = SyncReport(True, (FamilyReport(Family.IPV4, 12, 6, 2),), 2, 5, 1.25, 3.5, (BAD,))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("choice", "environment", "on_terminal", "in_pipe"),
    [
        ("auto", {}, True, False),
        ("auto", {"NO_COLOR": "1"}, False, False),
        ("auto", {"TERM": "dumb"}, False, False),
        ("always", {"NO_COLOR": "1"}, True, True),
        ("never", {}, False, False),
    ],
)
def test_who_gets_colour(
    choice: str,
    environment: dict[str, str],
    on_terminal: bool,
    in_pipe: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert output.uses_color(choice, Terminal()) is on_terminal
    assert output.uses_color(choice, io.StringIO()) is in_pipe


def test_diagnostics_are_lines_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_diagnostics([BAD], color="never")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: web.yaml:3: Service default/web: spec: is \\x1b[2J bad\n"


RULES = "\tchain x { # a 1.2.3.4\n\t\tip daddr fd00::1 goto y\n\t}\n"


def test_rules_in_a_pipe_are_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_rules(RULES, color="auto")
    assert capsys.readouterr().out == RULES


def test_colours_change_no_character(capsys: pytest.CaptureFixture[str]) -> None:
    import click

    output.print_rules(RULES, color="always")
    colored = capsys.readouterr().out
    assert click.unstyle(colored) == RULES
    assert click.style("# a 1.2.3.4", fg="bright_black") in colored
    assert click.style("fd00::1", fg="cyan") in colored
    assert click.style("goto", fg="magenta") in colored


def test_a_summary_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_report(REPORT, color="never")
    assert capsys.readouterr().out == (
        "IPv4: 12 operations, 6 added, 2 deleted\n"
        "2 services, 5 endpoints; computed in 1.2 ms, programmed in 3.5 ms\n"
    )


def test_a_summary_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    output.print_report(REPORT, color="never")
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.split() == ["family", "operations", "added", "deleted"]
    assert second.split() == ["IPv4", "12", "6", "2"]
    assert third.startswith("2 services")


def test_a_summary_for_programs() -> None:
    found = output.report_to_json(REPORT, [BAD])
    assert found["families"] == [
        {"family": "IPv4", "operations": 12, "elementsAdded": 6, "elementsDeleted": 2}
    ]
    assert found["diagnostics"] == [{**BAD._asdict(), "severity": "error"}]


def test_which_work_is_long(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.yaml").write_bytes(b"#" * 400_000)
    assert not output.is_long_work([str(tmp_path), str(tmp_path / "missing")])
    (tmp_path / "b.yaml").write_bytes(b"#" * 400_000)
    assert output.is_long_work([str(tmp_path)])
    assert output.is_long_work(["-"])


def test_progress_goes_to_terminals_only(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress(["-"], color="auto") as say:
        say("reading manifests")
    assert capsys.readouterr().err == ""
