"""What a scrape finds: names, types, labels and buckets are kube-proxy's."""

from __future__ import annotations

import gzip
import re

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from netproxy.contracts import FamilyReport, RuleCount
from netproxy.core.config import ProxyMode
from netproxy.core.gaps import LocalGaps
from netproxy.errors import DataplaneError
from netproxy.metrics.proxy import ProxyMetrics
from netproxy.model.endpoints import EndpointSlice
from netproxy.model.events import Delete, Upsert
from netproxy.model.ip import Family
from netproxy.model.names import ServiceKey
from netproxy.proxier import FamilySync, SyncKind

KEY = ServiceKey("default", "web")
SLICE = EndpointSlice(KEY, "web-1", Family.IPV4, (), ())
REFUSED = DataplaneError(operation="add chain", subject="ip netproxy", errno=1)
POWERS = ["0.001", "0.002", "0.004", "0.008", "0.016", "0.032", "0.064", "0.128", "0.256", "0.512"]
POWERS += ["1.024", "2.048", "4.096", "8.192", "16.384", "+Inf"]
PROGRAMMING = ["0.25", "0.5", *map(str, range(1, 60)), *map(str, range(60, 120, 5))]
PROGRAMMING += [*map(str, range(120, 301, 30)), "+Inf"]
REQUESTS = ["0.005", "0.025", "0.1", "0.25", "0.5", "1", "2", "4", "8", "15", "30", "60", "+Inf"]

