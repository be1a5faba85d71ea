"""Counts what a proxy does, as it does it, and tells it to Prometheus."""

from __future__ import annotations

import errno
import platform
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from netproxy import __version__
from netproxy.contracts import FamilyReport
from netproxy.core.config import ProxyMode
from netproxy.kubernetes.host_platform import platform_name
from netproxy.metrics.catalogue import (
    ChangeFigures,
    CheckFigures,
    HttpFigures,
    IptablesFigures,
    NftablesFigures,
    OwnFigures,
    SyncFigures,
)
from netproxy.metrics.registry import Figures, Looked, Page, render
from netproxy.model.endpoints import EndpointSlice
from netproxy.model.events import Delete, Event, Reset, Upsert, key_of
from netproxy.model.ip import Family
from netproxy.observer import Observer
from netproxy.proxier import FamilySync, SyncKind, SyncReport

KUBERNETES = "1.36.2"
"""Whose kube-proxy this one does as. Alerts compare it with the versions of other components."""
MOST_TRIGGER_TIMES = 10_000
"""That wait for a sync, per family; more are not measured."""


class ProxyMetrics(Observer):
    """A proxy's figures.

    Rendering may happen in any thread; everything else happens in the loop's.

    Args:
        wall: Seconds since 1970.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._common = Figures(has_process=True)
        self._syncs = SyncFigures(self._common)
        self._changes = ChangeFigures(self._common)
        self._http = HttpFigures(self._common)
        self._own = OwnFigures(self._common)
        self._of_mode = Figures()
        self._of_others: list[Figures] = []
        self._nftables: NftablesFigures | None = None
        self._iptables: IptablesFigures | None = None
        self._slis = Figures()
        self._checks = CheckFigures(self._slis)
        self._families: tuple[Family, ...] = ()
        self._mode: ProxyMode | None = None
        self._waiting: dict[Family, list[float]] = {}
        """Trigger times of what no sync has taken along."""
        self._syncing: dict[Family, list[float]] = {}
        """Of what was taken along, but is not in the kernel."""
        self.look(Looked("kubernetes_build_info", _BUILD_TEXT, _build, tuple(_BUILD)))

    def look(self, looked: Looked) -> None:
        """From now on tell of something that is known elsewhere, too."""
        self._common.look(looked)

    def join(self, figures: Figures) -> None:
        """From now on tell these, too: of something else in this process."""
        self._of_others.append(figures)

    def began(self, mode: ProxyMode | None, families: Collection[Family]) -> None:
        """See ``Observer``."""
        self._families = tuple(families)
        self._waiting = {family: [] for family in self._families}
        self._syncing = {family: [] for family in self._families}
        if mode is not self._mode:
            self._mode = mode
            figures = Figures()
            is_nftables, is_iptables = mode is ProxyMode.NFTABLES, mode is ProxyMode.IPTABLES
            self._nftables = NftablesFigures(figures) if is_nftables else None
            self._iptables = IptablesFigures(figures) if is_iptables else None
            self._of_mode = figures
        self._show_waiting({})
        self._show_zeros()

    def queued(
        self, events: Sequence[Event], triggers: Sequence[float], waiting: Mapping[str, int]
    ) -> None:
        """See ``Observer``."""
        self._own.relists.inc(sum(isinstance(event, Reset) for event in events))
        kinds = Counter(kind for kind in map(_kind, events) if kind)
        for kind, count in kinds.items():
            self._own.events.labels(kind).inc(count)
            if kind in self._changes.total:
                self._changes.total[kind].inc(count)
        self._show_waiting(waiting)
        if kinds:
            for family in self._families:
                self._syncs.last_queued.labels(family.label).set(self._wall())
        if triggers:
            for family in _families_of(events) & self._waiting.keys():
                room = MOST_TRIGGER_TIMES - len(self._waiting[family])
                self._waiting[family] += triggers[:room]

    def sync_started(self) -> None:
        """See ``Observer``."""
        self._show_waiting({})
        for family, times in self._waiting.items():
            room = MOST_TRIGGER_TIMES - len(self._syncing[family])
            self._syncing[family] += times[:room]
            times.clear()

    def families_synced(self, syncs: Sequence[FamilySync], *, is_repair: bool) -> None:
        """See ``Observer``."""
        for sync in syncs:
            label = sync.family.label
            if sync.kind is not SyncKind.TIDY:
                self._note_sync(sync)
            if sync.refusal is not None:
                number = sync.refusal.errno
                reason = errno.errorcode.get(number, str(number))
                self._own.failures.labels(label, sync.kind.value, reason).inc()
                self._note_failure(sync)
            if sync.report is not None:
                self._note_report(sync.report)
                if is_repair and sync.report.operations:
                    self._own.repairs.labels(label).inc()

    def synced(self, report: SyncReport, *, is_repair: bool) -> None:  # noqa: ARG002
        """See ``Observer``."""
        self._own.services.set(report.services)
        self._own.endpoints.set(report.endpoints)

    def sync_crashed(self) -> None:
        """See ``Observer``."""
        self._own.crashes.inc()

    def answered(self, path: str, status: int) -> None:
        """Somebody asked ``/healthz``, ``/livez`` or ``/readyz``, and got this HTTP status."""
        self._http.answers[path].labels(str(status)).inc()
        self._note_check("proxy", path.removeprefix("/"), is_well=status == 200)

    def pinged(self) -> None:
        """Somebody asked whether we answer at all."""
        self._note_check("ping", "healthz", is_well=True)

    def _note_check(self, name: str, kind: str, *, is_well: bool) -> None:
        self._checks.is_well.labels(name, kind).set(is_well)
        self._checks.answers.labels(name, kind, "success" if is_well else "error").inc()

    def asked(self, method: str, host: str, status: int | None, seconds: float) -> None:
        """We asked an API server. See ``netproxy.kubernetes.contract.ObserveRequest``."""
        code = "<error>" if status is None else str(status)
        self._http.requests.labels(code, host, method).inc()
        self._http.request_seconds.labels(host, method).observe(seconds)

    def render(self, headers: Mapping[str, str]) -> Page:
        """Everything. See ``registry.render``."""
        return render((self._common, self._of_mode, *self._of_others), headers)

    def render_slis(self, headers: Mapping[str, str]) -> Page:
        """What ``/metrics/slis`` tells."""
        return render((self._slis,), headers)

    def _note_sync(self, sync: FamilySync) -> None:
        label = sync.family.label
        figures = self._syncs
        figures.seconds.labels(label).observe(sync.seconds)
        is_full = sync.kind is SyncKind.FULL
        one = figures.full_seconds if is_full else figures.partial_seconds
        one.labels(label).observe(sync.seconds)
        for policy, count in sync.without_local._asdict().items():
            figures.no_local_endpoints.labels(policy, label).set(count)
        if sync.flow_seconds > 0:
            figures.flow_seconds.labels(label).observe(sync.flow_seconds)
        figures.flows_deleted.labels(label).inc(sync.forgotten_flows)
        if sync.report is None:
            return
        now = self._wall()
        figures.last_worked.labels(label).set(now)
        if is_full:
            self._own.last_comparison.labels(label).set(now)
        for at in self._syncing.get(sync.family, ()):
            figures.programming.labels(label).observe(max(0.0, now - at))
        self._syncing[sync.family] = []

    def _note_report(self, report: FamilyReport) -> None:
        label = report.family.label
        self._own.batches.labels(label).inc(report.batches)
        self._own.bytes.labels(label).inc(report.sent_bytes)
        self._own.operations.labels(label).inc(report.operations)
        if self._iptables is not None:
            for rules in report.rule_counts:
                self._iptables.rules.labels(rules.table, label).set(rules.total)
                self._iptables.rules_written.labels(rules.table, label).set(rules.written)

    def _note_failure(self, sync: FamilySync) -> None:
        label = sync.family.label
        if self._iptables is not None:
            self._iptables.failures.labels(label).inc()
            if sync.kind is SyncKind.PARTIAL:
                self._iptables.partial_failures.labels(label).inc()
        if self._nftables is not None:
            is_tidy = sync.kind is SyncKind.TIDY
            one = self._nftables.cleanup_failures if is_tidy else self._nftables.failures
            one.labels(label).inc()

    def _show_waiting(self, waiting: Mapping[str, int]) -> None:
        for kind in _KINDS:
            self._own.waiting.labels(kind).set(waiting.get(kind, 0))
        for kind, pending in self._changes.pending.items():
            pending.set(waiting.get(kind, 0))

    def _show_zeros(self) -> None:
        """A counter that has not counted is there all the same: alerts look at increases."""
        own = self._own
        counters = [own.repairs, own.batches, own.bytes, own.operations, self._syncs.flows_deleted]
        if self._nftables is not None:
            counters += [self._nftables.failures, self._nftables.cleanup_failures]
        if self._iptables is not None:
            counters += [self._iptables.failures, self._iptables.partial_failures]
        for family in self._families:
            for counter in counters:
                counter.labels(family.label)
        for kind in _KINDS:
            own.events.labels(kind)


_KINDS = ("Service", "EndpointSlice", "Node", "ServiceCIDR")
_BUILD_TEXT = "Always 1. The version is that of the kube-proxy which this does as, and our own."
_BUILD = {
    "major": KUBERNETES.split(".", maxsplit=1)[0],
    "minor": KUBERNETES.split(".")[1],
    "git_version": f"v{KUBERNETES}+netproxy-{__version__}",
    "git_commit": "",
    "git_tree_state": "",
    "build_date": "",
    "go_version": "",
    "compiler": platform.python_implementation(),
    "platform": platform_name(),
}


def _build() -> list[tuple[Sequence[str], float]]:
    return [(tuple(_BUILD.values()), 1)]


def _kind(event: Event) -> str:
    """The kind of object that it is about; empty: none."""
    match event:
        case Upsert(object=obj):
            return key_of(obj)[0]
        case Delete(key=key):
            return key[0]
        case _:
            return ""


def _families_of(events: Iterable[Event]) -> set[Family]:
    """Those of the EndpointSlices that were told of."""
    told = [event.object for event in events if isinstance(event, Upsert)]
    return {obj.family for obj in told if isinstance(obj, EndpointSlice)}
