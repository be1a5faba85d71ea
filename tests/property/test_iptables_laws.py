"""The laws of ``test_laws.py`` in iptables mode. What the rules do is judged by the walker."""

from __future__ import annotations

import random
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from netproxy.backends.iptables import names
from netproxy.backends.iptables.compare import clean_up
from netproxy.backends.iptables.dataplane import iptables_dataplanes
from netproxy.backends.iptables.layout import Settings
from netproxy.core.config import ProxyConfig, ProxyMode
from netproxy.errors import DataplaneError
from netproxy.ipt.change import Restore, TableChange
from netproxy.ipt.fake import FakeIptables
from netproxy.ipt.text import Tables, TableText
from netproxy.model.events import Event, Listed, Reset
from netproxy.model.ip import Family
from netproxy.proxier import Proxier
from netproxy.render.environment import fill_in
from tests.property import strategies as make

configs = make.configs().map(lambda config: config._replace(mode=ProxyMode.IPTABLES))

FOREIGN = "-m comment --comment foreign -j ACCEPT"
"""Somebody else's rule."""


class Node:
    """A proxy on fake tables that hold other programs' rules, too."""

    def __init__(
        self, config: ProxyConfig, tables: dict[Family, FakeIptables] | None = None
    ) -> None:
        self.tables = tables or {family: _with_foreign_rules(family) for family in Family}
        self.proxier = Proxier(config, iptables_dataplanes(self.tables, fill_in))

    def sync(self, events: Iterable[Event]) -> bool:
        self.proxier.apply_events(events)
        return self.proxier.sync().changed

    def state(self) -> list[Tables]:
        """Everything; the order of chains in a table means nothing."""
        return [table.read() for table in self.tables.values()]


def _with_foreign_rules(family: Family) -> FakeIptables:
    fake = FakeIptables(family)
    for name, table in fake.tables.items():
        chains = {chain: f"-A {chain} {FOREIGN}\n" for chain in table.built_in}
        chains |= {"CNI-A": f"-A CNI-A {FOREIGN}\n", "KUBE-KUBELET-CANARY": ""}
        fake.tables[name] = TableText(chains, table.built_in)
    return fake


@given(configs, make.histories(), st.data())
def test_incremental_result_equals_full_recomputation(
    config: ProxyConfig, history: list[Event], data: st.DataObject
) -> None:
    stepwise = Node(config)
    stepwise.sync([Listed()])
    position = 0
    while position < len(history):
        step = data.draw(st.integers(1, 5))
        stepwise.sync(history[position : position + step])
        position += step
    at_once = Node(config)
    at_once.sync(history)
    assert stepwise.state() == at_once.state()


@given(configs, make.histories())
def test_a_second_sync_and_a_restart_write_nothing(
    config: ProxyConfig, history: list[Event]
) -> None:
    node = Node(config)
    node.sync(history)
    assert not node.sync([])
    node.proxier.request_full()
    assert not node.sync([])
    newborn = Node(config, node.tables)
    assert not newborn.sync(history)


@given(configs, make.histories(), make.histories())
def test_a_restart_into_another_state_converges(
    config: ProxyConfig, before: list[Event], after: list[Event]
) -> None:
    node = Node(config)
    node.sync(before)
    newborn = Node(config, node.tables)
    newborn.sync(after)
    fresh = Node(config)
    fresh.sync(after)
    assert newborn.state() == fresh.state()


@given(configs, make.histories(), make.histories())
def test_only_chains_that_change_are_written(
    config: ProxyConfig, before: list[Event], after: list[Event]
) -> None:
    node = Node(config)
    node.sync(before)
    had = node.state()
    counts = [len(table.changes) for table in node.tables.values()]
    node.sync([Reset(), *after])
    for fake, tables, count in zip(node.tables.values(), had, counts, strict=True):
        for change in fake.changes[count:]:
            for table in change.tables:
                for chain, rules in table.written.items():
                    assert tables[table.name].chains.get(chain) != rules, chain


@given(configs, make.histories(), make.histories())
def test_an_incomplete_source_takes_nothing_away(
    config: ProxyConfig, before: list[Event], after: list[Event]
) -> None:
    node = Node(config)
    node.sync(before)
    had = _entries(node)
    newborn = Node(config, node.tables)
    told = [event for event in after if not isinstance(event, Listed)]
    newborn.sync([*told, Listed(complete=False)])
    known = {str(key) for key in newborn.proxier._store.services}
    for where, rules in had.items():
        unknown = {r for r in rules if r.split('"')[1].split(" ")[0].split(":")[0] not in known}
        assert unknown <= _entries(newborn)[where]
    newborn.sync([Listed()])
    fresh = Node(config)
    fresh.sync([*told, Listed()])
    assert newborn.state() == fresh.state()


