"""Rules that another proxy mode or another proxy left behind: found, and removed.

Old rules go only after new ones are in place; both together do no harm, since the first
translation of a connection counts and they agree about the rest.

What is ours in iptables cannot be told from kube-proxy's: names and rules are the same on purpose.
Only kube-proxy has a canary chain.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from netproxy.backends.iptables import names
from netproxy.backends.iptables.compare import clean_up
from netproxy.backends.iptables.layout import Settings
from netproxy.backends.nftables.names import TABLE
from netproxy.core.config import ProxyConfig, ProxyMode
from netproxy.errors import DataplaneError
from netproxy.ipt.text import Tables
from netproxy.kernel.addresses import has_family
from netproxy.kernel.iptables import IptablesTables, Variant, installed_variants
from netproxy.kernel.nftables import Tables as NftTables
from netproxy.kernel.xtables import open_live_tables
from netproxy.model.ip import Family
from netproxy.render.environment import fill_in
from netproxy.render.iptables import restore_pieces

KUBE_PROXY_TABLE = "kube-proxy"
"""Source: kube-proxy 1.36, nftables mode."""


_RIGHTS = (errno.EPERM, errno.EACCES)


class Leftover(NamedTuple):
    """Something that can be removed."""

    label: str
    remove: Callable[[], None]


def remove_all(found: Iterable[Leftover]) -> list[str]:
    """Remove them; returns what was removed, in words.

    Raises:
        DataplaneError: the kernel refused.
    """
    removed = []
    for leftover in found:
        leftover.remove()
        removed.append(f"removed {leftover.label}")
    return removed


def of_others(config: ProxyConfig, variant: Variant | None = None) -> list[Leftover]:
    """Rules of kube-proxy and of our other mode, while ours of this mode stay.

    Args:
        config: The mode and the families that are programmed now; others are left alone.
        variant: In iptables mode, the programs that are in use.

    Returns:
        What was found, as far as this process may look: see ``blind_spots``.

    Raises:
        DataplaneError: the kernel could not be read.
    """
    mode = config.mode
    tables = [KUBE_PROXY_TABLE, *([TABLE] if mode is ProxyMode.IPTABLES else [])]
    found = list(_in_nftables(config.families, tables))
    for other in _other_variants(variant):
        for family in config.families:
            if not _why_blind(family, other):
                found += [leftover for leftover, _ in _in_iptables([family], other)]
    return found


def blind_spots(config: ProxyConfig, variant: Variant | None = None) -> list[str]:
    """Where ``of_others`` does not look, as this process may not, in words. Arguments as there."""
    spots = []
    for other in _other_variants(variant):
        for family in config.families:
            why = _why_blind(family, other)
            if why:
                spots.append(f"tables of {other.program(family, '')}: {why}")
    return spots


def _other_variants(variant: Variant | None) -> list[Variant]:
    return [v for v in installed_variants() if variant is None or v.kind != variant.kind]


def _why_blind(family: Family, variant: Variant) -> str:
    """Why this process may not look; empty when it may."""
    if not has_family(family):
        return ""
    try:
        _has_kube_chains(family, variant)
    except DataplaneError as error:
        if error.errno not in _RIGHTS:
            raise
        return error.message
    return ""


def of_netproxy() -> tuple[list[Leftover], list[str]]:
    """Everything that netproxy ever made here, and what is left alone, in words.

    Raises:
        DataplaneError: the kernel could not be read.
    """
    found = list(_in_nftables(Family, [TABLE]))
    spared = []
    for variant in installed_variants():
        for leftover, is_kube_proxys in _in_iptables(Family, variant):
            if is_kube_proxys:
                spared.append(f"{leftover.label}: kube-proxy's, which has its canary there")
            else:
                found.append(leftover)
    return found, spared


def of_everybody() -> list[Leftover]:
    """All rules of netproxy and of kube-proxy. Source: kube-proxy 1.36, ``--cleanup``.

    Raises:
        DataplaneError: the kernel could not be read.
    """
    found = list(_in_nftables(Family, [TABLE, KUBE_PROXY_TABLE]))
    for variant in installed_variants():
        found += [leftover for leftover, _ in _in_iptables(Family, variant)]
    return found


def _in_nftables(families: Iterable[Family], tables: Iterable[str]) -> Iterator[Leftover]:
    for name in tables:
        with NftTables(name, families) as kernel:
            there = {f: t.label for f, t in kernel.by_family.items() if t.exists()}
        for family, label in there.items():
            yield Leftover(label, _table_remover(name, family))


def _table_remover(name: str, family: Family) -> Callable[[], None]:
    def remove() -> None:
        with NftTables(name, (family,)) as kernel:
            kernel.by_family[family].delete()

    return remove


def _in_iptables(families: Iterable[Family], variant: Variant) -> Iterator[tuple[Leftover, bool]]:
    """Rules with kube-proxy's names, and whether they are really kube-proxy's."""
    for family in families:
        if not has_family(family) or not _has_kube_chains(family, variant):
            continue
        tables = IptablesTables(family, variant, restore_pieces)
        actual = tables.read()
        change = clean_up(actual, Settings(family), fill_in)
        if change:
            label = f"{change.deleted()} chains and jumps of {variant.program(family, '')}"
            yield Leftover(label, _remover(tables)), _has_canary(actual)


def _has_kube_chains(family: Family, variant: Variant) -> bool:
    """A look at the chains' names, which on most hosts makes reading all rules needless."""
    live = open_live_tables(family, variant)
    tables = (names.NAT, names.FILTER, names.MANGLE)
    return any(chain.startswith("KUBE-") for table in tables for chain in live.chains(table))


def _remover(tables: IptablesTables) -> Callable[[], None]:
    def remove() -> None:
        # Read again: it may have changed since it was found.
        change = clean_up(tables.read(), Settings(tables.family), fill_in)
        if change:
            tables.restore(change)

    return remove


def _has_canary(actual: Tables) -> bool:
    return any(names.CANARY in table.chains for table in actual.values())
