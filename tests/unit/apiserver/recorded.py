"""What kubectl 1.36 and a Kubernetes 1.36.2 API server said to each other."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parents[2] / "data" / "api" / "kubectl.jsonl"


@cache
def exchanges() -> tuple[dict[str, Any], ...]:
    """Every request with its answer, in order."""
    return tuple(json.loads(line) for line in _FILE.read_text("utf-8").splitlines())


def answers(kind: str) -> list[dict[str, Any]]:
    """The bodies of answers of that kind."""
    bodies = [each["response"]["body"] for each in exchanges()]
    return [each for each in bodies if isinstance(each, dict) and each.get("kind") == kind]
