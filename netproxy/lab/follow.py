"""What one packet meets in rules as ``netproxy render`` prints them. Pure."""

from __future__ import annotations

import re


def follow_packet(rules: str, address: str) -> list[tuple[str, str]]:
    """What a packet to a Service's address meets: pairs of a map's or chain's name and a line.

    Args:
        rules: As ``netproxy render`` prints them.
        address: The Service's; the lines are those that mention it, and those of the chains
            that they lead to.
    """
    blocks = _blocks(rules)
    word = re.compile(rf"(?<![\w.:]){re.escape(address)}(?![\w.:])")
    hits = {
        name: [line for line in lines if word.search(line)]
        for name, lines in blocks.items()
        if name.startswith("map ")
    }
    verdicts = [(name, line) for name, lines in hits.items() for line in lines if "goto" in line]
    followed = list(verdicts)
    for _, line in verdicts:
        chain = "chain " + line.partition("goto ")[2].split()[0]
        followed += [(chain, rule) for rule in blocks.get(chain, [])]
    followed += [
        (name, line) for name, lines in hits.items() for line in lines if "goto" not in line
    ]
    return followed


def _blocks(rules: str) -> dict[str, list[str]]:
    """Lines per map and chain (``map endpoints``) without comments, of the first table."""
    blocks: dict[str, list[str]] = {}
    current: list[str] | None = None
    tables = 0
    for raw in rules.splitlines():
        line = re.sub(r' comment ".*"$', "", raw.partition("#")[0].strip()).rstrip(",")
        first = line.split(" ")[0]
        tables += first == "table"
        if tables > 1:
            break
        if first in ("map", "chain") and line.endswith("{"):
            current = blocks.setdefault(line.removesuffix(" {"), [])
        elif first == "}" and raw.startswith("\t}"):
            current = None
        elif current is not None and line:
            current.append(line)
    return blocks
