"""iptables mode on a real kernel, with both variants of the programs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import Phase, given, settings

from netproxy import leftovers
from netproxy.core.config import ProxyConfig, ProxyMode
from netproxy.dataplanes import in_kernel
from netproxy.errors import DataplaneError
from netproxy.ipt.fake import FakeIptables
from netproxy.ipt.text import read_tables
from netproxy.kernel.iptables import Variant
from netproxy.model.events import Event, Listed, Reset
from netproxy.model.ip import Family
from netproxy.proxier import Proxier
from tests.netns.namespace import CommandError, NetworkNamespace
from tests.patience import patience
from tests.property import strategies as make
from tests.property.test_iptables_laws import Node as PaperNode

VARIANTS = ("legacy", "nft")
WORDS = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
CONFIG = ProxyConfig("node-1", mode=ProxyMode.IPTABLES)
FOREIGN = """
*filter
:CNI-FORWARD - [0:0]
-A CNI-FORWARD -m comment --comment "foreign rule" -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -m comment --comment "foreign rule" -j CNI-FORWARD
COMMIT
*nat
:CNI-HOSTPORT - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT
-A POSTROUTING -s 10.9.0.0/16 -j MASQUERADE
COMMIT
"""

kernel_examples = settings(
    max_examples=15,
    deadline=None,
    # Shrinking with a kernel takes longer than reading a large example.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def space() -> Iterator[NetworkNamespace]:
    with NetworkNamespace() as one:
        yield one


class Node:
    """A proxy on the kernel's tables, in a namespace."""

    def __init__(
        self,
        space: NetworkNamespace,
        variant: str,
        config: ProxyConfig = CONFIG,
        *,
        listen: bool = False,
    ) -> None:
        self.space = space
        self.variant = variant
        config = config._replace(mode=ProxyMode.IPTABLES, iptables_variant=variant)
        self.dataplanes = space.call(lambda: in_kernel(config, listen=listen))
        self.proxier = Proxier(config, self.dataplanes.by_family)

    def sync(self, events: list[Event]) -> bool:
        self.proxier.apply_events(events)
        return self.space.call(self.proxier.sync).changed

    def clean_up(self) -> None:
        self.space.call(self._clean_up)

    def _clean_up(self) -> None:
        for leftover, _ in leftovers._in_iptables(Family, Variant(self.variant)):
            leftover.remove()


def saved(space: NetworkNamespace, variant: str, family: Family = Family.IPV4) -> str:
    """What the kernel has, without counters and dates."""
    text = space.run(f"{WORDS[family]}-{variant}-save")
    return re.sub(r"\[\d+:\d+\]", "[0:0]", re.sub(r"(?m)^#.*\n", "", text))


def restore(space: NetworkNamespace, variant: str, text: str) -> None:
    space.run(f"iptables-{variant}-restore", "-w", "--noflush", stdin=text)


@pytest.mark.parametrize("variant", VARIANTS)
@kernel_examples
@given(make.configs(), make.histories(), make.histories())
def test_the_kernel_agrees_with_the_fake_and_a_restart_writes_nothing(
    space: NetworkNamespace,
    variant: str,
    config: ProxyConfig,
    history: list[Event],
    later: list[Event],
) -> None:
    node = Node(space, variant, config)
    fakes = {family: FakeIptables(family) for family in Family}
    paper = PaperNode(config._replace(mode=ProxyMode.IPTABLES), fakes)
    try:
        for piece in (history, [Reset(), *later]):
            node.sync(piece)
            paper.sync(piece)
            for family in Family:
                kernel = read_tables(saved(space, variant, family))
                for table in ("filter", "nat"):
                    has, should = kernel[table].chains, fakes[family].tables[table].chains
                    assert {c: has[c] for c in should} == should, "as it was written"
                    assert {c for c in has if c.startswith("KUBE-")} <= set(should)
        assert not Node(space, variant, config).sync(later)
    finally:
        node.clean_up()
    assert "KUBE" not in saved(space, variant) + saved(space, variant, Family.IPV6)


