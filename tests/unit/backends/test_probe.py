"""What a kernel lacks, judged by what it refuses of a rule set with one of everything."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from netproxy.backends.nftables import names
from netproxy.backends.nftables.layout import SETS
from netproxy.backends.nftables.probe import rehearsal, what_is_missing
from netproxy.backends.nftables.sources import SOURCE_SETS
from netproxy.model.ip import Family
from netproxy.nft.lower import COMPARED, lower_rule
from netproxy.nft.transaction import AddChain, AddRule, AddSet, AddTable, Transaction

ORIGINS = {
    "ct": "module nft_ct, CONFIG_NFT_CT",
    "fib": "module nft_fib_ipv4, CONFIG_NFT_FIB_IPV4",
    "masq": "module nft_masq, CONFIG_NFT_MASQ",
    "nat": "module nft_nat, CONFIG_NFT_NAT",
    "numgen": "module nft_numgen, CONFIG_NFT_NUMGEN",
    "reject": "module nft_reject_ipv4, CONFIG_NFT_REJECT_IPV4",
}


def rules_with(tried: Transaction, unknown: Collection[str]) -> set[int]:
    """What a kernel refuses that does not know these expressions."""
    return {
        index
        for index, operation in enumerate(tried.operations)
        if isinstance(operation, AddRule)
        and any(each.name in unknown for each in lower_rule(operation.rule, tried.family))
    }


@pytest.mark.parametrize("family", Family)
def test_one_of_everything_is_tried(family: Family) -> None:
    operations = rehearsal(family).operations
    used = {
        expression.name
        for operation in operations
        if isinstance(operation, AddRule)
        for expression in lower_rule(operation.rule, family)
    }
    assert used == set(COMPARED), "what is sent and recognised"
    sets = {operation.set for operation in operations if isinstance(operation, AddSet)}
    assert set(SETS) - set(SOURCE_SETS) < sets
    assert len(sets & set(SOURCE_SETS)) == 1, "they differ in nothing but their names"
    hooks = [operation.hook for operation in operations if isinstance(operation, AddChain)]
    assert {hook.type for hook in hooks if hook} == {"nat", "filter"}


def test_it_stays_away_from_tables_that_are_in_use() -> None:
    assert rehearsal(Family.IPV4).table not in (names.TABLE, "kube-proxy", "nat", "filter")


@pytest.mark.parametrize("name", ORIGINS)
def test_what_is_missing_is_named(name: str) -> None:
    tried = rehearsal(Family.IPV4)
    refused = rules_with(tried, [name])
    assert refused
    assert what_is_missing(tried, refused) == [f"expression {name} ({ORIGINS[name]})"]


def test_whatever_is_missing_together_is_named_and_nothing_else() -> None:
    tried = rehearsal(Family.IPV4)
    for one in ORIGINS:
        for other in ORIGINS.keys() - {one}:
            missing = what_is_missing(tried, rules_with(tried, [one, other]))
            found = {words.split(" ")[1] for words in missing}
            assert found == {one, other}


def test_of_each_family_its_own_modules() -> None:
    tried = rehearsal(Family.IPV6)
    (words,) = what_is_missing(tried, rules_with(tried, ["reject"]))
    assert words == "expression reject (module nft_reject_ipv6, CONFIG_NFT_REJECT_IPV6)"


def test_an_old_kernel() -> None:
    tried = rehearsal(Family.IPV4)
    (words,) = what_is_missing(tried, rules_with(tried, ["dynset"]))
    assert words == "expression dynset (a newer kernel has it)"


def test_a_family_that_nf_tables_does_not_have() -> None:
    tried = rehearsal(Family.IPV6)
    assert isinstance(tried.operations[0], AddTable)
    everything = range(len(tried.operations))
    assert what_is_missing(tried, everything) == ["tables of family ip6 (CONFIG_NF_TABLES_IPV6)"], (
        "the rest is a consequence"
    )


def test_chains_and_sets() -> None:
    tried = rehearsal(Family.IPV4)
    nat = {i for i, op in enumerate(tried.operations) if _is_nat_chain(op)}
    (words,) = what_is_missing(tried, nat)
    assert words == "chains of type nat (module nft_chain_nat, CONFIG_NFT_NAT)"
    clients = tried.operations.index(AddSet(names.CLIENTS, SETS[names.CLIENTS]))
    refused = {clients, *rules_with(tried, ["dynset"])}
    assert what_is_missing(tried, refused) == [f"sets like {names.CLIENTS}"]


def _is_nat_chain(operation: object) -> bool:
    return (
        isinstance(operation, AddChain)
        and operation.hook is not None
        and operation.hook.type == "nat"
    )


def test_a_rule_that_is_refused_though_all_it_needs_is_there() -> None:
    tried = rehearsal(Family.IPV4)
    index, rule = next((i, op) for i, op in enumerate(tried.operations) if isinstance(op, AddRule))
    assert what_is_missing(tried, [index]) == [f"what chain {rule.chain} needs"]


def test_nothing_is_missing() -> None:
    assert what_is_missing(rehearsal(Family.IPV4), []) == []
