"""What of the operator's wish this host can do at all, asked before anything is written.

One IP family is enough to go on with, unless it is the other one that the node is known by.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from netproxy.backends.nftables.probe import rehearsal, what_is_missing
from netproxy.core.config import ProxyConfig, ProxyMode
from netproxy.errors import UnsupportedError
from netproxy.kernel import iptables, privileges
from netproxy.kernel.addresses import why_without
from netproxy.kernel.nftables import open_netlink
from netproxy.model.ip import Family, family_of

_HINT = (
    "modprobe what is missing, where the kernel has it as a module; or choose another --proxy-mode"
)


class Support(NamedTuple):
    """What the host can do."""

    families: tuple[Family, ...]
    """In which it can proxy; at least one."""
    left_out: Mapping[Family, str]
    """Why not in the others."""
    variant: iptables.Variant | None = None
    """In iptables mode: the programs to use."""


def find_support(config: ProxyConfig) -> Support:
    """Find out in which families this host and this process can do what is configured.

    Nothing is changed by asking, but that the kernel loads modules, and that iptables-legacy brings
    its empty tables into being.

    Raises:
        UnsupportedError: in none, or not in that of the node's first address; a right is missing.
    """
    variant = None
    if config.mode is ProxyMode.IPTABLES:
        variant = iptables.choose_variant(config.iptables_variant)
    privileges.require(_rights(variant))
    left_out = {family: why for family in config.families if (why := why_without(family))}
    candidates = [family for family in config.families if family not in left_out]
    left_out |= _ask_iptables(variant, candidates) if variant else _ask_nftables(candidates)
    usable = tuple(family for family in config.families if family not in left_out)
    _check(config, usable, left_out)
    return Support(usable, left_out, variant)


def _rights(variant: iptables.Variant | None) -> list[privileges.Right]:
    is_legacy = variant is not None and variant.kind == "legacy"
    return [privileges.NET_ADMIN, *([privileges.NET_RAW] if is_legacy else [])]


def _check(config: ProxyConfig, usable: tuple[Family, ...], left_out: Mapping[Family, str]) -> None:
    primary = [family_of(address) for address in config.node_ips[:1]]
    fatal = [f for f in left_out if f in primary or not usable]
    if fatal:
        words = "; ".join(f"{family.label}: {left_out[family]}" for family in fatal)
        raise UnsupportedError(f"{config.mode.value} mode does not work here: {words}", hint=_HINT)


def _ask_nftables(families: list[Family]) -> dict[Family, str]:
    found = {}
    with open_netlink() as netlink:
        for family in families:
            trial = rehearsal(family)
            missing = what_is_missing(trial, netlink.rehearse(trial))
            if missing:
                found[family] = "the kernel's nf_tables lacks " + ", ".join(missing)
    return found


def _ask_iptables(variant: iptables.Variant, families: list[Family]) -> dict[Family, str]:
    reasons = {family: iptables.why_unusable(family, variant) for family in families}
    return {family: why for family, why in reasons.items() if why}
