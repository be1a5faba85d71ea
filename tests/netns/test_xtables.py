"""Live tables read through the library and through text, held against what iptables-save says."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from netproxy.errors import DataplaneError
from netproxy.kernel import xtables
from netproxy.kernel.iptables import Variant
from netproxy.kernel.xtables import (
    Counter,
    LibraryTables,
    LiveTables,
    SavedTables,
    open_live_tables,
)
from netproxy.model.ip import Family
from tests.netns.namespace import NetworkNamespace

WORDS = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
RULES = """
*filter
:A - [0:0]
:EMPTY - [0:0]
[3:180] -A INPUT -m comment --comment "-j NOBODY" -j A
[0:0] -A INPUT -m comment --comment "it's \\" only counted"
[7:420] -A FORWARD -g A
[18446744073709551615:5] -A A -p tcp -m tcp --dport 80 -j REJECT
[1:60] -A A -j RETURN
[0:0] -A A -m mark --mark 0x4000/0x4000 -m comment --comment "-j" -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]
[2:120] -A PREROUTING -j KUBE-SERVICES
[0:0] -A PREROUTING -j ACCEPT
[0:0] -A POSTROUTING -j MASQUERADE --random-fully
[5:300] -A KUBE-SERVICES -m statistic --mode random --probability 0.5 -j KUBE-SEP-AAAAAAAAAAAAAAAA
[0:0] -A KUBE-SEP-AAAAAAAAAAAAAAAA -p tcp -m tcp -j DNAT --to-destination {endpoint}:80
COMMIT
"""
ENDPOINTS = {Family.IPV4: "10.0.0.1", Family.IPV6: "[fd00::1]"}


def by_text(family: Family) -> LiveTables:
    return SavedTables(family, Variant("legacy"))


def by_text_of_nft(family: Family) -> LiveTables:
    return SavedTables(family, Variant("nft"))


Reader = Callable[[Family], LiveTables]

READERS: list[tuple[str, Reader]] = [
    ("legacy", by_text),
    ("nft", by_text_of_nft),
]
if xtables.has_library():
    READERS.append(("legacy", LibraryTables))

every_reader = pytest.mark.parametrize(("variant", "reader"), READERS)
every_family = pytest.mark.parametrize("family", list(Family), ids=lambda family: family.label)


def load(space: NetworkNamespace, variant: str, family: Family, *flags: str) -> None:
    rules = RULES.format(endpoint=ENDPOINTS[family])
    space.run(f"{WORDS[family]}-{variant}-restore", "-w", "-c", *flags, stdin=rules)


Chains = dict[str, list[tuple[str, Counter]]]
"""Chain → target and counter of each rule."""


def read_saved(text: str) -> dict[str, Chains]:
    """Tables as iptables-save -c prints them."""
    tables: dict[str, Chains] = {}
    chains: Chains = {}
    for line in text.splitlines():
        if line.startswith("*"):
            tables[line[1:]] = chains = {}
        elif line.startswith(":"):
            chains[line[1:].split()[0]] = []
        elif line.startswith("["):
            counter, _, chain, *words = shlex.split(line)
            packets, size = counter.strip("[]").split(":")
            places = [i for i, word in enumerate(words) if word in ("-j", "-g")]
            target = words[places[-1] + 1] if places else ""
            chains[chain].append((target, Counter(int(packets), int(size))))
    return tables


@every_family
@every_reader
def test_it_reads_what_iptables_save_prints(
    netns: NetworkNamespace, variant: str, reader: Reader, family: Family
) -> None:
    load(netns, variant, family)
    live = reader(family)
    saved = read_saved(netns.run(f"{WORDS[family]}-{variant}-save", "-c"))
    assert {"filter", "nat"} == saved.keys()
    for table, chains in saved.items():
        assert netns.call(partial(live.chains, table)) == set(chains)
        for chain, rules in chains.items():
            jumps = netns.call(partial(live.jumps, table, chain))
            counters = netns.call(partial(live.counters, table, chain))
            assert list(zip(jumps, counters, strict=True)) == rules, (table, chain)


@every_reader
def test_known_answers(netns: NetworkNamespace, variant: str, reader: Reader) -> None:
    load(netns, variant, Family.IPV4)
    live = reader(Family.IPV4)
    ask = netns.call
    assert ask(lambda: live.jumps("filter", "INPUT")) == ["A", ""]
    assert ask(lambda: live.jumps("filter", "FORWARD")) == ["A"], "goto"
    assert ask(lambda: live.jumps("filter", "A")) == ["REJECT", "RETURN", "ACCEPT"]
    assert ask(lambda: live.counters("filter", "A"))[0] == Counter(2**64 - 1, 5)
    assert ask(lambda: live.jumps("filter", "EMPTY")) == []
    assert ask(lambda: live.jumps("filter", "NOBODY")) == []
    assert ask(lambda: live.jumps("nat", "POSTROUTING")) == ["MASQUERADE"]
    assert ask(lambda: live.chains("nat")) >= {"PREROUTING", "KUBE-SERVICES"}
    assert "A" not in ask(lambda: live.chains("nat"))


@every_family
@every_reader
def test_looking_does_not_make_tables(
    netns: NetworkNamespace, variant: str, reader: Reader, family: Family
) -> None:
    live = reader(family)
    netns.call(partial(live.chains, "nat"))
    assert netns.call(partial(live.jumps, "nat", "PREROUTING")) == []
    assert netns.call(partial(live.counters, "nat", "PREROUTING")) == []
    assert not netns.call(partial(xtables._is_used, family, "nat"))
    assert netns.run("nft", "list", "tables") == ""


@every_reader
def test_each_namespace_and_family_has_its_own_rules(variant: str, reader: Reader) -> None:
    live = {family: reader(family) for family in Family}
    loaded = ["KUBE-SERVICES", "ACCEPT"]
    with NetworkNamespace() as one, NetworkNamespace() as other:
        load(one, variant, Family.IPV4)
        load(other, variant, Family.IPV6)
        for _ in range(3):
            for space, has in ((one, Family.IPV4), (other, Family.IPV6)):
                for family in Family:
                    jumps = space.call(partial(live[family].jumps, "nat", "PREROUTING"))
                    assert jumps == (loaded if family is has else [])
        one.run(f"iptables-{variant}", "-t", "nat", "-I", "PREROUTING", "-j", "KUBE-SERVICES")
        jumps = one.call(partial(live[Family.IPV4].jumps, "nat", "PREROUTING"))
        assert jumps == ["KUBE-SERVICES", *loaded], "what has changed since is seen"


@pytest.mark.parametrize("reader", [reader for kind, reader in READERS if kind == "legacy"])
def test_many_questions_leave_nothing_behind(netns: NetworkNamespace, reader: Reader) -> None:
    questions = 1000 if reader is LibraryTables else 50  # for each of which a program is started
    load(netns, "legacy", Family.IPV4)
    many = "".join(f"-A A -s 10.0.{n // 250}.{n % 250} -j ACCEPT\n" for n in range(1000))
    netns.run("iptables-legacy-restore", "--noflush", stdin=f"*filter\n{many}COMMIT\n")
    live = reader(Family.IPV4)

    def ask() -> int:
        return len(live.jumps("filter", "A")) + len(live.chains("nat"))

    def count_descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    netns.call(ask)
    before, memory = count_descriptors(), resident_kilobytes()
    for _ in range(questions):
        assert netns.call(ask) == 1003 + 6
    assert count_descriptors() == before
    assert resident_kilobytes() < memory + 20_000, "one table not freed is a hundred kilobytes"


def resident_kilobytes() -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("reader", [reader for kind, reader in READERS if kind == "legacy"])
def test_a_table_that_the_kernel_does_not_know_is_an_error(
    netns: NetworkNamespace, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xtables, "_is_used", lambda *_: True)
    with pytest.raises(DataplaneError, match="cannot read table nonsense") as caught:
        netns.call(partial(reader(Family.IPV4).chains, "nonsense"))
    assert caught.value.errno


def test_who_may_not_look_is_told(netns: NetworkNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(DataplaneError, match="EPERM") as caught:
        netns.call(partial(by_text(Family.IPV4).chains, "nat"))
    assert caught.value.hint == "run it as root"


def test_text_is_read_where_the_library_is_not_or_cannot_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    legacy, nft = Variant("legacy"), Variant("nft")
    assert isinstance(open_live_tables(Family.IPV4, nft), SavedTables)
    monkeypatch.setitem(sys.modules, "iptc", None)
    xtables._library.cache_clear()
    assert not xtables.has_library()
    assert isinstance(open_live_tables(Family.IPV6, legacy), SavedTables)
    monkeypatch.undo()
    xtables._library.cache_clear()
    best = LibraryTables if xtables.has_library() else SavedTables
    assert isinstance(open_live_tables(Family.IPV6, legacy), best)
