"""Counts what a proxy does, as it does it, and tells it to Prometheus."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import (
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from netproxy import __version__
from netproxy.core.config import ProxyMode
from netproxy.metrics.catalogue import Catalogue
from netproxy.model.events import Delete, Event, Upsert, key_of
from netproxy.model.ip import Family
from netproxy.proxier import FamilySync, SyncReport

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""As kube-proxy: OpenMetrics would forbid gauges whose names end in _total."""


class ProxyMetrics:
    """A proxy's figures. Called from the loop and from the thread that syncs.

    Args:
        mode: The proxy mode.
        families: The IP families that are proxied.
        clock: Seconds since 1970; tests bring their own.
    """

    def __init__(
        self,
        mode: ProxyMode,
        families: Iterable[Family] = tuple(Family),
        clock: Callable[[], float] = time.time,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._clock = clock
        self._families = tuple(families)
        self._waiting_triggers: list[float] = []
        self._syncing_triggers: list[float] = []
        self.count_for(mode)

    def count_for(self, mode: ProxyMode) -> None:
        """Begin anew, as a restarted process would: each mode has metrics of its own."""
        self.catalogue = Catalogue(mode)
        registry = self.catalogue.registry
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        registry.register(_BuildInfo())
        self._show_zeros()

    def _show_zeros(self) -> None:
        """A counter that has not counted yet is there all the same: alerts look at increases."""
        names = self.catalogue
        for family in self._families:
            for each in (names.failures, names.partial_failures, names.cleanup_failures):
                if each is not None:
                    each.labels(family.label)
            names.conntrack_deleted.labels(family.label)
            names.commits.labels(family.label)
            names.operations.labels(family.label)
            for policy in ("internal", "external"):
                names.no_local_endpoints.labels(family.label, policy)

    def queued(self, events: Sequence[Event], triggers: Sequence[float], waiting: int) -> None:
        """A source has told of changes.

        Args:
            events: What it told.
            triggers: When those changes happened of which EndpointSlices tell; since 1970.
            waiting: How many events wait for a sync now.
        """
        names = self.catalogue
        now = self._clock()
        for family in self._families:
            names.last_queued.labels(family.label).set(now)
        for kind, (pending, total) in (
            ("Service", names.service_changes),
            ("EndpointSlice", names.endpoint_changes),
        ):
            count = sum(_kind(event) == kind for event in events)
            if count:
                pending.inc(count)
                total.inc(count)
        names.waiting.set(waiting)
        self._waiting_triggers += triggers

    def sync_started(self) -> None:
        """A sync takes along all that waits."""
        names = self.catalogue
        names.waiting.set(0)
        for pending, _ in (names.service_changes, names.endpoint_changes):
            pending.set(0)
        self._syncing_triggers += self._waiting_triggers
        self._waiting_triggers = []

    def family_synced(self, sync: FamilySync) -> None:
        """A sync has ended in one family, well or not."""
        names = self.catalogue
        label = sync.family.label
        names.sync.labels(label).observe(sync.seconds)
        kind = names.sync_full if sync.is_full else names.sync_partial
        kind.labels(label).observe(sync.seconds)
        for policy, count in zip(("internal", "external"), sync.without_local, strict=True):
            names.no_local_endpoints.labels(label, policy).set(count)
        report = sync.report
        if report is None:
            names.failures.labels(label).inc()
            if names.partial_failures is not None and not sync.is_full:
                names.partial_failures.labels(label).inc()
            return
        now = self._clock()
        names.last_sync.labels(label).set(now)
        if sync.is_full:
            names.last_comparison.labels(label).set(now)
        names.commits.labels(label).inc(report.operations > 0)
        names.operations.labels(label).inc(report.operations)
        names.elements.labels(label, "added").inc(report.elements_added)
        names.elements.labels(label, "deleted").inc(report.elements_deleted)
        names.conntrack.labels(label).observe(sync.flow_seconds)
        names.conntrack_deleted.labels(label).inc(sync.forgotten_flows)
        if names.rules is not None:
            total, last = names.rules
            for rules in report.rule_counts:
                total.labels(rules.table, label).set(rules.total)
                last.labels(rules.table, label).set(rules.written)

    def synced(self, report: SyncReport, *, is_repair: bool) -> None:
        """A sync has worked in all families."""
        names = self.catalogue
        names.services.set(report.services)
        names.endpoints.set(report.endpoints)
        if is_repair and report.changed:
            names.repairs.inc()
        now = self._clock()
        triggers, self._syncing_triggers = self._syncing_triggers, []
        for trigger in triggers:
            for family in self._families:
                names.programming.labels(family.label).observe(max(0.0, now - trigger))

    def sync_failed(self) -> None:
        """It was counted by family; what it took along goes on waiting."""

    def tidy_failed(self) -> None:
        """Unused chains could not be deleted."""
        if self.catalogue.cleanup_failures is not None:
            for family in self._families:
                self.catalogue.cleanup_failures.labels(family.label).inc()

    def reloading(self) -> None:
        """What was counted stays."""

    def answered(self, what: str, code: int) -> None:
        """Somebody asked for ``healthz``, ``livez`` or ``readyz``."""
        self.catalogue.answers[what].labels(str(code)).inc()

    def render(self) -> bytes:
        """Everything, in Prometheus' text format. Takes milliseconds: call it in a thread."""
        return generate_latest(self.catalogue.registry)


class _BuildInfo(Collector):
    """``kubernetes_build_info``, by which dashboards tell versions apart."""

    def collect(self) -> Iterable[Metric]:
        labels = {
            "git_version": f"v{__version__}+netproxy",
            "platform": f"linux/{platform.machine()}",
            "major": "",
            "minor": "",
        }
        family = GaugeMetricFamily(
            "kubernetes_build_info", "Always 1; the labels have the version.", labels=list(labels)
        )
        family.add_metric(list(labels.values()), 1)
        yield family


def _kind(event: Event) -> str:
    match event:
        case Upsert(object=obj):
            return key_of(obj)[0]
        case Delete(key=key):
            return key[0]
        case _:
            return ""
