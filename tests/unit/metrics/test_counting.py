"""What the figures say after what happened."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client.parser import text_string_to_metric_families

from netproxy.contracts import FamilyReport, RuleCount
from netproxy.core.config import ProxyMode
from netproxy.core.gaps import LocalGaps
from netproxy.errors import DataplaneError
from netproxy.metrics import proxy as metrics_module
from netproxy.metrics.proxy import ProxyMetrics
from netproxy.metrics.registry import Looked
from netproxy.model.endpoints import EndpointSlice
from netproxy.model.events import Delete, Listed, Reset, Upsert
from netproxy.model.ip import Family
from netproxy.model.names import ServiceKey
from netproxy.proxier import FamilySync, SyncKind, SyncReport

V4, V6 = Family.IPV4, Family.IPV6
KEY = ServiceKey("default", "web")
SLICE4 = Upsert(EndpointSlice(KEY, "web-4", V4, (), ()))
SLICE6 = Upsert(EndpointSlice(KEY, "web-6", V6, (), ()))
SERVICE = Delete(("Service", "default", "web"))
REFUSED = DataplaneError(operation="add chain", subject="ip netproxy", errno=16)
PROGRAMMING = "kubeproxy_network_programming_duration_seconds"
SYNC = "kubeproxy_sync_proxy_rules"


class Scene:
    """A proxy's metrics, on a clock that stands still."""

    def __init__(self, mode: ProxyMode = ProxyMode.NFTABLES) -> None:
        self.now = 1000.0
        self.metrics = ProxyMetrics(wall=lambda: self.now)
        self.metrics.began(mode, (V4, V6))

    def value(self, name: str, **labels: str) -> float | None:
        text = self.metrics.render({}).body.decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None

    def both(self, name: str, **labels: str) -> tuple[float | None, float | None]:
        """Of IPv4 and of IPv6."""
        first, second = (self.value(name, ip_family=f.label, **labels) for f in (V4, V6))
        return first, second

    def synced(self, *families: Family, kind: SyncKind = SyncKind.PARTIAL) -> None:
        self.metrics.sync_started()
        self.ended([FamilySync(f, kind, 0.25, FamilyReport(f, 3, 2, 1)) for f in families])

    def ended(self, syncs: Sequence[FamilySync], *, is_repair: bool = False) -> None:
        self.metrics.families_synced(syncs, is_repair=is_repair)


def test_changes_are_counted_and_wait_until_a_sync_begins() -> None:
    scene = Scene()
    scene.metrics.queued([SLICE4, SERVICE], (), {"Service": 1, "EndpointSlice": 1})
    scene.metrics.queued([SLICE4, Listed()], (), {"Service": 1, "EndpointSlice": 1})
    assert scene.value(f"{SYNC}_endpoint_changes_total") == 2
    assert scene.value(f"{SYNC}_endpoint_changes_pending") == 1
    assert scene.value(f"{SYNC}_service_changes_total") == 1
    assert scene.value("netproxy_events_total", kind="EndpointSlice") == 2
    assert scene.value("netproxy_events_waiting", kind="Service") == 1
    assert scene.both(f"{SYNC}_last_queued_timestamp_seconds") == (1000, 1000)
    scene.metrics.sync_started()
    assert scene.value(f"{SYNC}_endpoint_changes_pending") == 0
    assert scene.value("netproxy_events_waiting", kind="Service") == 0
    assert scene.value(f"{SYNC}_endpoint_changes_total") == 2


def test_full_and_partial_syncs_are_told_apart_and_both_are_syncs() -> None:
    scene = Scene()
    scene.synced(V4, kind=SyncKind.FULL)
    scene.now = 1010.0
    scene.synced(V4)
    assert scene.value(f"{SYNC}_duration_seconds_count", ip_family="IPv4") == 2
    assert scene.value(f"{SYNC}_duration_seconds_sum", ip_family="IPv4") == 0.5
    full, partial = "kubeproxy_sync_full_proxy_rules", "kubeproxy_sync_partial_proxy_rules"
    assert scene.both(f"{full}_duration_seconds_count") == (1, None)
    assert scene.both(f"{partial}_duration_seconds_count") == (1, None)
    assert scene.both(f"{SYNC}_last_timestamp_seconds") == (1010, None)
    assert scene.both("netproxy_last_full_comparison_timestamp_seconds") == (1000, None)
    assert scene.both("netproxy_kernel_operations_total") == (6, 0)


