"""Rule sets in a real kernel: two spellings, restarts, drift, clean-up, refusals."""

from __future__ import annotations

import errno
import re
import subprocess
import time
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from netproxy.backends.nftables import names
from netproxy.backends.nftables.dataplane import nftables_dataplanes
from netproxy.backends.nftables.describe import describe
from netproxy.backends.nftables.layout import CLIENT, SETS, TICKET
from netproxy.backends.nftables.names import parse_class_chain
from netproxy.contracts import Preview, Table
from netproxy.core.config import ProxyConfig
from netproxy.errors import DataplaneError
from netproxy.kernel.nftables import Tables
from netproxy.model.events import Event, Listed, Reset
from netproxy.model.ip import Family
from netproxy.nft.expr import DropElement, PutElement, Rule, goto, jump
from netproxy.nft.fake import FakeTable
from netproxy.nft.objects import Hook
from netproxy.nft.transaction import (
    AddChain,
    AddElements,
    AddRule,
    AddSet,
    AddTable,
    DeleteChain,
    DeleteElements,
    DeleteSet,
    Operation,
    ReplaceElements,
    Transaction,
)
from netproxy.proxier import Proxier
from netproxy.render.nftables import Annotations, render_ruleset, render_transaction
from tests.netns.namespace import NetworkNamespace
from tests.property import strategies as make

kernel_examples = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Shrinking with a kernel takes longer than reading a large example.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@pytest.fixture(scope="module")
def space() -> Iterator[NetworkNamespace]:
    with NetworkNamespace() as one:
        yield one


class Node:
    """A proxy on the kernel's tables, in a namespace."""

    def __init__(
        self, space: NetworkNamespace, config: ProxyConfig, *, listen: bool = False
    ) -> None:
        self.space = space
        self.tables = space.call(lambda: Tables(names.TABLE, Family, listen=listen))
        self.dataplanes = nftables_dataplanes(self.tables.by_family)
        self.proxier = Proxier(config, self.dataplanes)

    def sync(self, events: list[Event]) -> bool:
        self.proxier.apply_events(events)
        return self.space.call(self.proxier.sync).changed

    def listing(self) -> str:
        return listing(self.space)

    def close(self, *, delete: bool = True) -> None:
        if delete:
            self.tables.delete()
        self.tables.close()


def listing(space: NetworkNamespace) -> str:
    """What nft says, with the elements of each set in order: the kernel's is that of its hashes."""
    text = "".join(space.run("nft", "list", "ruleset", word) for word in ("ip", "ip6", "inet"))

    def in_order(found: re.Match[str]) -> str:
        return "elements = { " + ", ".join(sorted(re.split(r",\s*", found[1].strip()))) + " }"

    return re.sub(r"elements = \{([^}]*)\}", in_order, text)


def transactions_of(previews: Iterable[Preview]) -> list[Transaction]:
    transactions = []
    for preview in previews:
        assert isinstance(preview, Transaction)
        transactions.append(preview)
    return transactions


@kernel_examples
@given(make.configs(), make.histories())
def test_text_through_nft_and_bytes_through_netlink_are_the_same_rules(
    space: NetworkNamespace, config: ProxyConfig, history: list[Event]
) -> None:
    node = Node(space, config)
    try:
        node.sync(history)
        by_bytes = node.listing()
        node.tables.delete()
        proxier = Proxier(config, nftables_dataplanes({f: FakeTable(f) for f in Family}))
        proxier.apply_events(history)
        transactions = transactions_of(proxier.plan(against_kernel=False))
        notes = {f: Annotations(proxier.owners(f), describe) for f in Family}
        space.run("nft", "-f", "-", stdin=render_ruleset(transactions, notes, title="test"))
        assert node.listing() == by_bytes
        newborn = Node(space, config)
        assert not newborn.sync(history), "a sync after loading the text has nothing to change"
        newborn.close(delete=False)
    finally:
        node.close()


@kernel_examples
@given(make.configs(), make.histories(), make.histories())
def test_a_transaction_means_the_same_as_text_and_as_bytes(
    space: NetworkNamespace, config: ProxyConfig, before: list[Event], after: list[Event]
) -> None:
    node = Node(space, config)
    try:
        node.sync(before)
        node.proxier.apply_events([Reset(), *after])
        parts = [
            _class_chains_apart(t) for t in transactions_of(node.proxier.plan(against_kernel=True))
        ]
        node.sync([])
        by_bytes = node.listing()
        node.tables.delete()
        other = Node(space, config)
        other.sync(before)
        for chains, rest in parts:
            other.tables.by_family[chains.family].commit(chains)
            space.run("nft", "-f", "-", stdin=render_transaction(rest))
        assert other.listing() == by_bytes
        other.close()
    finally:
        node.close()


