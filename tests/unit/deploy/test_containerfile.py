"""The Containerfile, as far as it can be tried without an engine that builds images."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

from netproxy.render.environment import templates_dir
from tests.unit.deploy.containerfile import copied_from_context, read_containerfile

ROOT = Path(__file__).parents[3]
INSTRUCTIONS = read_containerfile((ROOT / "Containerfile").read_text())


def test_stages_build_on_each_other() -> None:
    names = [re.search(r" AS (\w+)$", rest) for word, rest in INSTRUCTIONS if word == "FROM"]
    stages = {name[1] for name in names if name}
    assert len(names) == 2
    copies = [rest for word, rest in INSTRUCTIONS if word == "COPY" and "--from=" in rest]
    assert [re.fullmatch(r"--from=(\w+) (\S+) \2", rest)[1] for rest in copies] == [*stages]  # type: ignore[index]


def test_every_variable_has_a_default() -> None:
    defaults = dict(rest.split("=", 1) for word, rest in INSTRUCTIONS if word == "ARG")
    used = {name for _, rest in INSTRUCTIONS for name in re.findall(r"\$\{(\w+)\}", rest)}
    assert used - {"PATH"} == defaults.keys()
    assert re.search(r":3\.\d+-slim$", defaults["BASE"])


@pytest.mark.parametrize("line", [rest for word, rest in INSTRUCTIONS if word == "RUN"])
def test_a_shell_understands_every_command(line: str) -> None:
    done = subprocess.run(["sh", "-n", "-c", line], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_started_is_what_the_package_installs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (entry,) = [json.loads(rest) for word, rest in INSTRUCTIONS if word == "ENTRYPOINT"]
    assert entry == [next(iter(project["scripts"]))]
    oldest = re.search(r"3\.(\d+)", project["requires-python"])
    base = re.search(r"BASE=.*:3\.(\d+)-slim", str(INSTRUCTIONS))
    assert oldest
    assert base
    assert int(base[1]) >= int(oldest[1])


@pytest.mark.slow
def test_what_is_copied_is_enough_for_the_same_wheel(tmp_path: Path) -> None:
    context = tmp_path / "src"
    context.mkdir()
    for source, target in copied_from_context(INSTRUCTIONS).items():
        path = ROOT / source
        if path.is_dir():
            copytree(path, context / target, ignore=ignore_patterns("__pycache__"))
        else:
            copy(path, context / target)
    built = build(context, tmp_path / "copied")
    assert built == build(ROOT, tmp_path / "whole")
    inside = {f"netproxy/templates/{p.relative_to(templates_dir())}" for p in templates()}
    assert inside <= built


def templates() -> list[Path]:
    return [path for path in templates_dir().rglob("*") if path.is_file()]


def build(tree: Path, place: Path) -> set[str]:
    """The files in the wheel of a source tree."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = place.glob("netproxy-*.whl")
    return set(zipfile.ZipFile(wheel).namelist())
