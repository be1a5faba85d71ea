"""Can this kernel do what the rules need? A rule set with one of everything, to be tried and
thrown away, and what follows from what the kernel refuses of it.

The rules are those of the layout, so that nothing new in it can be forgotten here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from netproxy.backends.nftables import names
from netproxy.backends.nftables.layout import (
    SETS,
    LocalDetector,
    Settings,
    base_chains,
    class_chain,
)
from netproxy.backends.nftables.names import ClassChain, ClassKind
from netproxy.backends.nftables.sources import SOURCE_SETS
from netproxy.model.ip import Family, parse_prefix
from netproxy.nft.lower import lower_rule
from netproxy.nft.objects import Chain, family_word
from netproxy.nft.transaction import (
    AddChain,
    AddRule,
    AddSet,
    AddTable,
    Operation,
    Transaction,
)

PROBE = f"{names.TABLE}-probe"
"""The table's name, which no table ever has."""
_SOME_LENGTH = 20
_SOME_NETWORK = {Family.IPV4: "192.0.2.0/25", Family.IPV6: "2001:db8::/33"}
"""A length that is no whole number of bytes takes one expression more."""

_ORIGINS = {
    "ct": ("nft_ct", "NFT_CT"),
    "fib": ("nft_fib_{ip}", "NFT_FIB_{IP}"),
    "masq": ("nft_masq", "NFT_MASQ"),
    "nat": ("nft_nat", "NFT_NAT"),
    "numgen": ("nft_numgen", "NFT_NUMGEN"),
    "reject": ("nft_reject_{ip}", "NFT_REJECT_{IP}"),
}
"""Kernel expressions that are not in every kernel with nf_tables: module and option. Source:
net/netfilter/Kconfig, net/ipv4/netfilter/Kconfig and net/ipv6/netfilter/Kconfig, Linux 6.18."""

_CHAIN_TYPES = {"nat": "chains of type nat (module nft_chain_nat, CONFIG_NFT_NAT)"}


def rehearsal(family: Family) -> Transaction:
    """One of everything: each kind of set, chain and rule that could ever be programmed."""
    network = parse_prefix(_SOME_NETWORK[family])
    by_network = Settings(
        family, detector=LocalDetector(network), service_cidrs=(network,), counts=True
    )
    by_interface = by_network._replace(detector=LocalDetector(interface="veth*"))
    chains = base_chains(by_network, [_SOME_LENGTH])
    for kind in ClassKind:
        for seconds in (0, 1):
            one = ClassChain(kind, 2, seconds)
            chains[one.name] = class_chain(one, by_network)
    other = ClassChain(ClassKind.CLUSTER, 3)
    chains[other.name] = class_chain(other, by_interface)
    return Transaction(family, PROBE, list(_operations(chains)))


def _operations(chains: dict[str, Chain]) -> Iterator[Operation]:
    yield AddTable()
    for name, spec in SETS.items():
        if name not in SOURCE_SETS or name == names.allowed_sources(_SOME_LENGTH):
            yield AddSet(name, spec)
    for name, chain in chains.items():
        yield AddChain(name, chain.hook)
    for name, chain in chains.items():
        for rule in chain.rules:
            yield AddRule(name, rule)


def what_is_missing(tried: Transaction, refused: Collection[int]) -> list[str]:
    """What the kernel lacks, in words, judged by which operations it refused.

    Of a refused rule an expression is to blame that no accepted rule has.

    Args:
        tried: See ``rehearsal``.
        refused: Indexes of operations.
    """
    word = family_word(tried.family)
    if any(isinstance(tried.operations[i], AddTable) for i in refused):
        option = "NF_TABLES_IPV4" if tried.family is Family.IPV4 else "NF_TABLES_IPV6"
        return [f"tables of family {word} (CONFIG_{option})"]
    lost = [tried.operations[i] for i in sorted(refused)]
    missing = [
        _CHAIN_TYPES.get(op.hook.type, f"chains of type {op.hook.type}")
        for op in lost
        if isinstance(op, AddChain) and op.hook is not None
    ]
    missing += [f"sets like {op.set}" for op in lost if isinstance(op, AddSet)]
    # Rules that are refused with them may be so for want of them.
    missing = missing or list(_expressions(tried, refused))
    if lost and not missing:
        missing = [f"what chain {op.chain} needs" for op in lost if isinstance(op, AddRule)]
    return list(dict.fromkeys(missing))


def _expressions(tried: Transaction, refused: Collection[int]) -> Iterator[str]:
    rules = {
        index: [each.name for each in lower_rule(operation.rule, tried.family)]
        for index, operation in enumerate(tried.operations)
        if isinstance(operation, AddRule)
    }
    accepted = {name for index, used in rules.items() if index not in refused for name in used}
    for index in sorted(rules.keys() & set(refused)):
        suspects = [name for name in rules[index] if name not in accepted]
        # The likely ones first: what comes in modules of its own.
        for name in sorted(suspects, key=lambda name: name not in _ORIGINS)[:1]:
            yield f"expression {name} ({_origin(name, tried.family)})"


def _origin(name: str, family: Family) -> str:
    """The module and the option that bring an expression along."""
    if name not in _ORIGINS:
        return "a newer kernel has it"
    module, option = _ORIGINS[name]
    ip = "ipv4" if family is Family.IPV4 else "ipv6"
    return f"module {module.format(ip=ip)}, CONFIG_{option.format(IP=ip.upper())}"
