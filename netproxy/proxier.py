"""One node's proxy: objects in, the kernel's tables kept in step.

This is the shell around the pure parts. It decides nothing about packets; it only knows which
Services to look at again, and what to do when the kernel refuses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from netproxy.collector import collector_paused
from netproxy.contracts import Dataplane, FamilyReport, Flows, Preview
from netproxy.core.config import ProxyConfig
from netproxy.core.counts import ConnectionTotals
from netproxy.core.gaps import GapCounter, LocalGaps
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


class _Done(NamedTuple):
    """What a sync did in one family."""

    report: FamilyReport
    forgotten_flows: int = 0
    flows_wait_s: float = 0.0
    flow_trouble: DataplaneError | None = None


class FamilySync(NamedTuple):
    """How one sync went in one family; for whoever counts."""

    family: Family
    is_full: bool
    """Everything was compared with the kernel."""
    seconds: float
    """For its rules, without what both families share."""
    report: FamilyReport | None
    """None: the kernel refused."""
    without_local: LocalGaps
    """Service ports whose connections are dropped for want of an endpoint on this node."""
    forgotten_flows: int = 0
    flow_seconds: float = 0.0
    """For looking after connections of UDP."""


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
        observe: Hears how each sync went in each family, worked or not.
    """

    def __init__(
        self,
        config: ProxyConfig,
        dataplanes: Mapping[Family, Dataplane],
        read_addresses: AddressReader = no_addresses,
        flows: Flows | None = None,
        observe: Callable[[FamilySync], None] = lambda _: None,
    ) -> None:
        self._config = config
        self._observe = observe
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
        reports = []
        forgotten = 0
        refusal: DataplaneError | None = None
        flow_trouble: DataplaneError | None = None
        flows_wait_s = 0.0
        for family in self._dataplanes:
            # The families are independent: trouble in one must not make the other wait.
            outcome = self._sync_family(family)
            if isinstance(outcome, DataplaneError):
                refusal = refusal or outcome
                continue
            reports.append(outcome.report)
            flow_trouble = outcome.flow_trouble or flow_trouble
            forgotten += outcome.forgotten_flows
            flows_wait_s = max(flows_wait_s, outcome.flows_wait_s)
        self._has_synced = True
        if refusal is not None:
            raise refusal
        diagnostics, self._untold = tuple(self._untold), []
        elapsed = time.perf_counter() - started
        return SyncReport(
            full=full,
            families=tuple(reports),
            services=len(self._store.services),
            endpoints=sum(each.endpoints for each in self._dataplanes.values()),
            compile_ms=compile_s * 1000,
            kernel_ms=(elapsed - compile_s) * 1000,
            is_complete=self._store.is_complete,
            diagnostics=diagnostics,
            forgotten_flows=forgotten,
            flow_trouble=flow_trouble,
            flows_wait_s=flows_wait_s,
        )

    def _sync_family(self, family: Family) -> _Done | DataplaneError:
        dataplane = self._dataplanes[family]
        is_full = not dataplane.is_in_step
        started = time.perf_counter()
        try:
            report = dataplane.sync(prune=self._store.is_complete)
        except DataplaneError as error:
            took_s = time.perf_counter() - started
            self._observe(FamilySync(family, is_full, took_s, None, self._gaps[family].gaps))
            return error
        synced = time.perf_counter()
        self._health[family].settle(self._surroundings[family].nodeport_ips)
        accepting = accepting_addresses(self._surroundings[family], self._addresses[family])
        done = _Done(report)
        try:
            forgotten, wait_s = self._flows.forget(
                family, accepting, is_complete=self._store.is_complete
            )
            done = _Done(report, forgotten, wait_s)
        except DataplaneError as error:
            done = _Done(report, flow_trouble=error)
        self._observe(
            FamilySync(
                family,
                is_full,
                synced - started,
                report,
                self._gaps[family].gaps,
                done.forgotten_flows,
                time.perf_counter() - synced,
            )
        )
        return done

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
        in_step = [each for each in self._dataplanes.values() if each.is_in_step]
        return sum(each.tidy() for each in in_step) > 0

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
