"""What the rules depend on besides services, and the constant ones.

A packet's way through them, first packet of a connection:

    nat PREROUTING / OUTPUT → KUBE-SERVICES: is the destination a service's? → KUBE-SVC-…, or by
        way of KUBE-EXT-… for external addresses: masquerade or short-circuit → an endpoint's
        KUBE-SEP-…, picked with probability 1/n: rewrite the destination
    filter INPUT / FORWARD / OUTPUT: still addressed to a service? Then nobody took it: reject or
        drop. What was taken is accepted in FORWARD
    nat POSTROUTING → KUBE-POSTROUTING: marked → masquerade

The text itself is in ``templates/*.iptables.j2``, spelled as iptables-save prints it, so that it
can be compared with what the kernel has word by word. iptables-legacy and iptables-nft print the
same, tried with 1.8.9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from netproxy.core.config import ProxyConfig
from netproxy.core.surroundings import Surroundings
from netproxy.model.ip import Family, IPAddress

FillIn = Callable[[str, Mapping[str, object]], str]
"""The text of a template with these values: ``render.environment.fill_in``."""

LARGE = 1000
"""More endpoints than this make a large rule set. Source: kube-proxy 1.36."""


class Settings(NamedTuple):
    """What the rules of one family depend on besides services."""

    family: Family
    masquerade_mark: int = 1 << 14
    masquerade_all: bool = False
    pod_source: str = ""
    """Prefix of sources that are pods; empty: not told by address."""
    pod_interface: str = ""
    """Interface of pods, ``+`` at its end for a prefix; empty: not told by interface."""
    nodeport_ips: tuple[IPAddress, ...] | None = None
    """The node's addresses that accept NodePorts, sorted; None: all, but see the next."""
    accepts_localhost: bool = False
    """NodePorts on loopback, too. Never in IPv6: the kernel routes nothing from ::1."""
    drop_invalid: bool = True
    """Drop what conntrack finds invalid, unless it was told to be liberal."""
    is_large: bool = False
    """A rule set with many endpoints has no comments on each of them: they would cost memory, and
    time in the kernel at every change. Source: kube-proxy 1.36."""

    @property
    def address_length(self) -> int:
        """Of the prefix that is one address."""
        return 32 if self.family is Family.IPV4 else 128

    def destination(self, address: str) -> str:
        """The match on one destination address."""
        return f"-d {address}/{self.address_length} "


def settings_for(config: ProxyConfig, seen: Surroundings, *, drop_invalid: bool) -> Settings:
    """The settings of one family."""
    interface = seen.pod_interface
    if interface.endswith("*"):
        interface = interface[:-1] + "+"
    return Settings(
        family=seen.family,
        masquerade_mark=config.masquerade_mark,
        masquerade_all=config.masquerade_all,
        pod_source=str(seen.pod_prefix) if seen.pod_prefix and not interface else "",
        pod_interface=interface,
        nodeport_ips=seen.nodeport_ips,
        accepts_localhost=seen.accepts_localhost_nodeports,
        drop_invalid=drop_invalid,
    )


class RuleText(NamedTuple):
    """One rule as iptables-save prints it."""

    table: str
    chain: str
    rule: str
    """Matches and target: what follows ``-A CHAIN``."""


def read_rules(text: str) -> Iterator[RuleText]:
    """The rules of a filled-in template: ``*table`` lines and ``-A CHAIN …`` lines."""
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        else:
            _, chain, rule = line.split(" ", 2)
            yield RuleText(table, chain, rule)


def base_rules(settings: Settings, fill_in: FillIn) -> list[RuleText]:
    """The constant rules; those of built-in chains are the jumps to ours."""
    values = {
        "mark": hex(settings.masquerade_mark),
        "accepts_localhost": settings.accepts_localhost,
        "drop_invalid": settings.drop_invalid,
        "nodeport_addresses": list(_nodeport_addresses(settings)),
        "any_local_address": settings.nodeport_ips is None,
    }
    return list(read_rules(fill_in("base.iptables.j2", values)))


def _nodeport_addresses(settings: Settings) -> Iterable[str]:
    """Destinations whose packets may be for a NodePort."""
    if settings.nodeport_ips is not None:
        return [settings.destination(address).rstrip() for address in settings.nodeport_ips]
    if settings.family is Family.IPV6:
        return ["! -d ::1/128"]
    return [""] if settings.accepts_localhost else ["! -d 127.0.0.0/8"]