def test_a_refusal_counts_as_a_failed_sync_of_its_family() -> None:
    scene = Scene()
    refused = FamilySync(V6, SyncKind.PARTIAL, 0.1, refusal=REFUSED)
    scene.ended([FamilySync(V4, SyncKind.FULL, 0.1, FamilyReport(V4, 1, 0, 0)), refused])
    assert scene.both(f"{SYNC}_nftables_sync_failures_total") == (0, 1)
    assert scene.both("netproxy_sync_failures_total", kind="partial", reason="EBUSY") == (None, 1)
    assert scene.both(f"{SYNC}_duration_seconds_count") == (1, 1), "kube-proxy times failures, too"
    assert scene.both(f"{SYNC}_last_timestamp_seconds") == (1000, None)


def test_a_clean_up_that_fails_is_no_failed_sync() -> None:
    scene = Scene()
    scene.ended([FamilySync(V4, SyncKind.TIDY, 0.1, refusal=REFUSED)])
    assert scene.both(f"{SYNC}_nftables_sync_failures_total") == (0, 0)
    assert scene.both(f"{SYNC}_nftables_cleanup_failures_total") == (1, 0)
    assert scene.both(f"{SYNC}_duration_seconds_count") == (None, None)


def test_in_iptables_mode_partial_restores_that_fail_count_twice() -> None:
    scene = Scene(ProxyMode.IPTABLES)
    scene.ended([FamilySync(V4, SyncKind.PARTIAL, 0.1, refusal=REFUSED)])
    scene.ended([FamilySync(V4, SyncKind.FULL, 0.1, refusal=REFUSED)])
    assert scene.both(f"{SYNC}_iptables_restore_failures_total") == (2, 0)
    assert scene.both(f"{SYNC}_iptables_partial_restore_failures_total") == (1, 0)


def test_rules_of_iptables_tables() -> None:
    scene = Scene(ProxyMode.IPTABLES)
    counts = (RuleCount("nat", 40, 4), RuleCount("filter", 9, 0))
    scene.ended([FamilySync(V4, SyncKind.PARTIAL, 0.1, FamilyReport(V4, 1, 0, 0, counts))])
    assert scene.value(f"{SYNC}_iptables_total", ip_family="IPv4", table="nat") == 40
    assert scene.value(f"{SYNC}_iptables_last", ip_family="IPv4", table="nat") == 4
    assert scene.value(f"{SYNC}_iptables_last", ip_family="IPv4", table="filter") == 0


def test_programming_is_timed_when_the_sync_that_has_it_has_worked() -> None:
    scene = Scene()
    scene.metrics.queued([SLICE4], [995.0], {})
    scene.metrics.sync_started()
    scene.metrics.queued([SLICE4], [999.0], {})
    refused = FamilySync(V4, SyncKind.PARTIAL, 0.1, refusal=REFUSED)
    other = FamilySync(V6, SyncKind.PARTIAL, 0.1, FamilyReport(V6, 1, 0, 0))
    scene.ended([refused, other])
    assert scene.both(f"{PROGRAMMING}_count") == (None, None)
    scene.now = 1005.0
    scene.synced(V4, V6)
    assert scene.both(f"{PROGRAMMING}_count") == (2, None)
    assert scene.both(f"{PROGRAMMING}_sum") == (10.0 + 6.0, None)
    scene.synced(V4, V6)
    assert scene.both(f"{PROGRAMMING}_count") == (2, None), "each is timed once"


def test_programming_is_timed_in_the_families_of_the_slices() -> None:
    scene = Scene()
    scene.metrics.queued([SLICE6], [990.0], {})
    scene.synced(V4, V6)
    assert scene.both(f"{PROGRAMMING}_count") == (None, 1)


def test_a_clock_that_lags_behind_the_clusters_makes_no_negative_times() -> None:
    scene = Scene()
    scene.metrics.queued([SLICE4], [1003.0], {})
    scene.synced(V4)
    assert scene.value(f"{PROGRAMMING}_sum", ip_family="IPv4") == 0


def test_however_long_syncs_fail_what_waits_to_be_timed_does_not_grow() -> None:
    scene = Scene()
    most = metrics_module.MOST_TRIGGER_TIMES
    for _ in range(3):
        scene.metrics.queued([SLICE4], [990.0] * most, {})
        scene.metrics.queued([SLICE4], [990.0] * most, {})
        scene.metrics.sync_started()
        scene.ended([FamilySync(V4, SyncKind.PARTIAL, 0.1, refusal=REFUSED)])
    scene.synced(V4)
    assert scene.value(f"{PROGRAMMING}_count", ip_family="IPv4") == most


