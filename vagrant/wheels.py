"""Python packages for machines without a network: netproxy, and what its tests in guests take."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from vagrant.box import name_of
from vagrant.layout import ROOT, WHEELS
from vagrant.processes import mortal

GUEST_PYTHON = os.environ.get("NETPROXY_VM_PYTHON", "3.11")
"""The machines' Python; a box of another distribution has another one."""
_GLIBCS = ("2_17", "2_28", "2_34")
_STAMP = ".requirements"


class WheelsError(Exception):
    """pip failed; the message has its words."""


def guest_requirements() -> list[str]:
    """What the machines install besides netproxy itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["guest"]]


def collect() -> None:
    """Fill the directory of wheels: others' once for each list of them, ours always.

    Raises:
        WheelsError: pip failed.
    """
    requirements = guest_requirements()
    key = name_of({"python": GUEST_PYTHON.encode(), "list": "\n".join(requirements).encode()})
    stamp = WHEELS / _STAMP
    if not stamp.exists() or stamp.read_text() != key:
        shutil.rmtree(WHEELS, ignore_errors=True)
        WHEELS.mkdir(parents=True)
        _pip("download", "--dest", str(WHEELS), *_for_guests(), *requirements)
        stamp.write_text(key)
    for old in WHEELS.glob("netproxy-*.whl"):
        old.unlink()
    _pip("wheel", "--no-deps", "--wheel-dir", str(WHEELS), str(ROOT))


def _for_guests() -> list[str]:
    """For another Python and C library than those that run this, perhaps."""
    machine = os.uname().machine
    platforms = [f"manylinux_{glibc}_{machine}" for glibc in _GLIBCS]
    options = ["--only-binary=:all:", f"--python-version={GUEST_PYTHON}", "--implementation=cp"]
    return options + [f"--platform={p}" for p in (*platforms, f"manylinux2014_{machine}")]


def _pip(*arguments: str) -> None:
    done = subprocess.run(
        mortal([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]),
        cwd=Path.home(),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise WheelsError(f"pip {arguments[0]} failed: {done.stderr.strip()}")