def _class_chains_apart(transaction: Transaction) -> tuple[Transaction, Transaction]:
    """New class chains, and the rest.

    nft 1.0.6 cannot add a rule that refers to a map declared with ``typeof … th dport`` unless
    the map is new as well ("conflicting protocols specified"); elements and whole files are fine.
    """
    new = {op.chain for op in transaction.operations if isinstance(op, AddChain)}
    apart: list[Operation] = [
        op
        for op in transaction.operations
        if isinstance(op, AddChain | AddRule) and op.chain in new and parse_class_chain(op.chain)
    ]
    rest = [op for op in transaction.operations if op not in apart]
    return transaction._replace(operations=apart), transaction._replace(operations=rest)


@kernel_examples
@given(make.configs(), make.histories(), st.integers(1, 5))
def test_the_kernel_agrees_with_the_fake_and_a_restart_writes_nothing(
    space: NetworkNamespace, config: ProxyConfig, history: list[Event], step: int
) -> None:
    node = Node(space, config)
    fakes = {family: FakeTable(family) for family in Family}
    paper = Proxier(config, nftables_dataplanes(fakes))
    try:
        for start in range(0, len(history), step):
            piece = [Listed(), *history[start : start + step]]
            node.sync(piece)
            paper.apply_events(piece)
            paper.sync()
        space.call(node.proxier.tidy)
        paper.tidy()
        for family, table in node.tables.by_family.items():
            vocabulary = node.dataplanes[family].program.vocabulary
            read = table.read(vocabulary, SETS)
            assert read == fakes[family].ruleset
        newborn = Node(space, config)
        assert not newborn.sync(history)
        newborn.close(delete=False)
    finally:
        node.close()


CONFIG = ProxyConfig(make.NODE, node_ips=(make.NODE_ADDRESSES[Family.IPV4][0],))


@pytest.fixture
def node(netns: NetworkNamespace) -> Iterator[Node]:
    one = Node(netns, CONFIG, listen=True)
    one.sync(make.fixed_history())
    assert one.tables.listener is not None
    one.tables.listener.drain()
    yield one
    one.close()


FOREIGN_CHANGES = {
    "flush ruleset": "flush ruleset",
    "table deleted": "delete table ip netproxy",
    "chain flushed": "flush chain ip netproxy services",
    "rule added": "add rule ip netproxy services counter",
    "rule inserted": "insert rule ip netproxy nat-prerouting drop",
    "map emptied": "flush map ip netproxy service-ips",
    "element deleted": "delete element ip netproxy cluster-ips { 10.96.0.2 }",
    "element added": "add element ip netproxy cluster-ips { 10.96.9.9 }",
    "endpoint changed": "flush map ip netproxy endpoints; "
    "add element ip netproxy endpoints { 10.96.0.2 . tcp . 80 . 0 : 10.9.9.9 . 1 }",
    "chain added": "add chain ip netproxy mine { type filter hook input priority 5; }",
    "rules that remember": "flush chain ip netproxy remembered-endpoint",
    "no memory": "delete table ip netproxy; add table ip netproxy; "
    "add map ip netproxy affinity-clients { type ipv4_addr : ipv4_addr; }",
    "ticket deleted": "flush map ip netproxy affinity-endpoints",
    "range added": "add element ip netproxy allowed-sources-25 "
    "{ 192.0.2.8 . tcp . 80 . 198.51.100.0 }",
    "ranges deleted": "flush set ip netproxy allowed-sources-28",
    "everybody let in": "flush set ip netproxy firewalled-ips",
    "nobody let in": "flush chain ip netproxy source-ranges; "
    "add rule ip netproxy source-ranges drop",
    "ranges of another length": "add set ip netproxy allowed-sources-9 "
    "{ type ipv4_addr . inet_proto . inet_service . ipv4_addr; }",
    "ranges of another shape": "add set ip netproxy allowed-sources-9 { type ipv4_addr; }",
    "set added": "add set ip netproxy mine { type ipv4_addr; }",
    "set replaced": "delete table ip netproxy; add table ip netproxy; "
    "add map ip netproxy service-ips { type ipv4_addr : verdict; }",
    "other hook": "delete table ip netproxy; add table ip netproxy; "
    "add chain ip netproxy nat-output { type nat hook output priority 7; }",
    "six": "flush chain ip6 netproxy services",
}


