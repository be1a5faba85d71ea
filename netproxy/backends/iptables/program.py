"""The desired rules of one family, kept up to date service by service.

Only the rules of dirty services are compiled, and only chains whose text differs from what was
written last are written again. The kernel replaces a whole table at each commit, whatever was
changed in it, so a table in which nothing changed is not written at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netproxy.backends.iptables import names
from netproxy.backends.iptables.compile import Fragment, compile_plan
from netproxy.backends.iptables.dispatch import dispatch
from netproxy.backends.iptables.layout import LARGE, FillIn, Settings, base_rules
from netproxy.core.plan import ServicePlan
from netproxy.ipt.change import TableChange
from netproxy.model.names import ServiceKey, ServicePortName

_List = tuple[str, str]
"""(table, chain) of a list that all services share."""


class _Service(NamedTuple):
    """One service: its plans, and what they were compiled to."""

    plans: tuple[ServicePlan, ...]
    fragments: tuple[Fragment, ...]


class Program:
    """Desired state of one family. Changes accumulate until they are taken.

    Args:
        settings: What the rules depend on besides services.
        fill_in: Fills in a template.
    """

    def __init__(self, settings: Settings, fill_in: FillIn) -> None:
        self.settings = settings
        self._fill_in = fill_in
        self._services: dict[ServiceKey, _Service] = {}
        self._chains: dict[str, str] = {}
        """Chains of services and endpoints, in nat: name → rules."""
        self._lists: dict[_List, dict[str, None]] = {w: {} for w in names.DISPATCH_PREFIXES}
        """Rules of services in shared lists."""
        self._kept: dict[_List, list[str]] = {}
        """Rules of services that no source has told of yet, found in the kernel."""
        self._constant: dict[str, dict[str, str]] = {}
        """Table → chains whose rules depend on no service."""
        self._tails: dict[_List, str] = {}
        """What follows the services' rules in a shared list."""
        self.jumps: dict[str, list[str]] = {}
        """Table → ``CHAIN rule``: what leads from built-in chains to ours, first ones first."""
        self._shared: dict[_List, dict[str, str]] = {}
        """The chains that each shared list became."""
        self._stale: set[_List] = set()
        """Shared lists that have to be made into chains again."""
        self._before: dict[tuple[str, str], str | None] = {}
        """(table, chain) → its rules when it was last taken, if they may be others now."""
        self.endpoints = 0
        """How many endpoints all service ports have together."""
        self.rules = dict.fromkeys((names.FILTER, names.NAT), 0)
        """Table → how many rules were taken last, without those in built-in chains."""
        self._make_base()

    def configure(self, settings: Settings) -> None:
        """Take other settings, and compile again what depends on them."""
        had, self.settings = self.settings, settings
        self._make_base()
        if _of_services(settings) == _of_services(had):
            return
        for key, service in list(self._services.items()):
            self._put(key, service.plans)

    def put_service(self, key: ServiceKey, plans: Iterable[ServicePlan]) -> None:
        """The plans of one service, instead of its former ones; none: it is gone."""
        self._put(key, tuple(plans))

    def take_changes(self) -> list[TableChange]:
        """Everything that differs from what was taken last."""
        self._settle()
        changes = []
        for table in (names.FILTER, names.NAT):
            written, deleted = {}, []
            for (where, chain), before in self._before.items():
                now = self._desired(table, chain) if where == table else before
                if now == before:
                    continue
                self.rules[table] += (now or "").count("\n") - (before or "").count("\n")
                if now is None:
                    deleted.append(chain)
                else:
                    written[chain] = now
            changes.append(
                TableChange(table, dict(sorted(written.items())), tuple(sorted(deleted)))
            )
        self._before.clear()
        return [change for change in changes if change]

    def chains(self, table: str) -> dict[str, str]:
        """All chains of ours that are to be in a table; nothing counts as changed afterwards."""
        self._settle()
        self._before.clear()
        chains = dict(self._constant[table])
        for (where, _), shared in self._shared.items():
            if where == table:
                chains |= shared
        if table == names.NAT:
            chains |= self._chains
        self.rules[table] = sum(rules.count("\n") for rules in chains.values())
        return chains

    def counted(self) -> Iterator[tuple[ServicePortName, str]]:
        """The rules that each service port's connections pass, once each."""
        for service in self._services.values():
            for plan, fragment in zip(service.plans, service.fragments, strict=True):
                for table, _, rule in fragment.entries:
                    if table == names.NAT:
                        yield plan.name, rule

    def keep(self, rules: dict[_List, list[str]]) -> None:
        """Leave these rules in the shared lists, whosever they are; no longer any others."""
        if rules != self._kept:
            self._kept = rules
            self._stale.update(self._lists)

    def knows(self, service: str) -> bool:
        """Whether rules of this service, ``namespace/name``, were compiled."""
        return ServiceKey(*service.split("/", 1)) in self._services if "/" in service else False

    def _make_base(self) -> None:
        """The constant rules, in their places."""
        constant = {table: dict.fromkeys(chains, "") for table, chains in names.CONSTANT.items()}
        self.jumps = {table: [] for table in constant}
        for table, chain, rule in base_rules(self.settings, self._fill_in):
            if chain.startswith("KUBE-"):
                line = f"-A {chain} {rule}\n"
                constant[table][chain] = constant[table].get(chain, "") + line
            else:
                self.jumps[table].append(f"{chain} {rule}")
        self._tails = {(t, chain): constant[t].pop(chain, "") for t, chain in self._lists}
        for table, chains in self._constant.items():
            for chain, rules in chains.items():
                self._before.setdefault((table, chain), rules)
        for table, chains in constant.items():
            for chain in chains:
                self._before.setdefault((table, chain), None)
        self._constant = constant
        self._stale.update(self._lists)

    def _put(self, key: ServiceKey, plans: tuple[ServicePlan, ...]) -> None:
        old = self._services.get(key)
        if old is None and not plans:
            return
        fragments = tuple([compile_plan(plan, self.settings, self._fill_in) for plan in plans])
        if old is not None:
            self._take_out(old.fragments, stays=fragments)
        for fragment in fragments:
            self.endpoints += fragment.endpoints
            for chain, rules in fragment.chains.items():
                self._before.setdefault((names.NAT, chain), self._chains.get(chain))
                self._chains[chain] = rules
            for table, chain, rule in fragment.entries:
                where = table, chain
                if rule not in self._lists[where]:
                    self._lists[where][rule] = None
                    self._stale.add(where)
        if plans:
            self._services[key] = _Service(plans, fragments)
        else:
            del self._services[key]

    def _take_out(self, fragments: tuple[Fragment, ...], stays: tuple[Fragment, ...]) -> None:
        """Forget what a service had, but for what it has again: that is not to be touched."""
        entries = {entry for fragment in stays for entry in fragment.entries}
        for fragment in fragments:
            self.endpoints -= fragment.endpoints
            for chain in fragment.chains:
                rules = self._chains.pop(chain)
                self._before.setdefault((names.NAT, chain), rules)
            for entry in fragment.entries:
                if entry not in entries:
                    table, chain, rule = entry
                    del self._lists[table, chain][rule]
                    self._stale.add((table, chain))

    def _settle(self) -> None:
        """Make chains of what is pending."""
        is_large = self.endpoints > LARGE
        if is_large is not self.settings.is_large:
            self.configure(self.settings._replace(is_large=is_large))
        for where in self._stale:
            table, chain = where
            rules = [*self._lists[where], *self._kept.get(where, ())]
            prefix = names.DISPATCH_PREFIXES[where]
            chains = dispatch(chain, rules, self.settings.family, prefix)
            chains[chain] += self._tails[where]
            before = self._shared.get(where, {})
            for name in {*chains, *before}:
                if chains.get(name) != before.get(name):
                    self._before.setdefault((table, name), before.get(name))
            self._shared[where] = chains
        self._stale.clear()

    def _desired(self, table: str, chain: str) -> str | None:
        """The rules that a chain is to have; None: there is to be no such chain."""
        found = self._constant[table].get(chain)
        if found is None and table == names.NAT:
            found = self._chains.get(chain)
        if found is not None:
            return found
        for (where, _), chains in self._shared.items():
            if where == table and chain in chains:
                return chains[chain]
        return None


def _of_services(settings: Settings) -> Settings:
    """Settings without those on which only the constant rules depend."""
    return settings._replace(nodeport_ips=None, accepts_localhost=False, drop_invalid=False)