def _entries(node: Node) -> dict[tuple[Family, str, str], set[str]]:
    """Rules of services in the lists that all share; none of these is long enough to be cut."""
    found = {}
    for family, fake in node.tables.items():
        for table, chain in names.DISPATCH_PREFIXES:
            rules = fake.tables[table].chains.get(chain, "").splitlines()
            own = {r for r in rules if '--comment "' in r and "/" in r.split('"')[1].split(" ")[0]}
            found[family, table, chain] = own
    return found


@given(configs, make.histories())
def test_cleaning_up_leaves_what_others_have(config: ProxyConfig, history: list[Event]) -> None:
    node = Node(config)
    node.sync(history)
    for family, fake in node.tables.items():
        change = clean_up(fake.read(), Settings(family), fill_in)
        fake.restore(change)
        assert not clean_up(fake.read(), Settings(family), fill_in)
        left = {name: dict(table.chains) for name, table in fake.read().items()}
        # A kubelet is there, and it needs this chain as much as we do.
        has_firewall = left["filter"].pop(names.FIREWALL, None) is not None
        for chain in ("INPUT", "OUTPUT"):
            jump = f"-A {chain} -j {names.FIREWALL}\n"
            assert left["filter"][chain].count(jump) == has_firewall
            left["filter"][chain] = left["filter"][chain].replace(jump, "")
        fresh = _with_foreign_rules(family).read()
        assert left == {name: table.chains for name, table in fresh.items()}


@given(configs, make.histories(), st.randoms(use_true_random=False))
def test_any_drift_is_repaired(
    config: ProxyConfig, history: list[Event], dice: random.Random
) -> None:
    node = Node(config)
    node.sync(history)
    want = node.state()
    for fake in node.tables.values():
        _vandalise(fake, dice)
    node.proxier.request_full()
    node.sync([])
    for has, should in zip(node.state(), want, strict=True):
        for name in ("filter", "nat"):
            built_in = should[name].built_in
            for chain, rules in should[name].chains.items():
                if chain in built_in:  # a jump that was lost comes back at the head
                    assert sorted(has[name].chains[chain].splitlines()) == sorted(
                        rules.splitlines()
                    )
                else:
                    assert has[name].chains[chain] == rules


def _vandalise(fake: FakeIptables, dice: random.Random) -> None:
    """Take away, change and add rules in our chains."""
    for name in ("filter", "nat"):
        chains = dict(fake.tables[name].chains)
        for chain, rules in chains.items():
            lines = rules.splitlines(keepends=True)
            ours = [line for line in lines if FOREIGN not in line]
            if chain.startswith("CNI") or not ours or dice.random() > 0.3:
                continue
            victim = dice.choice(ours)
            lines.remove(victim)
            if chain not in fake.tables[name].built_in and dice.random() < 0.5:
                lines.append(f"-A {chain} -j RETURN\n")
            chains[chain] = "".join(lines)
        fake.tables[name] = TableText(chains, fake.tables[name].built_in)


class _Moody(FakeIptables):
    """Refuses some tables; those before it in the same change are committed all the same."""

    def __init__(self, family: Family, refusals: list[bool]) -> None:
        super().__init__(family)
        self.refusals = list(refusals)

    def restore(self, change: Restore) -> None:
        for number, table in enumerate(change.tables):
            if self.refusals and self.refusals.pop():
                raise DataplaneError(operation="restore", subject=table.name, errno=12)
            super().restore(change._replace(tables=(change.tables[number],)))


@given(configs, make.histories(), st.lists(st.booleans(), min_size=40, max_size=40))
def test_refused_tables_are_made_up_for(
    config: ProxyConfig, history: list[Event], refusals: list[bool]
) -> None:
    node = Node(config, {family: _Moody(family, refusals) for family in Family})
    node.proxier.apply_events([Listed()])
    for event in history:
        node.proxier.apply_events([event])
        try:
            node.proxier.sync()
        except DataplaneError:
            assert node.proxier.has_changes
    for table in node.tables.values():
        assert isinstance(table, _Moody)
        table.refusals = []
    node.sync([])
    fresh = Node(config, {family: FakeIptables(family) for family in Family})
    fresh.sync(history)
    assert node.state() == fresh.state()


def test_a_chain_that_others_lead_to_is_not_deleted() -> None:
    fake = FakeIptables(Family.IPV4)
    stale = "KUBE-SEP-AAAAAAAAAAAAAAAA"
    fake.restore(
        Restore(Family.IPV4, (TableChange("nat", {stale: "", "MINE": f"-A MINE -j {stale}\n"}),))
    )
    node = Node(ProxyConfig("node-1", mode=ProxyMode.IPTABLES), {Family.IPV4: fake})
    node.sync([Listed()])
    assert stale in fake.tables["nat"].chains
