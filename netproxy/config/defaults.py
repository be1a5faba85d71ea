"""What an absent field means.

Source: kube-proxy 1.36, SetDefaults_KubeProxyConfiguration. Ours are the mode, nftables, the least
time from one sync to the next, 100 ms, as a sync costs milliseconds, and JSON for the API.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from netproxy.config.duration import format_duration, parse_duration
from netproxy.config.kubeproxy import (
    Conntrack,
    Ipvs,
    KubeProxyConfiguration,
    NetproxyConfiguration,
    Nftables,
)
from netproxy.core.config import ProxyMode
from netproxy.model.ip import parse_address

_T = TypeVar("_T")

HEALTH_PORT, METRICS_PORT = 10256, 10249
MIN_SYNC_PERIOD = "100ms"
SYNC_PERIOD = "30s"


def complete(given: KubeProxyConfiguration) -> KubeProxyConfiguration:
    """The same with every field set that has a default. What is no duration stays as it is."""
    replace = msgspec.structs.replace
    bind = given.bind_address or "0.0.0.0"  # noqa: S104 - nothing is bound to it
    any_address, loopback = ("[::]", "[::1]") if _is_ipv6(bind) else ("0.0.0.0", "127.0.0.1")  # noqa: S104 - kube-proxy's default
    client, logging, nftables = given.client_connection, given.logging, _nftables(given)
    return replace(
        given,
        feature_gates=given.feature_gates or {},
        client_connection=replace(
            client,
            kubeconfig=client.kubeconfig or "",
            accept_content_types=client.accept_content_types or "",
            content_type=client.content_type or "application/json",
            qps=client.qps or 5.0,
            burst=client.burst or 10,
        ),
        logging=replace(
            logging,
            format=logging.format or "text",
            flush_frequency=logging.flush_frequency or "5s",
        ),
        hostname_override=given.hostname_override or "",
        bind_address=bind,
        healthz_bind_address=_listen(given.healthz_bind_address, any_address, HEALTH_PORT),
        metrics_bind_address=_listen(given.metrics_bind_address, loopback, METRICS_PORT),
        bind_address_hard_fail=bool(given.bind_address_hard_fail),
        enable_profiling=bool(given.enable_profiling),
        show_hidden_metrics_for_version=given.show_hidden_metrics_for_version or "",
        mode=given.mode or ProxyMode.NFTABLES.value,
        iptables=replace(
            given.iptables,
            masquerade_bit=_or(given.iptables.masquerade_bit, 14),
            masquerade_all=bool(given.iptables.masquerade_all),
            localhost_node_ports=_or(given.iptables.localhost_node_ports, True),
            sync_period=_canonical(_or(given.iptables.sync_period, SYNC_PERIOD)),
            min_sync_period=_canonical(_or(given.iptables.min_sync_period, MIN_SYNC_PERIOD)),
        ),
        ipvs=_complete_ipvs(given.ipvs),
        nftables=replace(
            nftables,
            masquerade_bit=_or(nftables.masquerade_bit, 14),
            masquerade_all=bool(nftables.masquerade_all),
            sync_period=_canonical(_or(nftables.sync_period, SYNC_PERIOD)),
            min_sync_period=_canonical(_or(nftables.min_sync_period, MIN_SYNC_PERIOD)),
        ),
        detect_local_mode=given.detect_local_mode or "ClusterCIDR",
        cluster_cidr=given.cluster_cidr or "",
        node_port_addresses=given.node_port_addresses or [],
        oom_score_adj=_or(given.oom_score_adj, -999),
        conntrack=_complete_conntrack(given.conntrack),
        config_sync_period=_canonical(_or(given.config_sync_period, "15m")),
    )


def _nftables(given: KubeProxyConfiguration) -> Nftables:
    """What counts for nftables mode.

    Without a mode, kube-proxy would take iptables and that block. We take nftables, so what that
    block says about masquerading and periods must not be lost.
    """
    block, other = given.nftables, given.iptables
    if given.mode:
        return block
    return Nftables(
        masquerade_bit=_or(block.masquerade_bit, other.masquerade_bit),
        masquerade_all=block.masquerade_all or other.masquerade_all,
        sync_period=_or(block.sync_period, other.sync_period),
        min_sync_period=_or(block.min_sync_period, other.min_sync_period),
    )


def _complete_ipvs(given: Ipvs) -> Ipvs:
    return msgspec.structs.replace(
        given,
        sync_period=_canonical(given.sync_period or SYNC_PERIOD),
        min_sync_period=_canonical(given.min_sync_period or "0s"),
        scheduler=given.scheduler or "",
        exclude_cidrs=given.exclude_cidrs or [],
        strict_arp=bool(given.strict_arp),
        tcp_timeout=_canonical(given.tcp_timeout or "0s"),
        tcp_fin_timeout=_canonical(given.tcp_fin_timeout or "0s"),
        udp_timeout=_canonical(given.udp_timeout or "0s"),
    )


def _complete_conntrack(given: Conntrack) -> Conntrack:
    return msgspec.structs.replace(
        given,
        max_per_core=_or(given.max_per_core, 32768),
        min=_or(given.min, 131072),
        tcp_established_timeout=_canonical(_or(given.tcp_established_timeout, "24h")),
        tcp_close_wait_timeout=_canonical(_or(given.tcp_close_wait_timeout, "1h")),
        tcp_be_liberal=bool(given.tcp_be_liberal),
        udp_timeout=_canonical(given.udp_timeout or "0s"),
        udp_stream_timeout=_canonical(given.udp_stream_timeout or "0s"),
    )


def complete_own(given: NetproxyConfiguration) -> NetproxyConfiguration:
    """The same for what is ours."""
    return msgspec.structs.replace(
        given,
        node_ips=given.node_ips or [],
        zone=given.zone or "",
        service_cidrs=given.service_cidrs or [],
        full_sync_period=_canonical(_or(given.full_sync_period, "1h")),
        take_over=_or(given.take_over, True),
        iptables_variant=given.iptables_variant or "auto",
        require_sysctls=bool(given.require_sysctls),
        service_counters=bool(given.service_counters),
        kube_context=given.kube_context or "",
        master=given.master or "",
        min_sync_period=_canonical(given.min_sync_period) if given.min_sync_period else None,
        serve_health=_or(given.serve_health, True),
        serve_metrics=_or(given.serve_metrics, True),
    )


def _or(value: _T | None, default: _T) -> _T:
    return default if value is None else value


def _canonical(text: str) -> str:
    try:
        return format_duration(parse_duration(text))
    except ValueError:
        return text


def _is_ipv6(text: str) -> bool:
    try:
        return ":" in parse_address(text)
    except ValueError:
        return False


def _listen(given: str | None, address: str, port: int) -> str:
    """Where to listen; empty: nowhere. A bare address gets the port."""
    if given is None:
        return f"{address}:{port}"
    bare = given.removeprefix("[").removesuffix("]")
    try:
        parse_address(bare)
    except ValueError:
        return given
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"