@pytest.mark.parametrize("change", FOREIGN_CHANGES.values(), ids=FOREIGN_CHANGES.keys())
def test_drift_is_heard_and_exactly_repaired(node: Node, change: str) -> None:
    good = node.listing()
    assert not node.tables.listener.drain()  # type: ignore[union-attr]
    node.space.run("nft", change)
    assert node.listing() != good
    assert node.tables.listener.drain(), "the listener heard nothing"  # type: ignore[union-attr]
    node.proxier.request_full()
    assert node.sync([])
    assert node.listing() == good
    assert not node.tables.listener.drain(), "our own repair is no drift"  # type: ignore[union-attr]


def test_changes_of_other_tables_are_not_drift(node: Node) -> None:
    node.space.run(
        "nft", "add table ip netproxy-other; add chain ip netproxy-other x; add table inet t"
    )
    assert not node.tables.listener.drain()  # type: ignore[union-attr]


def test_a_large_change_of_ours_is_no_drift_but_a_foreign_one_meanwhile_is(node: Node) -> None:
    listener = node.tables.listener
    assert listener is not None
    node.sync([*make.many_services(300)])
    assert not listener.drain()
    table = node.tables.by_family[Family.IPV4]
    commit = table._netlink.commit

    def disturbed(transaction: Transaction) -> None:
        commit(transaction)
        # Already inside the namespace's thread.
        subprocess.run(["nft", "add chain ip netproxy foreign"], check=True)

    table._netlink.commit = disturbed  # type: ignore[method-assign]
    node.sync([*make.many_services(300, first=300)])
    table._netlink.commit = commit  # type: ignore[method-assign]
    assert listener.drain()


def test_cleanup_leaves_the_namespace_as_it_was(netns: NetworkNamespace) -> None:
    netns.run(
        "nft", "add table inet other; add chain inet other c { type filter hook input priority 0; }"
    )
    before = netns.run("nft", "list", "ruleset")
    node = Node(netns, CONFIG)
    node.sync(make.fixed_history())
    assert netns.run("nft", "list", "ruleset") != before
    assert sorted(node.tables.delete()) == ["table ip netproxy", "table ip6 netproxy"]
    assert netns.run("nft", "list", "ruleset") == before
    assert node.tables.delete() == []
    netns.run("nft", "add table ip netproxy")
    assert node.tables.delete() == ["table ip netproxy"], "an empty table is a trace, too"
    node.close()


def test_no_pruning_while_the_source_is_incomplete(netns: NetworkNamespace) -> None:
    node = Node(netns, CONFIG)
    node.sync(make.many_services(5))
    good = node.listing()
    newborn = Node(netns, CONFIG)
    assert not newborn.sync([*make.many_services(2)[:-1], Listed(complete=False)])
    assert newborn.listing() == good
    assert newborn.sync([*make.many_services(2)]), "complete at last: leftovers go"
    assert newborn.listing() != good
    newborn.close()
    node.close()


# What the kernel refuses, the fake refuses with the same errno; what it takes, the fake takes.

