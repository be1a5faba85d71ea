"""The rules that all code keeps, so that one test run says everything.

Not here: what the rules are. They stand in ``pyproject.toml``, each with its reason.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import netproxy

ROOT = Path(__file__).parent.parent
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
SOURCES = sorted([*ROOT.glob("netproxy/**/*.py"), *ROOT.glob("tests/**/*.py")])
SCRIPTS = [ROOT / "dev", ROOT / ".ci" / "run"]


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_lint() -> None:
    run(sys.executable, "-m", "ruff", "check", "--quiet")


def test_layout() -> None:
    run(sys.executable, "-m", "ruff", "format", "--check", "--quiet", "--diff")


def test_types() -> None:
    run(sys.executable, "-m", "mypy", "--no-error-summary")


def test_import_contracts() -> None:
    tool = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    run(sys.executable, "-c", tool, "--no-logo")


@pytest.mark.parametrize("script", SCRIPTS, ids=relative)
def test_shell_scripts(script: Path) -> None:
    run("sh" if script.name == "dev" else "bash", "-n", str(script))
    if shutil.which("shellcheck"):
        run("shellcheck", str(script))


def test_no_file_is_too_long() -> None:
    lengths = {relative(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > MAX_FILE_LINES} == {}


def line_count(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and lines of each function, its docstring and decorators left out."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            has_docstring = ast.get_docstring(node, clean=False) is not None
            first = node.body[0]
            skipped = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
            yield (
                f"{relative(path)}:{node.name}",
                (node.end_lineno or 0) - node.lineno + 1 - skipped,
            )


def test_no_function_is_too_long() -> None:
    lengths = {name: length for path in SOURCES for name, length in functions(path)}
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


def test_no_file_is_called_for_what_does_not_fit_elsewhere() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager"}
    assert [relative(path) for path in SOURCES if path.stem in vague] == []


def test_workarounds_say_for_which_versions() -> None:
    pattern = re.compile(r"WORKAROUND(?!\([a-z0-9-]+[<>=]+[0-9.]+\))")
    mine = Path(__file__)
    found = [relative(p) for p in SOURCES if p != mine and pattern.search(p.read_text())]
    assert found == []


@pytest.mark.parametrize("document", ["README.md", "tests/README.md"])
def test_commands_in_documents_exist(document: str) -> None:
    from netproxy.cli import cli

    text = (ROOT / document).read_text()
    usage = subprocess.run([ROOT / "dev", "help"], capture_output=True, text=True, check=True)
    actions = set(re.findall(r"^  ([a-z]+) ", usage.stdout, re.MULTILINE))
    assert set(re.findall(r"\./dev ([a-z]+)", text)) <= actions
    # In code only: prose may well say that netproxy gives Linux nodes Services.
    code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.DOTALL))
    verbs = set(re.findall(r"(?:^|[`$#] ?|sudo )netproxy ([a-z]+)", code, re.MULTILINE))
    assert verbs <= set(cli.commands)


def test_version_is_one() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", netproxy.__version__)