def test_rules_of_others_are_neither_lost_nor_moved(netns: NetworkNamespace, variant: str) -> None:
    restore(netns, variant, FOREIGN)
    before = saved(netns, variant)
    theirs = [rule for rule in before.splitlines() if rule.startswith("-A")]
    node = Node(netns, variant)
    nothing: list[Event] = [Reset(), Listed()]
    for events in (make.fixed_history(), nothing, make.fixed_history()):
        node.sync(events)
        rules = saved(netns, variant).splitlines()
        assert [rule for rule in rules if rule in theirs] == theirs
    node.clean_up()
    assert saved(netns, variant) == before


@pytest.mark.parametrize(
    "vandalism",
    [
        ("-t", "nat", "-F", "KUBE-SERVICES"),
        ("-t", "nat", "-D", "PREROUTING", "1"),
        ("-t", "filter", "-F"),
        ("-t", "nat", "-A", "KUBE-MARK-MASQ", "-j", "RETURN"),
    ],
    ids=" ".join,
)
def test_drift_is_sensed_and_exactly_repaired(
    netns: NetworkNamespace, variant: str, vandalism: tuple[str, ...]
) -> None:
    node = Node(netns, variant, listen=True)
    drift = node.dataplanes.drift
    assert drift is not None
    node.sync(make.fixed_history())
    assert not drift.drain(), "our own changes are no drift"
    before = saved(netns, variant)
    netns.run(f"iptables-{variant}", *vandalism)
    assert saved(netns, variant) != before
    assert drift.drain()
    assert not drift.drain(), "told once"
    node.proxier.request_full()
    assert node.sync([])
    assert saved(netns, variant) == before
    assert not drift.drain()
    node.dataplanes.close()


def test_changes_of_other_tables_are_no_drift(netns: NetworkNamespace, variant: str) -> None:
    node = Node(netns, variant, listen=True)
    drift = node.dataplanes.drift
    assert drift is not None
    node.sync(make.fixed_history())
    netns.run(f"iptables-{variant}", "-t", "mangle", "-A", "INPUT", "-j", "ACCEPT")
    netns.run("nft", "add", "table", "ip", "other")
    assert not drift.drain()
    node.dataplanes.close()


def test_a_refused_change_names_the_line_and_changes_nothing(
    netns: NetworkNamespace, variant: str
) -> None:
    node = Node(netns, variant)
    node.sync([Listed()])
    before = saved(netns, variant)
    dataplane = node.dataplanes.by_family[Family.IPV4]
    program = dataplane.program  # type: ignore[attr-defined]
    wrong = "-A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-SEP-NOWHERE\n"
    program._chains["KUBE-SVC-AAAAAAAAAAAAAAAA"] = wrong
    node.proxier.request_full()
    with pytest.raises(DataplaneError) as caught:
        node.sync([])
    assert "KUBE-SEP-NOWHERE" in f"{caught.value.message} {caught.value.hint}"
    assert saved(netns, variant) == before
    del program._chains["KUBE-SVC-AAAAAAAAAAAAAAAA"]
    assert not node.sync([])


def test_a_lock_that_is_held_is_waited_for(netns: NetworkNamespace) -> None:
    node = Node(netns, "legacy")
    command = ["flock", "/run/xtables.lock", "sleep", "1"]
    holder = subprocess.Popen(command)
    try:
        assert node.sync(make.fixed_history())
    finally:
        holder.wait(patience(10))


@pytest.mark.parametrize("kind", VARIANTS)
def test_the_variant_that_kubernetes_uses_is_chosen(netns: NetworkNamespace, kind: str) -> None:
    from netproxy.kernel.iptables import choose_variant

    restore(netns, kind, "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n")
    assert netns.call(choose_variant).kind == kind


def test_text_of_render_can_be_loaded(netns: NetworkNamespace, variant: str) -> None:
    node = Node(netns, variant)
    paper = Proxier(CONFIG, node.dataplanes.by_family)
    paper.apply_events(make.fixed_history())
    from netproxy.dataplanes import render_all

    text = render_all(paper.plan(against_kernel=False), paper.owners, title="test")
    ipv4 = text.partition("# for ip6tables-restore --noflush\n")[0]
    restore(netns, variant, ipv4)
    by_text = saved(netns, variant)
    node.sync(make.fixed_history())
    assert saved(netns, variant) == by_text
    with pytest.raises(CommandError):
        restore(netns, variant, ipv4.replace("-j KUBE-SERVICES", "-j KUBE-NOBODY", 1))
