"""What the kernel has against what it should have: the change that leads from one to the other.

Rules of other programs are never touched, nor is their order. Ours are: chains by name, and in the
built-in chains the rules that are word for word our jumps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from netproxy.backends.iptables import names
from netproxy.backends.iptables.layout import FillIn, Settings, base_rules
from netproxy.backends.iptables.program import Program
from netproxy.ipt.change import Restore, TableChange
from netproxy.ipt.text import Tables, TableText

_NO_TABLE = TableText({}, frozenset())
_TABLES = (names.FILTER, names.NAT)


def compare(program: Program, actual: Tables, *, prune: bool) -> Restore:
    """The change from what the kernel has to the program's rules; nothing stays pending.

    Args:
        program: What it should have.
        actual: What it has.
        prune: Delete what is ours and not wanted.
    """
    program.keep({} if prune else _unknown_entries(program, actual))
    changes = []
    for table in _TABLES:
        has = actual.get(table, _NO_TABLE)
        wanted = program.chains(table)
        written = {c: wanted[c] for c in sorted(wanted) if has.chains.get(c) != wanted[c]}
        jumps = program.jumps[table]
        missing = tuple([jump for jump in reversed(jumps) if not _has_jump(has, jump)])
        change = TableChange(table, written, added_jumps=missing)
        if prune:
            surplus = _surplus_jumps(program.settings, actual, table, jumps)
            change = change._replace(
                deleted=_surplus_chains(has, wanted, surplus), deleted_jumps=surplus
            )
        changes.append(change)
    if prune:
        changes += _canaries_only(actual, names.MANGLE)
    return Restore(program.settings.family, tuple(filter(None, changes)))


def clean_up(actual: Tables, settings: Settings, fill_in: FillIn) -> Restore:
    """The change that removes everything of ours, and of kube-proxy's, which is the same.

    What a kubelet shares with us stays if there is one.
    """
    changes = []
    every = settings._replace(accepts_localhost=True)
    rules = base_rules(every, fill_in)
    for table in _TABLES:
        has = actual.get(table, _NO_TABLE)
        ours = [rule for rule in rules if rule.table == table and rule.chain in has.built_in]
        jumps = [f"{rule.chain} {rule.rule}" for rule in ours]
        gone = tuple([j for j in jumps if _has_jump(has, j) and not _is_kubelets(actual, j)])
        chains = _surplus_chains(has, {}, gone, constant=names.CONSTANT[table])
        changes.append(TableChange(table, deleted=chains, deleted_jumps=gone))
    changes += _canaries_only(actual, names.MANGLE)
    return Restore(settings.family, tuple(filter(None, changes)))


def _has_jump(table: TableText, jump: str) -> bool:
    chain = jump.partition(" ")[0]
    return f"-A {jump}\n" in table.chains.get(chain, "")


def _surplus_jumps(
    settings: Settings, actual: Tables, table: str, wanted: Iterable[str]
) -> tuple[str, ...]:
    """Jumps that only other settings ask for."""
    if settings.accepts_localhost or table != names.FILTER:
        return ()
    has = actual.get(table, _NO_TABLE)
    ours = [f"{chain} -j {names.FIREWALL}" for chain in ("INPUT", "OUTPUT")]
    return tuple(
        [j for j in ours if j not in wanted and _has_jump(has, j) and not _is_kubelets(actual, j)]
    )


def _is_kubelets(actual: Tables, jump: str) -> bool:
    """Whether a kubelet may need this, too. Its canary tells that there is one."""
    mangle = actual.get(names.MANGLE, _NO_TABLE)
    return names.KUBELET_CANARY in mangle.chains and jump.endswith(names.FIREWALL)


def _surplus_chains(
    has: TableText,
    wanted: Iterable[str],
    gone_jumps: Iterable[str],
    constant: Iterable[str] = (),
) -> tuple[str, ...]:
    """Chains of ours that are not wanted, and to which no rule of others leads."""
    candidates = {
        chain
        for chain in has.chains
        if names.is_variable(chain) or chain == names.CANARY or chain in constant
    }
    if any(jump.endswith(names.FIREWALL) for jump in gone_jumps):
        candidates.add(names.FIREWALL)
    candidates -= set(wanted)
    if not candidates:
        return ()
    gone = {f"-A {jump}" for jump in gone_jumps}
    for chain, rules in has.chains.items():
        if chain in candidates or chain.startswith("KUBE-"):
            continue
        for rule in rules.splitlines():
            if rule not in gone:
                candidates.discard(_target(rule))
    return tuple(sorted(candidates & set(has.chains)))


def _target(rule: str) -> str:
    """The chain that a rule leads to, by jump or goto; or some other word."""
    words = rule.split()
    flags = [word for word in words[:-1] if word in ("-j", "-g")]
    return words[words.index(flags[-1]) + 1] if flags else ""


def _canaries_only(actual: Tables, table: str) -> list[TableChange]:
    has = actual.get(table, _NO_TABLE).chains
    return [TableChange(table, deleted=(names.CANARY,))] if names.CANARY in has else []


class _Entry(NamedTuple):
    where: tuple[str, str]
    rule: str


def _unknown_entries(program: Program, actual: Tables) -> dict[tuple[str, str], list[str]]:
    """Rules in shared lists of services that no source has told of: they stay for now."""
    kept: dict[tuple[str, str], list[str]] = {}
    for (table, chain), prefix in names.DISPATCH_PREFIXES.items():
        has = actual.get(table, _NO_TABLE).chains
        rules = [
            rule
            for rule in _entries(has, chain, prefix)
            if (owner := _owner(rule)) and not program.knows(owner)
        ]
        if rules:
            kept[table, chain] = rules
    return kept


def _entries(chains: dict[str, str], chain: str, prefix: str) -> Iterable[str]:
    """The rules of a list and of the dispatch chains under it."""
    for line in chains.get(chain, "").splitlines():
        rule = line.split(" ", 2)[2]
        if '--comment "' in rule:
            yield rule
        elif _target(line).startswith(prefix):
            yield from _entries(chains, _target(line), prefix)


def _owner(rule: str) -> str:
    """``namespace/name`` of the service that a rule's comment tells; empty for other rules.

    Example:
        >>> _owner('-d 10.0.0.1/32 -p tcp -m comment --comment "ns1/svc1:p80 cluster IP" -j X')
        'ns1/svc1'
    """
    service = rule.partition('--comment "')[2].partition('"')[0].split(" ")[0].split(":")[0]
    return service if "/" in service else ""
