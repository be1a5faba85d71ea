"""The text of iptables-save as chains, for comparing word by word."""

from __future__ import annotations

from typing import NamedTuple


class TableText(NamedTuple):
    """One table as iptables-save printed it."""

    chains: dict[str, str]
    """Chain → its rules as whole lines, ``-A CHAIN …``; empty chains included."""
    built_in: frozenset[str]
    """Those that the kernel makes; they have a policy."""
    refusing: frozenset[str] = frozenset()
    """Of these, those whose policy is DROP."""


Tables = dict[str, TableText]
"""Table → what is in it; a table that is not there was never used."""


def read_counts(text: str) -> dict[str, int]:
    r"""The packets that each rule has matched, from ``iptables-save -c``, by the rule's own text.

    Example:
        >>> read_counts("*nat\n:A - [0:0]\n[7:420] -A A -d 10.0.0.1/32 -j B\nCOMMIT\n")
        {'-d 10.0.0.1/32 -j B': 7}
    """
    counts: dict[str, int] = {}
    for line in text.splitlines():
        if line.startswith("["):
            count, _, rule = line.split(" ", 2)
            rule = rule.partition(" ")[2]
            counts[rule] = counts.get(rule, 0) + int(count[1 : count.index(":")])
    return counts


def read_tables(text: str) -> Tables:
    r"""Take the output of iptables-save apart; counters must not be in it.

    Example:
        >>> text = "*nat\n:INPUT ACCEPT [0:0]\n:A - [0:0]\n-A INPUT -j A\nCOMMIT\n"
        >>> read_tables(text)["nat"].chains
        {'INPUT': '-A INPUT -j A\n', 'A': ''}
    """
    tables: Tables = {}
    rules: dict[str, list[str]] = {}
    policies: dict[str, str] = {}
    for line in text.splitlines(keepends=True):
        if line.startswith("-A "):
            rules[line[3 : line.index(" ", 3)]].append(line)
        elif line.startswith(":"):
            chain, policy, _ = line[1:].split(" ", 2)
            rules[chain] = []
            if policy != "-":
                policies[chain] = policy
        elif line.startswith("*"):
            name = line[1:].rstrip()
            rules, policies = {}, {}
        elif line.startswith("COMMIT"):
            chains = {chain: "".join(lines) for chain, lines in rules.items()}
            refusing = frozenset(chain for chain in policies if policies[chain] == "DROP")
            tables[name] = TableText(chains, frozenset(policies), refusing)
    return tables
