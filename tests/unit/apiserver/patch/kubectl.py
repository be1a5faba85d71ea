"""Patches and what kubectl makes of them: recorded, and said again by the kubectl that is here.

``data/patches/`` has cases with the outcome of ``kubectl patch --local``, Kubernetes 1.36; it
merges with the same library as the API server.
"""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tests.kubectl import KUBECTL

DATA = Path(__file__).parents[3] / "data" / "patches"


class Case(NamedTuple):
    """One patch of one object."""

    kind: str
    """As ``kubectl patch --type`` names it."""
    title: str
    object: Any
    patch: Any
    outcome: Any
    """An object without nulls under ``object``, or a sentence under ``error``."""

    def __str__(self) -> str:
        return self.title


def read_cases(kind: str) -> list[Case]:
    said = json.loads((DATA / f"{kind}.json").read_text())
    return [
        Case(kind, each["case"], each["object"], each["patch"], each["outcome"]) for each in said
    ]


def ask_kubectl(case: Case, place: Path) -> Any:
    """The outcome, said by the kubectl that is here."""
    file = place / f"{abs(hash(case.title))}.json"
    file.write_text(json.dumps(case.object))
    command = [KUBECTL, "patch", "--local", "-f", str(file), f"--type={case.kind}", "-o", "json"]
    done = subprocess.run(
        [*command, "-p", json.dumps(case.patch)], capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        return {"error": done.stderr.strip().removeprefix("error: ")}
    return {"object": without_nulls(json.loads(done.stdout))}


def check_with_kubectl(cases: list[Case], place: Path) -> None:
    """The recorded outcomes are still what kubectl says."""
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda case: ask_kubectl(case, place), cases))
    assert dict(zip(map(str, cases), answers, strict=True)) == {
        str(case): case.outcome for case in cases
    }


def without_nulls(value: Any) -> Any:
    """What an API object keeps: null is the same as absent."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in value]
    return value
