"""``netproxy check``: what it says of manifests, and its exit code."""

from __future__ import annotations

import io
import json
import sys
import types
from pathlib import Path

import pytest

from netproxy.cli import run_command_line
from netproxy.errors import EXIT_BAD_INPUT, EXIT_OK

GOOD = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: 10.96.0.1
  ports:
  - port: 80
---
apiVersion: v1
kind: Endpoints
metadata: {name: web}
subsets:
- addresses:
  - ip: 10.1.0.1
  - ip: fd00::1
  ports:
  - port: 8080
"""
BAD = GOOD.replace("port: 80\n", "port: 70000\n", 1)
ODD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
PORT_HELP = "70000 is no port number; it must be between 1 and 65535"


def _file(tmp_path: Path, text: str, name: str = "a.yaml") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_nothing_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["check", "-f", _file(tmp_path, GOOD)]) == EXIT_OK
    assert capsys.readouterr() == ("3 objects, 0 errors, 0 warnings\n", "")


def test_an_empty_directory_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["check", "-f", str(tmp_path)]) == EXIT_OK
    assert capsys.readouterr().out == "0 objects, 0 errors, 0 warnings\n"


def test_warnings_are_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = _file(tmp_path, ODD)
    assert run_command_line(["check", "--filename", file]) == EXIT_OK
    out, err = capsys.readouterr()
    assert out == "0 objects, 0 errors, 1 warnings\n"
    assert err == (
        f"warning: {file}:2: Pod default/p: kind: netproxy does not read 'Pod' objects; skipped\n"
    )


def test_an_error_names_file_line_object_and_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _file(tmp_path, BAD)
    assert run_command_line(["check", "-f", file]) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert out == "2 objects, 1 errors, 0 warnings\n"
    assert err == f"error: {file}:7: Service default/web: spec.ports[0].port: {PORT_HELP}\n"


def test_all_files_are_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = _file(tmp_path, BAD, "1.yaml"), _file(tmp_path, "a: [", "2.yaml")
    missing = str(tmp_path / "missing.yaml")
    sub = tmp_path / "dir"
    sub.mkdir()
    _file(sub, ODD)
    flags = [word for path in (one, two, missing, str(sub)) for word in ("-f", path)]
    assert run_command_line(["check", *flags]) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert out == "2 objects, 3 errors, 1 warnings\n"
    starts = [line.partition(" ")[2] for line in err.splitlines()]
    assert starts[0].startswith(f"{one}:7: Service default/web: ")
    assert starts[1].startswith(f"{two}:")
    assert "is neither YAML nor JSON" in starts[1]
    assert starts[2] == f"{missing}: does not exist"
    assert starts[3].startswith(f"{sub}/a.yaml:2: Pod default/p: ")
    assert len(starts) == 4


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = _file(tmp_path, BAD + "---\n" + ODD)
    assert run_command_line(["check", "-f", file, "-o", "json"]) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out) == {
        "diagnostics": [
            {
                "severity": "error",
                "subject": "Service default/web",
                "field": "spec.ports[0].port",
                "message": PORT_HELP,
                "path": file,
                "line": 7,
            },
            {
                "severity": "warning",
                "subject": "Pod default/p",
                "field": "kind",
                "message": "netproxy does not read 'Pod' objects; skipped",
                "path": file,
                "line": 20,
            },
        ],
        "errors": 1,
        "warnings": 1,
        "objects": {"EndpointSlice": 2},
    }


def test_json_of_what_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["check", "-f", _file(tmp_path, GOOD), "-o", "json"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out) == {
        "diagnostics": [],
        "errors": 0,
        "warnings": 0,
        "objects": {"Service": 1, "EndpointSlice": 2},
    }


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (GOOD, EXIT_OK, ""),
        (
            BAD,
            EXIT_BAD_INPUT,
            f"error: -:7: Service default/web: spec.ports[0].port: {PORT_HELP}\n",
        ),
        ("", EXIT_OK, ""),
    ],
)
def test_standard_input(
    text: str,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = types.SimpleNamespace(buffer=io.BytesIO(text.encode()), isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", stream)
    assert run_command_line(["check", "-f", "-"]) == code
    assert capsys.readouterr().err == said


def test_names_cannot_write_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = BAD.replace("name: web", 'name: "web\\e[2J\\nerror: fake"')
    assert run_command_line(["check", "-f", _file(tmp_path, text)]) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert out == "0 objects, 2 errors, 0 warnings\n"
    assert len(err.splitlines()) == 2
    assert "\x1b" not in err
    assert err.startswith(f"error: {tmp_path}/a.yaml:3: Service default/web?[2J?error: fake: ")


def test_colours_only_where_they_are_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _file(tmp_path, BAD)
    for choice, has_colour in (("always", True), ("never", False), ("auto", False)):
        run_command_line(["check", "-f", file, "--color", choice])
        assert ("\x1b[31merror:" in capsys.readouterr().err) is has_colour


@pytest.mark.parametrize("arguments", [[], ["-f"], ["-f", "x", "-o", "xml"], ["x.yaml"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["check", *arguments]) == EXIT_BAD_INPUT
    assert capsys.readouterr().out == ""
