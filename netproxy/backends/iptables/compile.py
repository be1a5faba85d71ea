"""A plan → the rules that carry it out, by way of a template.

The plan has decided everything; here it is only told which chain leads where.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from netproxy.backends.iptables import names
from netproxy.backends.iptables.layout import FillIn, Settings, read_rules
from netproxy.core.plan import Action, Frontend, FrontendKind, ServicePlan, Target
from netproxy.model.ip import Family


class Fragment(NamedTuple):
    """All rules of one service port in one family."""

    chains: dict[str, str]
    """Chain of the nat table → its rules, as whole lines."""
    entries: tuple[tuple[str, str, str], ...]
    """(table, list, rule): its places in the shared lists."""
    endpoints: int


NOTHING = Fragment({}, (), 0)


class _Entry(NamedTuple):
    """A place in a shared list."""

    list: str
    destination: str
    """A match and a blank; empty for NodePorts."""
    port: int
    why: str
    chain: str = ""
    verdict: str = ""
    local: str = ""
    """A match and a blank: only addresses of this node."""


class _Endpoint(NamedTuple):
    chain: str
    source: str
    destination: str
    arrow: str
    """Comment and a blank, or nothing in a large rule set."""


_UNSAFE = re.compile(r"[^A-Za-z0-9._:/-]")
"""Names are checked where objects are read; what is pasted into commands is checked again."""
_LONGEST_LABEL = 195
"""A comment has at most 255 bytes, and more words follow. Source: xt_comment, iptables."""
_FORWARD, _DROP = Action.FORWARD, Action.DROP
_CLUSTER_IP, _NODE_PORT = FrontendKind.CLUSTER_IP, FrontendKind.NODE_PORT
_LOAD_BALANCER_IP = FrontendKind.LOAD_BALANCER_IP
_WORDS = {
    FrontendKind.CLUSTER_IP: " cluster IP",
    FrontendKind.EXTERNAL_IP: " external IP",
    FrontendKind.LOAD_BALANCER_IP: " loadbalancer IP",
    FrontendKind.NODE_PORT: "",
}


def compile_plan(plan: ServicePlan, settings: Settings, fill_in: FillIn) -> Fragment:
    """All rules of a plan."""
    text = fill_in("service-port.iptables.j2", _Port(plan, settings).values())
    chains: dict[str, list[str]] = {}
    entries = []
    for table, chain, rule in read_rules(text):
        if (table, chain) in names.DISPATCH_PREFIXES:
            entries.append((table, chain, rule))
        else:
            chains.setdefault(chain, []).append(f"-A {chain} {rule}\n")
    joined = {chain: "".join(rules) for chain, rules in chains.items()}
    return Fragment(joined, tuple(entries), len(plan.targets))


class _Port:
    """One plan, as the template wants to see it."""

    def __init__(self, plan: ServicePlan, settings: Settings) -> None:
        self._plan = plan
        self._settings = settings
        self._name = str(plan.name)
        self._label = _UNSAFE.sub("?", self._name)[:_LONGEST_LABEL]
        self._protocol = plan.name.protocol.lower()
        ending = names.port_hash(self._name, self._protocol)
        self._svc, self._svl = f"KUBE-SVC-{ending}", f"KUBE-SVL-{ending}"
        self._ext, self._fw = f"KUBE-EXT-{ending}", f"KUBE-FW-{ending}"
        self._has_endpoints = bool(plan.targets or plan.local_targets)
        frontends = plan.frontends
        self._cluster_ips = [f for f in frontends if f.kind is _CLUSTER_IP]
        self._externals = [f for f in frontends if f.kind is not _CLUSTER_IP]
        self._ranges = self._source_ranges()

    def values(self) -> dict[str, object]:
        """What the template asks for."""
        plan, settings, external = self._plan, self._settings, self._externals
        is_served = bool(external) and self._has_endpoints
        endpoints = {t: self._endpoint(t) for t in (*plan.targets, *plan.local_targets)}
        return {
            "name": self._label,
            "protocol": self._protocol,
            "port": next((f.port for f in plan.frontends if f.kind is not _NODE_PORT), 0),
            "svc": self._svc,
            "ext": self._ext,
            "fw": self._fw,
            "comment": self._comment(""),
            "mask": "255.255.255.255" if settings.family is Family.IPV4 else "ffff:" * 7 + "ffff",
            "affinity_s": plan.affinity_timeout_s,
            "forwarded": list(self._forwarded()),
            "refused": list(self._refused()),
            "firewalled": self._firewalled(),
            "health_check_port": plan.health_check_port,
            "source_ranges": self._ranges,
            "external": _policy(external[0]) if is_served and plan.targets else "",
            "external_choice": self._choice(external) if is_served else "",
            "pods": _pods(settings),
            "masquerades": self._masquerades(),
            "internal_choice": self._choice(self._cluster_ips),
            "choices": [
                {
                    "chain": chain,
                    "endpoints": [endpoints[t] for t in ts],
                    "chances": chances(len(ts)),
                }
                for chain, ts in ((self._svc, plan.targets), (self._svl, plan.local_targets))
                if ts
            ],
            "endpoints": endpoints.values(),
        }

    def _source_ranges(self) -> Sequence[str]:
        """Who may use the load balancer's addresses; empty: everybody, or nobody is there."""
        plan = self._plan
        is_balanced = any(f.kind is _LOAD_BALANCER_IP for f in self._externals)
        if not (plan.source_ranges and is_balanced and self._has_endpoints):
            return ()
        return [str(each) for each in plan.source_ranges]

    def _choice(self, frontends: Sequence[Frontend]) -> str:
        """The chain that picks an endpoint according to the policy; empty when there is none."""
        if not frontends or frontends[0].action is not _FORWARD:
            return ""
        return self._svl if frontends[0].is_local_only else self._svc

    def _forwarded(self) -> Iterable[_Entry]:
        for frontend in self._plan.frontends:
            if frontend.kind is _CLUSTER_IP:
                chain = self._choice([frontend])
            elif not self._has_endpoints:
                chain = ""
            elif frontend.kind is _LOAD_BALANCER_IP and self._ranges:
                chain = self._fw
            else:
                chain = self._ext
            if chain:
                where = names.NODEPORTS if frontend.kind is _NODE_PORT else names.SERVICES
                why = _WORDS[frontend.kind]
                yield _Entry(where, self._destination(frontend), frontend.port, why, chain=chain)

    def _refused(self) -> Iterable[_Entry]:
        for frontend in self._plan.frontends:
            if frontend.action is _FORWARD:
                continue
            is_drop = frontend.action is _DROP
            is_internal = frontend.kind is _CLUSTER_IP
            yield _Entry(
                names.SERVICES if is_internal else names.EXTERNAL_SERVICES,
                self._destination(frontend),
                frontend.port,
                "has no local endpoints" if is_drop else "has no endpoints",
                verdict="DROP" if is_drop else _reject(self._settings.family),
                local="-m addrtype --dst-type LOCAL " if frontend.kind is _NODE_PORT else "",
            )

    def _firewalled(self) -> list[str]:
        """Load-balancer addresses that only some sources may use."""
        if not self._ranges:
            return []
        return [self._destination(f) for f in self._externals if f.kind is _LOAD_BALANCER_IP]

    def _masquerades(self) -> list[str]:
        """Matches on packets to a ClusterIP whose replies must come back by way of this node."""
        settings = self._settings
        if not (settings.masquerade_all or settings.pod_source or settings.pod_interface):
            return []
        if not self._choice(self._cluster_ips):
            return []
        destinations = [self._destination(f).rstrip() for f in self._cluster_ips]
        if settings.masquerade_all:
            return destinations
        if settings.pod_source:
            return [f"! -s {settings.pod_source} {where}" for where in destinations]
        return [f"{where} ! -i {settings.pod_interface}" for where in destinations]

    def _destination(self, frontend: Frontend) -> str:
        if frontend.kind is _NODE_PORT:
            return ""
        return self._settings.destination(frontend.address)

    def _endpoint(self, target: Target) -> _Endpoint:
        settings, address = self._settings, target.address
        is_v4 = settings.family is Family.IPV4
        where = f"{address}:{target.port}" if is_v4 else f"[{address}]:{target.port}"
        chain = names.endpoint_chain(self._name, self._protocol, where)
        source = f"{address}/{settings.address_length}"
        return _Endpoint(chain, source, where, self._comment(f" -> {where}"))

    def _comment(self, more: str) -> str:
        if self._settings.is_large:
            return ""
        return f'-m comment --comment "{self._label}{more}" '


def _policy(external: Frontend) -> str:
    return "Local" if external.is_local_only else "Cluster"


def _pods(settings: Settings) -> str:
    """The match on packets of this node's pods; empty when they cannot be told."""
    if settings.pod_interface:
        return f"-i {settings.pod_interface}"
    return f"-s {settings.pod_source}" if settings.pod_source else ""


def _reject(family: Family) -> str:
    kind = "icmp" if family is Family.IPV4 else "icmp6"
    return f"REJECT --reject-with {kind}-port-unreachable"


@lru_cache(maxsize=1024)
def chances(count: int) -> list[str]:
    """For each of so many endpoints, the match that picks it from those not yet passed by.

    The kernel knows probabilities in steps of 2⁻³¹, and iptables-save prints those.

    Example:
        >>> chances(2)
        ['-m statistic --mode random --probability 0.50000000000 ', '']
    """
    steps = 1 << 31
    return [
        f"-m statistic --mode random --probability {round(steps / left) / steps:.11f} "
        for left in range(count, 1, -1)
    ] + [""] * bool(count)
