"""Every metric of a proxy: its name, kind, labels and buckets.

Source: kube-proxy 1.36, pkg/proxy/metrics, whose dashboards and alerts go by these names. Left out
are those of kernel objects that netproxy does not make: iptables_ct_state_invalid_dropped_… and
iptables_localhost_nodeports_accepted_packets_total count by nfacct, go_* by Go's run time.
"""

from __future__ import annotations

from collections.abc import Sequence

from netproxy.metrics.registry import Counter, Figures, Gauge

DURATIONS = tuple(0.001 * 2**n for n in range(15))
"""Bounds for everything that is done on this node, in seconds."""
PROGRAMMING = (
    *(0.25, 0.5),
    *(float(n) for n in range(1, 60)),
    *(float(n) for n in range(60, 120, 5)),
    *(float(n) for n in range(120, 301, 30)),
)
REQUESTS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""Source: Kubernetes 1.36, component-base, rest_client_request_duration_seconds."""
FAMILY = ("ip_family",)


class SyncFigures:
    """What syncs do, as kube-proxy counts it in every mode."""

    def __init__(self, to: Figures) -> None:
        self.seconds = to.histogram(
            "kubeproxy_sync_proxy_rules_duration_seconds",
            "Time of a sync, until the kernel had the rules of one family or refused them.",
            FAMILY,
            DURATIONS,
        )
        self.full_seconds = to.histogram(
            "kubeproxy_sync_full_proxy_rules_duration_seconds",
            "Time of those syncs that compared everything with the kernel.",
            FAMILY,
            DURATIONS,
        )
        self.partial_seconds = to.histogram(
            "kubeproxy_sync_partial_proxy_rules_duration_seconds",
            "Time of those syncs that wrote what had changed.",
            FAMILY,
            DURATIONS,
        )
        self.last_worked = to.gauge(
            "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
            "When a sync last worked, in seconds since 1970.",
            FAMILY,
        )
        self.last_queued = to.gauge(
            "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
            "When a sync was last asked for by changed objects, in seconds since 1970.",
            FAMILY,
        )
        self.programming = to.histogram(
            "kubeproxy_network_programming_duration_seconds",
            "From the change that made somebody write an EndpointSlice to the rules that follow.",
            FAMILY,
            PROGRAMMING,
        )
        self.no_local_endpoints = to.gauge(
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
            "Service ports of policy Local that have endpoints, but none on this node.",
            ("traffic_policy", *FAMILY),
        )
        self.flow_seconds = to.histogram(
            "kubeproxy_conntrack_reconciler_sync_duration_seconds",
            "Time of looking for connections of UDP that lead to endpoints that are gone.",
            FAMILY,
            DURATIONS,
        )
        self.flows_deleted = to.counter(
            "kubeproxy_conntrack_reconciler_deleted_entries_total",
            "Connections of UDP that were forgotten.",
            FAMILY,
        )


class ChangeFigures:
    """What sources tell, as kube-proxy counts it."""

    def __init__(self, to: Figures) -> None:
        self.pending: dict[str, Gauge] = {}
        """Kind of object → changes of it that wait."""
        self.total: dict[str, Counter] = {}
        for kind, word in (("EndpointSlice", "endpoint"), ("Service", "service")):
            self.pending[kind] = to.gauge(
                f"kubeproxy_sync_proxy_rules_{word}_changes_pending",
                f"{kind}s that changed since the last sync began.",
            )
            self.total[kind] = to.counter(
                f"kubeproxy_sync_proxy_rules_{word}_changes_total",
                f"Changes of {kind}s that were heard of.",
            )


class NftablesFigures:
    """What kube-proxy counts in nftables mode only."""

    def __init__(self, to: Figures) -> None:
        self.failures = to.counter(
            "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
            "Syncs that the kernel refused.",
            FAMILY,
        )
        self.cleanup_failures = to.counter(
            "kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total",
            "Deletions of unused chains that the kernel refused.",
            FAMILY,
        )


class IptablesFigures:
    """What kube-proxy counts in iptables mode only."""

    def __init__(self, to: Figures) -> None:
        self.failures = to.counter(
            "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
            "Syncs that the iptables programs refused.",
            FAMILY,
        )
        self.partial_failures = to.counter(
            "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total",
            "Those of them that wrote only what had changed.",
            FAMILY,
        )
        self.rules = to.gauge(
            "kubeproxy_sync_proxy_rules_iptables_total",
            "Rules of ours in a table.",
            ("table", *FAMILY),
        )
        self.rules_written = to.gauge(
            "kubeproxy_sync_proxy_rules_iptables_last",
            "Rules that the last sync wrote to a table.",
            ("table", *FAMILY),
        )


class OwnFigures:
    """What netproxy counts besides."""

    def __init__(self, to: Figures) -> None:
        self.repairs = to.counter(
            "netproxy_drift_repairs_total",
            "Repairs of our rules after another program had changed them.",
            FAMILY,
        )
        self.batches = to.counter(
            "netproxy_kernel_batches_total",
            "Batches that the kernel took: of netlink messages, or inputs of iptables-restore.",
            FAMILY,
        )
        self.bytes = to.counter(
            "netproxy_kernel_sent_bytes_total", "Bytes of those batches.", FAMILY
        )
        self.operations = to.counter(
            "netproxy_kernel_operations_total",
            "Tables, chains, rules, sets and elements in those batches.",
            FAMILY,
        )
        self.failures = to.counter(
            "netproxy_sync_failures_total",
            "Syncs that the kernel refused, by its error and by what they were about.",
            (*FAMILY, "kind", "reason"),
        )
        self.crashes = to.counter(
            "netproxy_sync_crashes_total", "Syncs that met a bug of netproxy."
        )
        self.events = to.counter(
            "netproxy_events_total", "Changes of objects that were heard of.", ("kind",)
        )
        self.waiting = to.gauge(
            "netproxy_events_waiting", "Objects that changed since the last sync began.", ("kind",)
        )
        self.relists = to.counter(
            "netproxy_relists_total", "How often a source began again from the beginning."
        )
        self.services = to.gauge("netproxy_services", "Services that are proxied.")
        self.endpoints = to.gauge(
            "netproxy_endpoints", "Endpoints of all service ports, in all families."
        )
        self.last_comparison = to.gauge(
            "netproxy_last_full_comparison_timestamp_seconds",
            "When everything was last compared with the kernel, in seconds since 1970.",
            FAMILY,
        )


class HttpFigures:
    """What is asked over HTTP, of us and by us."""

    def __init__(self, to: Figures) -> None:
        self.answers = {
            "/healthz": to.counter(
                "kubeproxy_proxy_healthz_total", "Answers of /healthz.", ("code",)
            ),
            "/livez": to.counter("kubeproxy_proxy_livez_total", "Answers of /livez.", ("code",)),
            "/readyz": to.counter("netproxy_readyz_total", "Answers of /readyz.", ("code",)),
        }
        self.requests = to.counter(
            "rest_client_requests_total",
            "Requests to the API server, by status, or <error> where there was no answer.",
            ("code", "host", "method"),
        )
        self.request_seconds = to.histogram(
            "rest_client_request_duration_seconds",
            "From a request to the head of the API server's answer.",
            ("host", "verb"),
            REQUESTS,
        )


class CheckFigures:
    """Of /metrics/slis: what was answered to those who asked about health."""

    def __init__(self, to: Figures) -> None:
        labels: Sequence[str] = ("name", "type")
        self.is_well = to.gauge(
            "kubernetes_healthcheck", "1 if the last answer to this question was good.", labels
        )
        self.answers = to.counter(
            "kubernetes_healthchecks_total", "Answers, by status.", (*labels, "status")
        )