# Source: Kubernetes 1.36.2: name, type, labels, bounds; then the modes that have it.
F = ("ip_family",)
EVERYWHERE: list[tuple[str, str, tuple[str, ...], list[str]]] = [
    ("kubeproxy_sync_proxy_rules_duration_seconds", "histogram", F, POWERS),
    ("kubeproxy_sync_full_proxy_rules_duration_seconds", "histogram", F, POWERS),
    ("kubeproxy_sync_partial_proxy_rules_duration_seconds", "histogram", F, POWERS),
    ("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "gauge", F, []),
    ("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "gauge", F, []),
    ("kubeproxy_network_programming_duration_seconds", "histogram", F, PROGRAMMING),
    ("kubeproxy_sync_proxy_rules_endpoint_changes_pending", "gauge", (), []),
    ("kubeproxy_sync_proxy_rules_endpoint_changes_total", "counter", (), []),
    ("kubeproxy_sync_proxy_rules_service_changes_pending", "gauge", (), []),
    ("kubeproxy_sync_proxy_rules_service_changes_total", "counter", (), []),
    (
        "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
        "gauge",
        ("ip_family", "traffic_policy"),
        [],
    ),
    ("kubeproxy_proxy_healthz_total", "counter", ("code",), []),
    ("kubeproxy_proxy_livez_total", "counter", ("code",), []),
    ("kubeproxy_conntrack_reconciler_sync_duration_seconds", "histogram", F, POWERS),
    ("kubeproxy_conntrack_reconciler_deleted_entries_total", "counter", F, []),
    ("rest_client_requests_total", "counter", ("code", "host", "method"), []),
    ("rest_client_request_duration_seconds", "histogram", ("host", "verb"), REQUESTS),
    (
        "kubernetes_build_info",
        "gauge",
        (
            *("build_date", "compiler", "git_commit", "git_tree_state", "git_version"),
            *("go_version", "major", "minor", "platform"),
        ),
        [],
    ),
    ("process_cpu_seconds_total", "counter", (), []),
    ("process_resident_memory_bytes", "gauge", (), []),
    ("process_start_time_seconds", "gauge", (), []),
    ("process_open_fds", "gauge", (), []),
]
IN_MODE: dict[ProxyMode, list[tuple[str, str, tuple[str, ...], list[str]]]] = {
    ProxyMode.NFTABLES: [
        ("kubeproxy_sync_proxy_rules_nftables_sync_failures_total", "counter", F, []),
        ("kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total", "counter", F, []),
    ],
    ProxyMode.IPTABLES: [
        ("kubeproxy_sync_proxy_rules_iptables_restore_failures_total", "counter", F, []),
        ("kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total", "counter", F, []),
        ("kubeproxy_sync_proxy_rules_iptables_total", "gauge", ("ip_family", "table"), []),
        ("kubeproxy_sync_proxy_rules_iptables_last", "gauge", ("ip_family", "table"), []),
    ],
}


def exercised(mode: ProxyMode) -> ProxyMetrics:
    """Of a proxy to which everything has happened that is counted."""
    metrics = ProxyMetrics(wall=lambda: 1000.0)
    metrics.began(mode, tuple(Family))
    service = Delete(("Service", "default", "web"))
    metrics.queued([Upsert(SLICE), service], [990.0], {"Service": 1, "EndpointSlice": 1})
    metrics.sync_started()
    for family in Family:
        report = FamilyReport(family, 3, 2, 1, (RuleCount("nat", 7, 2),), 1, 99)
        done = FamilySync(family, SyncKind.FULL, 0.5, report, without_local=LocalGaps(1, 2))
        more = FamilySync(
            family, SyncKind.PARTIAL, 0.25, report, forgotten_flows=4, flow_seconds=0.1
        )
        refused = FamilySync(family, SyncKind.PARTIAL, 0.01, refusal=REFUSED)
        untidy = FamilySync(family, SyncKind.TIDY, 0.01, refusal=REFUSED)
        metrics.families_synced([done, more, refused, untidy], is_repair=False)
    for path in ("/healthz", "/livez", "/readyz"):
        metrics.answered(path, 200)
    metrics.asked("GET", "10.0.0.1:6443", 200, 0.1)
    metrics.asked("PATCH", "10.0.0.1:6443", None, 0.1)
    return metrics


def scrape(metrics: ProxyMetrics) -> dict[str, Metric]:
    text = metrics.render({}).body.decode()
    found = {family.name: family for family in text_string_to_metric_families(text)}
    # The parser drops what a counter's name ends in.
    return {f"{n}_total" if m.type == "counter" else n: m for n, m in found.items()}


def labels_of(metric: Metric) -> set[tuple[str, ...]]:
    return {tuple(sorted(set(sample.labels) - {"le"})) for sample in metric.samples}


def bounds_of(metric: Metric) -> list[str]:
    bounds = [sample.labels["le"] for sample in metric.samples if "le" in sample.labels]
    return list(dict.fromkeys(bounds))


@pytest.mark.parametrize("mode", ProxyMode)
def test_names_types_labels_and_buckets(mode: ProxyMode) -> None:
    found = scrape(exercised(mode))
    for name, kind, labels, bounds in [*EVERYWHERE, *IN_MODE[mode]]:
        assert found[name].type == kind, name
        assert labels_of(found[name]) == {labels}, name
        assert bounds_of(found[name]) == bounds, name
        assert found[name].documentation, name
    foreign = [name for other, rows in IN_MODE.items() if other is not mode for name, *_ in rows]
    assert not found.keys() & set(foreign)


@pytest.mark.parametrize("mode", ProxyMode)
def test_kube_proxys_prefix_is_for_its_own_metrics_only(mode: ProxyMode) -> None:
    known = {name for name, *_ in [*EVERYWHERE, *IN_MODE[mode]]}
    assert {name for name in scrape(exercised(mode)) if name.startswith("kubeproxy_")} <= known


def test_bounds_are_spelled_as_in_kube_proxys_text() -> None:
    body = exercised(ProxyMode.NFTABLES).render({}).body.decode()
    assert 'duration_seconds_bucket{ip_family="IPv4",le="60"}' in body
    assert not re.search(r'le="[0-9]+\.0"', body)


def test_who_asks_for_nothing_but_openmetrics_gets_it() -> None:
    page = exercised(ProxyMode.IPTABLES).render({"Accept": "application/openmetrics-text"})
    assert page.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    families = read_openmetrics(page.body.decode())  # type: ignore[no-untyped-call]
    names = {family.name for family in families}
    assert "kubeproxy_proxy_healthz" in names


def test_prometheus_itself_gets_the_plain_text_that_it_gets_from_kube_proxy() -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4"
    page = exercised(ProxyMode.IPTABLES).render({"Accept": accept, "Accept-Encoding": "gzip"})
    assert page.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert page.headers["Content-Encoding"] == "gzip"
    assert b"kubeproxy_" in gzip.decompress(page.body)


def test_the_version_is_that_of_the_cluster_to_alerts_and_ours_to_people() -> None:
    (sample,) = scrape(ProxyMetrics())["kubernetes_build_info"].samples
    assert sample.labels["git_version"].startswith("v1.36.2+netproxy-")
    assert (sample.labels["major"], sample.labels["minor"], sample.value) == ("1", "36", 1)


def test_metrics_of_the_mode_follow_the_mode() -> None:
    metrics = exercised(ProxyMode.NFTABLES)
    metrics.began(ProxyMode.IPTABLES, (Family.IPV4,))
    found = scrape(metrics)
    assert "kubeproxy_sync_proxy_rules_iptables_restore_failures_total" in found
    assert "kubeproxy_sync_proxy_rules_nftables_sync_failures_total" not in found
