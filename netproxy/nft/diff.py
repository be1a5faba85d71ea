"""What takes a table from what it is to what it shall be, and touches nothing that is right."""

from __future__ import annotations

from collections.abc import Iterable

from netproxy.nft.objects import Chain, Data, Elements, Ruleset, SetSpec
from netproxy.nft.transaction import (
    AddChain,
    AddElements,
    AddRule,
    AddSet,
    AddTable,
    DeleteChain,
    DeleteElements,
    DeleteSet,
    DeleteTable,
    FlushChain,
    Operation,
    ReplaceElements,
    Transaction,
)


def diff_rulesets(actual: Ruleset, desired: Ruleset, *, prune: bool = True) -> Transaction:
    """The transaction from ``actual`` to ``desired``.

    Args:
        actual: What the kernel has.
        desired: What it shall have. Its chains are in an order in which each refers only to
            earlier ones; verdict maps may refer to any.
        prune: Also delete chains and elements that are not desired. Without it they stay, for
            when the desired state is known to be incomplete.

    Returns:
        Operations in an order that the kernel accepts, each prefix of which is harmless:
        what is looked up is put in place before what leads to it. A table whose declarations
        have another shape, made by another version, is replaced as a whole, in one step.
    """
    if actual.exists and not _has_same_shape(actual, desired):
        rebuilt = diff_rulesets(Ruleset.empty(desired.family, desired.table), desired)
        return rebuilt._replace(operations=[DeleteTable(), *rebuilt.operations])
    operations: list[Operation] = [] if actual.exists else [AddTable()]
    operations += [
        AddSet(name, spec) for name, spec in desired.sets.items() if name not in actual.sets
    ]
    operations += _put_chains(actual.chains, desired.chains)
    additions, replacements, deletions = _element_changes(actual, desired)
    operations += [*additions, *replacements]
    if prune:
        operations += deletions
        operations += _drop_chains(actual.chains, desired.chains)
        stale_sets = [name for name in actual.elements if name not in desired.sets]
        operations += [DeleteSet(name) for name in stale_sets]
    return Transaction(desired.family, desired.table, operations)


def _has_same_shape(actual: Ruleset, desired: Ruleset) -> bool:
    """Whether declarations that cannot be changed in place are as desired."""
    for name in desired.sets:
        if name in actual.elements and actual.sets.get(name) != desired.sets[name]:
            return False
    return all(
        actual.chains[name].hook == chain.hook
        for name, chain in desired.chains.items()
        if name in actual.chains
    )


def put_chain(name: str, chain: Chain) -> list[Operation]:
    """Make a chain with its rules."""
    rules: list[Operation] = [AddRule(name, rule) for rule in chain.rules]
    return [AddChain(name, chain.hook), *rules]


def _put_chains(actual: dict[str, Chain], desired: dict[str, Chain]) -> list[Operation]:
    new = [name for name in desired if name not in actual]
    # Empty first: a rule may jump to any of them. Base chains last: nothing enters before.
    operations: list[Operation] = [AddChain(n) for n in new if desired[n].hook is None]
    for name in sorted(new, key=lambda n: desired[n].hook is not None):
        chain = desired[name]
        if chain.hook is not None:
            operations.append(AddChain(name, chain.hook))
        operations += [AddRule(name, rule) for rule in chain.rules]
    for name, chain in desired.items():
        if name in actual and actual[name].rules != chain.rules:
            operations.append(FlushChain(name))
            operations += [AddRule(name, rule) for rule in chain.rules]
    return operations


def _drop_chains(actual: dict[str, Chain], desired: dict[str, Chain]) -> list[Operation]:
    stale = [name for name in actual if name not in desired]
    # All rules go before any chain does: stale chains may refer to each other.
    emptied: list[Operation] = [FlushChain(name) for name in stale if actual[name].rules]
    return [*emptied, *(DeleteChain(name) for name in stale)]


def _element_changes(
    actual: Ruleset, desired: Ruleset
) -> tuple[list[Operation], list[Operation], list[Operation]]:
    """Additions, replacements and deletions; data maps come before verdict maps."""
    additions: list[Operation] = []
    replacements: list[Operation] = []
    deletions: list[Operation] = []
    for name, spec in data_first(desired.sets.items()):
        if spec.is_dynamic:
            continue
        have, want = actual.elements.get(name, {}), desired.elements.get(name, {})
        added, replaced, deleted = diff_elements(have, want)
        if added:
            additions.append(AddElements(name, spec, added))
        if replaced:
            replacements.append(ReplaceElements(name, spec, replaced))
        if deleted:
            deletions.insert(0, DeleteElements(name, spec, deleted))
    return additions, replacements, deletions


def data_first(sets: Iterable[tuple[str, SetSpec]]) -> list[tuple[str, SetSpec]]:
    """Sets in the order in which they must be filled: verdict maps lead to all others."""
    order = {"data map": 0, "set": 1, "verdict map": 2}
    return sorted(sets, key=lambda item: order[item[1].kind.value])


def diff_elements(
    have: Elements, want: Elements
) -> tuple[list[tuple[bytes, Data]], list[tuple[bytes, Data, Data]], list[tuple[bytes, Data]]]:
    """(added, replaced as key/old/new, deleted) between two states of one set."""
    if not have:
        return list(want.items()), [], []
    added = []
    replaced = []
    missing = object()
    for key, data in want.items():
        old = have.get(key, missing)
        if old is missing:
            added.append((key, data))
        elif old != data:
            replaced.append((key, have[key], data))
    deleted = [(key, data) for key, data in have.items() if key not in want]
    return added, replaced, deleted
