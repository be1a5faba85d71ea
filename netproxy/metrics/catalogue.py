"""Every metric: its name, kind, labels and buckets.

Source: kube-proxy 1.36, pkg/proxy/metrics, whose dashboards and alerts go by these names. Left out
are those of kernel objects that netproxy does not make: iptables_ct_state_invalid_dropped_… and
iptables_localhost_nodeports_accepted_packets_total count by nfacct, go_* by Go's run time.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from netproxy.core.config import ProxyMode

_SECONDS = tuple(0.001 * 2**n for n in range(15))
_PROGRAMMING = (
    *(0.25, 0.5),
    *(float(n) for n in range(1, 60)),
    *(float(n) for n in range(60, 120, 5)),
    *(float(n) for n in range(120, 301, 30)),
)
_FAMILY = ("ip_family",)


class Catalogue:
    """One of each, in a registry of its own.

    Args:
        mode: Some exist in one mode only.
    """

    def __init__(self, mode: ProxyMode) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._make_syncs()
        self._make_changes()
        self._make_conntrack()
        self._make_failures(mode)
        self._make_serving()
        self._make_own()

    def _make_syncs(self) -> None:
        self.sync = self._histogram(
            "sync_proxy_rules_duration_seconds", "Time of a sync of one IP family.", _FAMILY
        )
        self.sync_full = self._histogram(
            "sync_full_proxy_rules_duration_seconds",
            "Time of a sync that compared everything with the kernel.",
            _FAMILY,
        )
        self.sync_partial = self._histogram(
            "sync_partial_proxy_rules_duration_seconds",
            "Time of a sync of what had changed.",
            _FAMILY,
        )
        self.last_sync = self._gauge(
            "sync_proxy_rules_last_timestamp_seconds", "When a sync last worked.", _FAMILY
        )
        self.last_queued = self._gauge(
            "sync_proxy_rules_last_queued_timestamp_seconds",
            "When a sync was last asked for.",
            _FAMILY,
        )
        self.programming = self._histogram(
            "network_programming_duration_seconds",
            "From the change that endpoints tell of to the rules that follow it.",
            _FAMILY,
            _PROGRAMMING,
        )
        self.no_local_endpoints = self._gauge(
            "sync_proxy_rules_no_local_endpoints_total",
            "Service ports of policy Local whose connections are dropped on this node.",
            ("ip_family", "traffic_policy"),
        )

    def _make_changes(self) -> None:
        for kind in ("endpoint", "service"):
            pending = self._gauge(
                f"sync_proxy_rules_{kind}_changes_pending",
                f"Changes of {kind}s that no sync has taken along yet.",
            )
            total = self._counter(
                f"sync_proxy_rules_{kind}_changes_total", f"Changes of {kind}s that were heard of."
            )
            setattr(self, f"{kind}_changes", (pending, total))

    service_changes: tuple[Gauge, Counter]
    endpoint_changes: tuple[Gauge, Counter]

    def _make_conntrack(self) -> None:
        self.conntrack = self._histogram(
            "conntrack_reconciler_sync_duration_seconds",
            "Time of looking for connections of UDP that lead astray.",
            _FAMILY,
        )
        self.conntrack_deleted = self._counter(
            "conntrack_reconciler_deleted_entries_total",
            "Connections of UDP that were forgotten.",
            _FAMILY,
        )

    def _make_failures(self, mode: ProxyMode) -> None:
        self.partial_failures: Counter | None = None
        self.cleanup_failures: Counter | None = None
        self.rules: tuple[Gauge, Gauge] | None = None
        if mode is ProxyMode.NFTABLES:
            self.failures = self._counter(
                "sync_proxy_rules_nftables_sync_failures_total",
                "Syncs that the kernel refused.",
                _FAMILY,
            )
            self.cleanup_failures = self._counter(
                "sync_proxy_rules_nftables_cleanup_failures_total",
                "Deletions of unused chains that the kernel refused.",
                _FAMILY,
            )
            return
        self.failures = self._counter(
            "sync_proxy_rules_iptables_restore_failures_total",
            "Syncs that iptables-restore refused.",
            _FAMILY,
        )
        self.partial_failures = self._counter(
            "sync_proxy_rules_iptables_partial_restore_failures_total",
            "Those of them that wrote only what had changed.",
            _FAMILY,
        )
        labels = ("table", "ip_family")
        self.rules = (
            self._gauge("sync_proxy_rules_iptables_total", "Rules of ours.", labels),
            self._gauge(
                "sync_proxy_rules_iptables_last", "Rules that the last sync wrote.", labels
            ),
        )

    def _make_serving(self) -> None:
        self.answers = {
            "healthz": self._counter("proxy_healthz_total", "Answers of /healthz.", ("code",)),
            "livez": self._counter("proxy_livez_total", "Answers of /livez.", ("code",)),
        }
        self.answers["readyz"] = self._counter(
            "readyz_total", "Answers of /readyz.", ("code",), prefix="netproxy_"
        )

    def _make_own(self) -> None:
        own = "netproxy_"
        self.repairs = self._counter(
            "drift_repairs_total", "Repairs after others had changed our rules.", prefix=own
        )
        self.commits = self._counter(
            "commits_total", "Changes sent to the kernel.", _FAMILY, prefix=own
        )
        self.operations = self._counter(
            "operations_total",
            "Tables, chains, rules, sets and elements that were sent.",
            _FAMILY,
            prefix=own,
        )
        self.elements = self._counter(
            "elements_total",
            "Elements or rules added and deleted.",
            ("ip_family", "change"),
            prefix=own,
        )
        self.waiting = self._gauge(
            "events_waiting", "Events that no sync has taken along yet.", prefix=own
        )
        self.services = self._gauge("services", "Services that are proxied.", prefix=own)
        self.endpoints = self._gauge("endpoints", "Endpoints of all service ports.", prefix=own)
        self.last_comparison = self._gauge(
            "last_full_comparison_timestamp_seconds",
            "When everything was last compared with the kernel.",
            _FAMILY,
            prefix=own,
        )
        self.events_dropped = self._gauge(
            "api_events_dropped", "Events for the API that were given up.", prefix=own
        )

    def _histogram(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...] = (),
        buckets: tuple[float, ...] = _SECONDS,
    ) -> Histogram:
        return Histogram(f"kubeproxy_{name}", text, labels, buckets=buckets, registry=self.registry)

    def _gauge(
        self, name: str, text: str, labels: tuple[str, ...] = (), prefix: str = "kubeproxy_"
    ) -> Gauge:
        return Gauge(prefix + name, text, labels, registry=self.registry)

    def _counter(
        self, name: str, text: str, labels: tuple[str, ...] = (), prefix: str = "kubeproxy_"
    ) -> Counter:
        return Counter(prefix + name, text, labels, registry=self.registry)
