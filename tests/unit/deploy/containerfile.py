"""Reads a Containerfile, as far as ours needs it."""

from __future__ import annotations

import re
from typing import NamedTuple

KNOWN = {"ARG", "COPY", "ENTRYPOINT", "ENV", "FROM", "RUN", "WORKDIR"}


class Instruction(NamedTuple):
    """One instruction, its continued lines put together."""

    word: str
    rest: str


def read_containerfile(text: str) -> list[Instruction]:
    """The instructions in order."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n", " ", "\n".join(lines) + "\n")
    found = [Instruction(*line.split(maxsplit=1)) for line in whole.splitlines() if line.strip()]
    unknown = {instruction.word for instruction in found} - KNOWN
    assert not unknown, unknown
    return found


def copied_from_context(instructions: list[Instruction]) -> dict[str, str]:
    """What is copied from the source tree, and where to, relative to the working directory."""
    copied: dict[str, str] = {}
    for word, rest in instructions:
        if word == "COPY" and not rest.startswith("--from="):
            *sources, target = rest.split()
            copied |= dict.fromkeys(sources, target)
    return copied