def test_only_what_was_put_back_counts_as_repaired_drift() -> None:
    scene = Scene()
    changed = FamilySync(V4, SyncKind.FULL, 0.1, FamilyReport(V4, 5, 0, 0))
    untouched = FamilySync(V6, SyncKind.FULL, 0.1, FamilyReport(V6, 0, 0, 0))
    scene.ended([changed, untouched], is_repair=True)
    scene.ended([changed], is_repair=False)
    assert scene.both("netproxy_drift_repairs_total") == (1, 0)


def test_what_was_sent() -> None:
    scene = Scene()
    report = FamilyReport(V4, 5, 0, 0, batches=2, sent_bytes=300)
    scene.ended([FamilySync(V4, SyncKind.PARTIAL, 0.1, report)])
    scene.ended([FamilySync(V4, SyncKind.TIDY, 0.1, report)])
    assert scene.both("netproxy_kernel_batches_total") == (4, 0)
    assert scene.both("netproxy_kernel_sent_bytes_total") == (600, 0)


def test_no_local_endpoints_and_forgotten_connections() -> None:
    scene = Scene()
    report = FamilyReport(V4, 0, 0, 0)
    gaps = LocalGaps(internal=2, external=5)
    seen = FamilySync(V4, SyncKind.PARTIAL, 0.1, report, without_local=gaps, forgotten_flows=7)
    scene.ended([seen._replace(flow_seconds=0.01), seen])
    name = f"{SYNC}_no_local_endpoints_total"
    assert scene.both(name, traffic_policy="internal") == (2, None)
    assert scene.both(name, traffic_policy="external") == (5, None)
    assert scene.both("kubeproxy_conntrack_reconciler_deleted_entries_total") == (14, 0)
    looked = "kubeproxy_conntrack_reconciler_sync_duration_seconds_count"
    assert scene.both(looked) == (1, None), "only one of them looked"


def test_objects_relists_and_crashes() -> None:
    scene = Scene()
    scene.metrics.queued([Reset()], (), {})
    scene.metrics.sync_crashed()
    scene.metrics.synced(SyncReport(False, (), 12, 34, 0.0, 0.0), is_repair=False)
    assert scene.value("netproxy_relists_total") == 1
    assert scene.value("netproxy_sync_crashes_total") == 1
    assert scene.value("netproxy_services") == 12
    assert scene.value("netproxy_endpoints") == 34


def test_another_proxy_takes_over_with_nothing_waiting() -> None:
    scene = Scene()
    scene.metrics.queued([SLICE4], [990.0], {"EndpointSlice": 1})
    scene.metrics.began(ProxyMode.NFTABLES, (V4,))
    assert scene.value(f"{SYNC}_endpoint_changes_pending") == 0
    scene.synced(V4)
    assert scene.value(f"{PROGRAMMING}_count", ip_family="IPv4") is None


def test_requests_to_the_api_server() -> None:
    scene = Scene()
    scene.metrics.asked("GET", "10.0.0.1:6443", 200, 0.3)
    scene.metrics.asked("GET", "10.0.0.1:6443", None, 0.3)
    where = {"host": "10.0.0.1:6443", "method": "GET"}
    assert scene.value("rest_client_requests_total", code="200", **where) == 1
    assert scene.value("rest_client_requests_total", code="<error>", **where) == 1
    seconds = "rest_client_request_duration_seconds_bucket"
    assert scene.value(seconds, host="10.0.0.1:6443", verb="GET", le="0.5") == 2


def test_answers_about_health_are_counted_by_status_and_as_checks() -> None:
    scene = Scene()
    for path, status in (("/healthz", 200), ("/healthz", 503), ("/livez", 200), ("/readyz", 503)):
        scene.metrics.answered(path, status)
    scene.metrics.pinged()
    assert scene.value("kubeproxy_proxy_healthz_total", code="200") == 1
    assert scene.value("kubeproxy_proxy_healthz_total", code="503") == 1
    assert scene.value("kubeproxy_proxy_livez_total", code="200") == 1
    assert scene.value("netproxy_readyz_total", code="503") == 1
    slis = scene.metrics.render_slis({}).body.decode()
    assert 'kubernetes_healthcheck{name="proxy",type="healthz"} 0.0' in slis
    assert 'kubernetes_healthcheck{name="ping",type="healthz"} 1.0' in slis
    assert 'kubernetes_healthchecks_total{name="proxy",status="error",type="readyz"} 1.0' in slis


def test_what_others_know_is_looked_at_when_somebody_asks() -> None:
    scene = Scene()
    known = [(("a",), 1.0)]
    scene.metrics.look(Looked("netproxy_seen_total", "Seen.", lambda: known, ("by",), True))
    known.append((("b",), 2.0))
    assert scene.value("netproxy_seen_total", by="b") == 2
