"""One node's proxy: objects in, the kernel's tables kept in step.

This is the shell around the pure parts. It decides nothing about packets; it only knows which
Services to look at again, and what to do when the kernel refuses.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from netproxy.collector import collector_paused
from netproxy.contracts import Dataplane, FamilyReport, Flows, Preview
from netproxy.core.config import ProxyConfig
from netproxy.core.counts import ConnectionTotals
from netproxy.core.gaps import NO_GAPS, GapCounter, LocalGaps
from netproxy.core.health import HealthBook, HealthNews, service_health
from netproxy.core.resolve import Locality, resolve_service
from netproxy.core.rivals import rival_diagnostics
from netproxy.core.store import Store
from netproxy.core.surroundings import (
    Addresses,
    Surroundings,
    accepting_addresses,
    look_around,
)
from netproxy.errors import DataplaneError
from netproxy.flows import FlowKeeper
from netproxy.model.diagnostic import Diagnostic
from netproxy.model.events import Event
from netproxy.model.ip import Family
from netproxy.model.names import ServiceKey, ServicePortName


class SyncReport(NamedTuple):
    """What one sync did."""

    full: bool
    families: tuple[FamilyReport, ...]
    services: int
    endpoints: int
    compile_ms: float
    kernel_ms: float
    diagnostics: tuple[Diagnostic, ...] = ()
    """Findings about objects that only their combination shows, such as rival frontends."""
    forgotten_flows: int = 0
    """Connections of UDP that led to endpoints that are gone."""
    flow_trouble: DataplaneError | None = None
    """Such connections could not be removed; the next sync tries again."""
    flows_wait_s: float = 0.0
    """Such connections were left for a sync in so many seconds; 0: none were."""
    is_complete: bool = True
    """False while a source could not read everything, so that leftovers may have to stay."""

    @property
    def changed(self) -> bool:
        """Whether anything was sent to the kernel."""
        return any(report.operations for report in self.families)


class SyncKind(enum.Enum):
    """What a sync was about."""

    FULL = "full"
    """Everything was compared with the kernel."""
    PARTIAL = "partial"
    """What had changed was written."""
    TIDY = "tidy"
    """What nobody used any more was deleted."""


class FamilySync(NamedTuple):
    """How one sync went in one family."""

    family: Family
    kind: SyncKind
    seconds: float
    """Until the kernel had the rules, from the first look at the objects."""
    report: FamilyReport | None = None
    """None: the kernel refused."""
    refusal: DataplaneError | None = None
    without_local: LocalGaps = NO_GAPS
    """Service ports whose connections are dropped for want of an endpoint on this node."""
    forgotten_flows: int = 0
    """As in ``SyncReport``; so are the following two."""
    flow_trouble: DataplaneError | None = None
    flows_wait_s: float = 0.0
    flow_seconds: float = 0.0
    """Time of looking for such connections; 0: there was no need."""


AddressReader = Callable[[Family], Addresses]


def no_addresses(family: Family) -> Addresses:  # noqa: ARG001 - an AddressReader
    """For a proxy that must not look at the host: dry runs from nothing."""
    return Addresses()


class Proxier:
    """One node, both families. Not thread-safe.

    Args:
        config: The operator's settings.
        dataplanes: Carry plans out, per family; a family without one is not proxied.
        read_addresses: Tells this host's addresses; asked again at every full sync.
        flows: The kernel's connections, from which stale ones of UDP are removed; None: they stay.
    """

    def __init__(
        self,
        config: ProxyConfig,
        dataplanes: Mapping[Family, Dataplane],
        read_addresses: AddressReader = no_addresses,
        flows: Flows | None = None,
    ) -> None:
        self._config = config
        self._dataplanes = dict(dataplanes)
        self._read_addresses = read_addresses
        self._store = Store(config.node_name)
        self._addresses: dict[Family, Addresses] = {}
        """This host's, as they were when they were last looked at."""
        self._surroundings = {family: self._look_around(family) for family in self._dataplanes}
        for family, dataplane in self._dataplanes.items():
            dataplane.configure(config, self._surroundings[family])
        self._health = {family: HealthBook(family) for family in self._dataplanes}
        self._counts: dict[Family, ConnectionTotals[bytes]] = {
            family: ConnectionTotals() for family in self._dataplanes
        }
        self._gaps = {family: GapCounter() for family in self._dataplanes}
        self._family_syncs: list[FamilySync] = []
        """Those that nobody has asked about."""
        self._flows = FlowKeeper(flows, self._dataplanes)
        self._has_to_look = False
        """This host's addresses may have changed."""
        self._untold: list[Diagnostic] = []
        """Findings of syncs that failed; the next report has them."""
        self._has_synced = False
        self._has_pruned = True
        """False while leftovers may stand in the kernel that only a complete source can name."""

    def apply_events(self, events: Iterable[Event]) -> None:
        """Take events in; the kernel is not touched before ``sync``."""
        with collector_paused(collect=self._has_synced):
            for event in events:
                self._store.apply(event)

    @property
    def is_listed(self) -> bool:
        """Whether a source has said all it has; before that nothing may be synced."""
        return self._store.is_listed

    @property
    def has_changes(self) -> bool:
        """Whether a sync has anything to look at."""
        return self._store.has_changes or self._has_to_look or not self._is_in_step

    def request_full(self) -> None:
        """Let the next sync read the kernel and compare everything."""
        for dataplane in self._dataplanes.values():
            dataplane.forget()

    @property
    def _is_in_step(self) -> bool:
        """Whether the kernel's state is known in every family; otherwise all is compared."""
        return all(dataplane.is_in_step for dataplane in self._dataplanes.values())

    def look_again(self) -> None:
        """Let the next sync ask for this host's addresses: they may be others now."""
        self._has_to_look = True

    def sync(self) -> SyncReport:
        """Bring the kernel in step with the objects.

        Raises:
            DataplaneError: the kernel refused; the last good rules stay, and the next sync
                compares everything.
        """
        with collector_paused(collect=self._has_synced):
            return self._sync()

    def _sync(self) -> SyncReport:
        started = time.perf_counter()
        self._untold += self._recompile()
        full = not self._is_in_step
        compile_s = time.perf_counter() - started
        # The families are independent: trouble in one must not make the other wait.
        syncs = [self._sync_family(family, compile_s) for family in self._dataplanes]
        self._family_syncs = syncs
        self._has_synced = True
        for each in syncs:
            if each.refusal is not None:
                raise each.refusal
        diagnostics, self._untold = tuple(self._untold), []
        elapsed = time.perf_counter() - started
        return SyncReport(
            full=full,
            families=tuple(each.report for each in syncs if each.report is not None),
            services=len(self._store.services),
            endpoints=sum(each.endpoints for each in self._dataplanes.values()),
            compile_ms=compile_s * 1000,
            kernel_ms=(elapsed - compile_s) * 1000,
            is_complete=self._store.is_complete,
            diagnostics=diagnostics,
            forgotten_flows=sum(each.forgotten_flows for each in syncs),
            flow_trouble=next((s.flow_trouble for s in syncs if s.flow_trouble is not None), None),
            flows_wait_s=max((each.flows_wait_s for each in syncs), default=0.0),
        )

    def _sync_family(self, family: Family, compile_s: float) -> FamilySync:
        dataplane = self._dataplanes[family]
        kind = SyncKind.PARTIAL if dataplane.is_in_step else SyncKind.FULL
        gaps = self._gaps[family].gaps
        started = time.perf_counter()
        try:
            report = dataplane.sync(prune=self._store.is_complete)
        except DataplaneError as error:
            took_s = compile_s + time.perf_counter() - started
            return FamilySync(family, kind, took_s, refusal=error, without_local=gaps)
        synced = time.perf_counter()
        self._health[family].settle(self._surroundings[family].nodeport_ips)
        accepting = accepting_addresses(self._surroundings[family], self._addresses[family])
        done = FamilySync(family, kind, compile_s + synced - started, report, without_local=gaps)
        try:
            is_complete = self._store.is_complete
            forgotten, wait_s = self._flows.forget(family, accepting, is_complete=is_complete)
            done = done._replace(forgotten_flows=forgotten, flows_wait_s=wait_s)
        except DataplaneError as error:
            done = done._replace(flow_trouble=error)
        return done._replace(flow_seconds=self._flows.took_s)

    @property
    def families(self) -> Collection[Family]:
        """Those that are proxied."""
        return self._dataplanes.keys()

    @property
    def is_node_eligible(self) -> bool:
        """False when our Node is gone, or about to go: load balancers should turn away."""
        return self._store.is_node_eligible

    def take_family_syncs(self) -> list[FamilySync]:
        """How the last ``sync`` or ``tidy`` went, in each family, also when it failed."""
        syncs, self._family_syncs = self._family_syncs, []
        return syncs

    def take_health_news(self) -> list[HealthNews]:
        """What load balancers are to hear that they were not told yet.

        One piece for each family that has been synced since the last call, also when nothing
        changed in it, and also when the sync as a whole failed.
        """
        news = [book.take() for book in self._health.values()]
        return [each for each in news if each is not None]

    def read_counts(self) -> dict[Family, dict[ServicePortName, int]]:
        """New connections to each service port since this process began to count.

        Raises:
            DataplaneError: the kernel could not be read.
        """
        for family, dataplane in self._dataplanes.items():
            self._counts[family].read(dataplane.read_counts())
        return {family: totals.totals for family, totals in self._counts.items()}

    def plan(self, *, against_kernel: bool) -> list[Preview]:
        """What a sync would send, without sending it.

        Args:
            against_kernel: Compare with what the kernel holds; otherwise build from nothing.
        """
        with collector_paused(collect=self._has_synced):
            self._recompile()
            return [
                each.preview(against_kernel=against_kernel, prune=self._store.is_complete)
                for each in self._dataplanes.values()
            ]

    def owners(self, family: Family) -> dict[bytes, str]:
        """Packed frontend or ClusterIP → service port, for comments in text."""
        return self._dataplanes[family].owners()

    def tidy(self) -> bool:
        """Delete chains left unused by earlier syncs; True when there were any.

        Raises:
            DataplaneError: the kernel refused; the next sync compares everything.
        """
        syncs = []
        for family, dataplane in self._dataplanes.items():
            if not dataplane.is_in_step:
                continue
            started = time.perf_counter()
            report, refusal = None, None
            try:
                report = dataplane.tidy()
            except DataplaneError as error:
                refusal = error
            took_s = time.perf_counter() - started
            gaps = self._gaps[family].gaps
            syncs.append(FamilySync(family, SyncKind.TIDY, took_s, report, refusal, gaps))
        self._family_syncs = syncs
        for each in syncs:
            if each.refusal is not None:
                raise each.refusal
        return any(each.report is not None and each.report.operations for each in syncs)

    def _look_around(self, family: Family) -> Surroundings:
        self._addresses[family] = self._read_addresses(family)
        return look_around(
            self._config,
            family,
            node=self._store.node,
            service_cidrs=self._store.service_cidrs,
            addresses=self._addresses[family],
        )

    def _recompile(self) -> list[Diagnostic]:
        """Compile what is dirty; everything, after a change of what everything depends on."""
        dirty = self._store.take_dirty()
        if self._store.is_complete and not self._has_pruned:
            self.request_full()
        self._has_pruned = self._store.is_complete
        has_changed = self._store.take_surroundings_changed() or self._has_to_look
        if has_changed or not self._is_in_step:
            self._has_to_look = False
            dirty |= self._update_surroundings()
        diagnostics: list[Diagnostic] = []
        for key in sorted(dirty):
            diagnostics += self._recompile_service(key)
        return diagnostics

    def _update_surroundings(self) -> set[ServiceKey]:
        """Look around again; returns the Services to which that makes a difference."""
        dirty: set[ServiceKey] = set()
        for family, dataplane in self._dataplanes.items():
            seen = self._look_around(family)
            dirty |= self._concerned(self._surroundings[family].locality, seen.locality)
            self._surroundings[family] = seen
            dataplane.configure(self._config, seen)
        return dirty

    def _concerned(self, before: Locality, now: Locality) -> set[ServiceKey]:
        """The Services to which it makes a difference where this node stands."""
        if before == now:
            return set()
        services = self._store.services
        if before._replace(node_ip=now.node_ip) != now:
            return set(services)
        return {key for key, service in services.items() if service.source_ranges}

    def _recompile_service(self, key: ServiceKey) -> list[Diagnostic]:
        service = self._store.services.get(key)
        if service is None:
            self._flows.note_gone(key)
            for family, dataplane in self._dataplanes.items():
                dataplane.put_service(key, ())
                self._health[family].note(key, None)
                self._gaps[family].note(key, ())
            return []
        lost = self._store.lost_frontends(service)
        slices = self._store.slices_of(key)
        self._flows.note(service, slices, lost)
        for family, dataplane in self._dataplanes.items():
            locality = self._surroundings[family].locality
            plans = resolve_service(service, slices, locality, (family,), lost)
            dataplane.put_service(key, plans)
            self._gaps[family].note(key, plans)
            health = service_health(service, slices, locality.node_name, family)
            self._health[family].note(key, health)
        return rival_diagnostics(service, lost) if lost else []