_KEY = bytes([10, 0, 0, 1])
_IPS = SETS[names.CLUSTER_IPS]
_MAP = SETS[names.SERVICE_IPS]
_MAP_KEY = _KEY + bytes([6, 0, 0, 0, 0, 80, 0, 0])
_BASE: list[Operation] = [AddTable(), AddChain("c"), AddSet("s", _IPS), AddSet("m", _MAP)]
_CLIENTS = SETS[names.CLIENTS]
_STATIC = _CLIENTS._replace(is_dynamic=False, size=0)
_PUT = AddRule("c", Rule((PutElement("d", CLIENT, TICKET, 60),)))
_DROP = AddRule("c", Rule((DropElement("d", CLIENT, TICKET),)))
CASES: dict[str, tuple[list[Operation], int]] = {
    "empty chain": ([*_BASE], 0),
    "no table": ([AddChain("c")], errno.ENOENT),
    "chain twice": ([*_BASE, AddChain("c")], 0),
    "table twice": ([*_BASE, AddTable()], 0),
    "rule in no chain": ([*_BASE, AddRule("d", Rule((jump("c"),)))], errno.ENOENT),
    "jump nowhere": ([*_BASE, AddRule("c", Rule((jump("d"),)))], errno.ENOENT),
    "element": ([*_BASE, AddElements("s", _IPS, [(_KEY, None)])], 0),
    "element twice": ([*_BASE, *[AddElements("s", _IPS, [(_KEY, None)])] * 2], 0),
    "element of no set": ([*_BASE, AddElements("t", _IPS, [(_KEY, None)])], errno.ENOENT),
    "delete no element": ([*_BASE, DeleteElements("s", _IPS, [(_KEY, None)])], errno.ENOENT),
    "verdict": ([*_BASE, AddElements("m", _MAP, [(_MAP_KEY, goto("c"))])], 0),
    "verdict nowhere": ([*_BASE, AddElements("m", _MAP, [(_MAP_KEY, goto("d"))])], errno.ENOENT),
    "other verdict": (
        [
            *_BASE,
            AddChain("d"),
            AddElements("m", _MAP, [(_MAP_KEY, goto("c"))]),
            AddElements("m", _MAP, [(_MAP_KEY, goto("d"))]),
        ],
        errno.EEXIST,
    ),
    "replaced verdict": (
        [
            *_BASE,
            AddChain("d"),
            AddElements("m", _MAP, [(_MAP_KEY, goto("c"))]),
            ReplaceElements("m", _MAP, [(_MAP_KEY, goto("c"), goto("d"))]),
        ],
        0,
    ),
    "delete used chain": (
        [*_BASE, AddElements("m", _MAP, [(_MAP_KEY, goto("c"))]), DeleteChain("c")],
        errno.EBUSY,
    ),
    "delete no chain": ([*_BASE, DeleteChain("d")], errno.ENOENT),
    "dynamic map": ([*_BASE, AddSet("d", _CLIENTS), _PUT, _DROP], 0),
    "dynamic map twice": ([*_BASE, AddSet("d", _CLIENTS), AddSet("d", _CLIENTS)], 0),
    "put into no map": ([*_BASE, _PUT], errno.ENOENT),
    "put into a static map": ([*_BASE, AddSet("d", _STATIC), _PUT], errno.EOPNOTSUPP),
    "drop from a static map": ([*_BASE, AddSet("d", _STATIC), _DROP], errno.EOPNOTSUPP),
    "delete dynamic map in use": (
        [*_BASE, AddSet("d", _CLIENTS), _PUT, DeleteSet("d")],
        errno.EBUSY,
    ),
    "delete set": ([*_BASE, DeleteSet("s")], 0),
    "other hook": (
        [
            *_BASE,
            AddChain("b", Hook("filter", "input", 0)),
            AddChain("b", Hook("filter", "input", 1)),
        ],
        errno.EOPNOTSUPP,
    ),
}


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_fake_is_as_strict_as_the_kernel(
    netns: NetworkNamespace, family: Family, case: tuple[list[Operation], int]
) -> None:
    operations, expected = case
    if family is Family.IPV6:
        operations = [_sixfold(op) for op in operations]
    transaction = Transaction(family, "netproxy", operations)
    tables = netns.call(lambda: Tables("netproxy", [family]))
    for table in (FakeTable(family), tables.by_family[family]):
        assert _refusal(table, transaction) == expected, type(table).__name__
    if expected:
        assert netns.run("nft", "list", "ruleset") == "", "a refused batch leaves nothing"
    tables.close()


def _refusal(table: Table, transaction: Transaction) -> int:
    """With which errno a table refuses; 0 when it does not."""
    try:
        table.commit(transaction)
    except DataplaneError as error:
        return error.errno
    return 0


def _sixfold(operation: Operation) -> Operation:
    """The same with addresses four times as long."""
    if isinstance(operation, AddElements | DeleteElements | ReplaceElements):
        items = [(item[0][:4] * 3 + item[0], *item[1:]) for item in operation.items]
        return operation._replace(items=items)
    return operation


def test_a_refusal_names_operation_object_and_reason(netns: NetworkNamespace) -> None:
    tables = netns.call(lambda: Tables("netproxy", [Family.IPV4]))
    broken = Transaction(Family.IPV4, "netproxy", [*_BASE, AddRule("c", Rule((jump("nowhere"),)))])
    with pytest.raises(DataplaneError) as caught:
        tables.by_family[Family.IPV4].commit(broken)
    assert str(caught.value) == (
        "cannot add rule to chain ip netproxy c: No such file or directory (ENOENT)"
    )
    tables.close()


def test_an_unprivileged_socket_gets_a_large_change_in_harmless_pieces(
    netns: NetworkNamespace,
) -> None:
    node = Node(netns, CONFIG)
    node.tables._netlink.is_privileged = False
    before = node.tables._netlink.batches_sent
    started = time.monotonic()
    node.sync(make.many_services(3000))
    assert node.tables._netlink.batches_sent - before > 3
    assert time.monotonic() - started < 60
    newborn = Node(netns, CONFIG)
    assert not newborn.sync(make.many_services(3000))
    newborn.close(delete=False)
    node.close()
