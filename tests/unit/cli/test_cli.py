"""The program as a whole: verbs, help, completion, and what becomes of errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from netproxy import __version__
from netproxy import cli as program
from netproxy.cli import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, VERBS, cli, run_command_line
from netproxy.errors import (
    EXIT_BAD_INPUT,
    EXIT_BUG,
    EXIT_KERNEL,
    EXIT_OK,
    EXIT_SOURCE,
    EXIT_UNSUPPORTED,
    BugError,
    ConfigError,
    DataplaneError,
    ManifestError,
    SourceError,
    UnsupportedError,
)


def netproxy(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program for real."""
    return subprocess.run(
        [sys.executable, "-m", "netproxy", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def command_of(verb: str) -> click.Command:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    return command


@pytest.mark.parametrize("verb", VERBS)
def test_the_list_of_verbs_says_what_their_help_says(verb: str) -> None:
    words = command_of(verb).help or ""
    assert " ".join(words.split("\n\n")[0].split()) == VERBS[verb].help


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line([verb, "--help"]) == EXIT_OK
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: netproxy {verb}")
    assert VERBS[verb].help.split()[0] in out


@pytest.mark.parametrize("verb", ["run", "sync", "render", "diff"])
def test_every_flag_is_explained(verb: str) -> None:
    for parameter in command_of(verb).params:
        assert isinstance(parameter, click.Option)
        assert parameter.help, parameter.name
        assert parameter.envvar or parameter.is_eager, parameter.name


def test_help_lists_verbs_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["--help"]) == EXIT_OK
    out = capsys.readouterr().out
    assert [verb for verb in VERBS if not re.search(rf"^  {verb}  ", out, re.MULTILINE)] == []
    codes = (EXIT_BAD_INPUT, EXIT_SOURCE, EXIT_UNSUPPORTED, EXIT_KERNEL, EXIT_BUG)
    assert all(re.search(rf"^ +{code} ", out, re.MULTILINE) for code in codes)


def test_help_imports_no_verb() -> None:
    script = (
        "import sys; from netproxy.cli import run_command_line\n"
        "run_command_line(['--help'])\n"
        "heavy = {'rich', 'jinja2', 'yaml', 'msgspec', 'pyroute2', 'asyncio', 'json', 'socket'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
        "print([m for m in sys.modules if m.startswith('netproxy.cli.')], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n[]\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["--version"]) == EXIT_OK
    assert capsys.readouterr().out == f"netproxy {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["lab"]])
def test_without_a_verb_there_is_help_and_a_failure(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(arguments) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Usage: netproxy")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["rnu"], "there is no verb 'rnu'; did you mean 'run'?", "netproxy --help"),
        (["xyzzy"], f"there is no verb 'xyzzy'; there are {', '.join(VERBS)}", "netproxy --help"),
        (["render", "--colour"], "--color", "netproxy render --help"),
        (["render", "-o", "xml"], "'xml'", "netproxy render --help"),
        (["render"], "--filename: nothing to read", "name a file, a directory or - with -f"),
        (["completion", "tcsh"], "'tcsh'", "netproxy completion --help"),
    ],
)
def test_wrong_usage(
    arguments: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(arguments) == EXIT_BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    first, *_, last = err.splitlines()
    assert first.startswith("netproxy: error: ")
    assert message in first
    assert last == f"hint: {hint}"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Let the next command fail in a given way."""

    def prepare(error: BaseException) -> None:
        def fail(_arguments: list[str]) -> int:
            raise error

        monkeypatch.setattr(program, "_invoke", fail)

    return prepare


REFUSED = DataplaneError(operation="add chain", subject="x", errno=16, detail="in use", hint="look")


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (ConfigError(setting="--x", problem="no"), EXIT_BAD_INPUT, ["--x: no"]),
        (ManifestError(path="a.yaml", line=3, problem="no"), EXIT_BAD_INPUT, ["a.yaml:3: no"]),
        (SourceError("gone", hint="wait"), EXIT_SOURCE, ["gone", "hint: wait"]),
        (UnsupportedError("no root", hint="sudo"), EXIT_UNSUPPORTED, ["no root", "hint: sudo"]),
        (REFUSED, EXIT_KERNEL, ["cannot add chain x: in use (EBUSY)", "hint: look"]),
        (BugError("impossible"), EXIT_BUG, ["impossible"]),
    ],
)
def test_errors_become_lines_and_an_exit_code(
    error: BaseException,
    code: int,
    lines: list[str],
    failing: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(error)
    assert run_command_line([]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"netproxy: error: {lines[0]}", *lines[1:]]


def test_a_bug_says_that_it_is_one(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(RuntimeError("one\ntwo"))
    assert run_command_line([]) == EXIT_BUG
    err = capsys.readouterr().err
    assert err.splitlines()[0] == "netproxy: error: RuntimeError: one"
    assert "this is a bug in netproxy" in err
    assert "Traceback" not in err


def test_tracebacks_on_demand(
    failing: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NETPROXY_DEBUG", "1")
    failing(RuntimeError("oops"))
    assert run_command_line([]) == EXIT_BUG
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), EXIT_INTERRUPTED),
        (click.Abort(), EXIT_INTERRUPTED),
    ],
)
def test_interrupts_are_quiet(
    error: BaseException,
    code: int,
    failing: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(error)
    assert run_command_line([]) == code
    assert capsys.readouterr() == ("", "")


def test_a_reader_that_goes_away_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "netproxy", "completion", "bash"],
            stdout=closed,
            stderr=subprocess.PIPE,
        )
    assert done.returncode == EXIT_BROKEN_PIPE
    assert done.stderr == b""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    done = netproxy("completion", shell)
    assert done.returncode == EXIT_OK
    assert "_NETPROXY_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("netproxy c", {"check", "cleanup", "completion"}),
        ("netproxy lab st", {"status"}),
        ("netproxy render --cl", {"--cluster-cidr"}),
        ("netproxy render --color a", {"auto", "always"}),
    ],
)
def test_completion_reaches_verbs_that_are_not_imported_yet(words: str, expected: set[str]) -> None:
    done = netproxy(
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - 1),
        _NETPROXY_COMPLETE="bash_complete",
    )
    assert {line.split(",")[1] for line in done.stdout.splitlines()} == expected


def test_the_module_is_the_program(tmp_path: Path) -> None:
    done = netproxy("render", "-f", str(tmp_path / "missing.yaml"))
    assert done.returncode == EXIT_BAD_INPUT
    assert "missing.yaml" in done.stderr
    assert "Traceback" not in done.stderr
