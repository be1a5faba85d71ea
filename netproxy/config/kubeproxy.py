"""KubeProxyConfiguration, as it stands in a file. Every field may be absent.

Source: kube-proxy 1.36, kubeproxy.config.k8s.io/v1alpha1.
"""

from __future__ import annotations

import msgspec

API_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
KIND = "KubeProxyConfiguration"
OWN_API_VERSION = "netproxy.dev/v1alpha1"
OWN_KIND = "NetproxyConfiguration"


class _Block(msgspec.Struct, rename="camel", omit_defaults=True, repr_omit_defaults=True):
    """Absent fields are left out when it is written."""


class ClientConnection(_Block):
    kubeconfig: str | None = None
    accept_content_types: str | None = None
    content_type: str | None = None
    qps: float | None = None
    burst: int | None = None


class Vmodule(_Block):
    file_pattern: str | None = None
    verbosity: int | None = None


class FormatOptions(_Block):
    """How a format writes. Nothing here does what they say."""

    split_stream: bool | None = None
    info_buffer_size: str | int | None = None
    """A quantity of bytes, such as 64Ki."""


class LoggingOptions(_Block):
    text: FormatOptions = msgspec.field(default_factory=FormatOptions)
    json: FormatOptions = msgspec.field(default_factory=FormatOptions)


class Logging(_Block):
    format: str | None = None
    flush_frequency: str | int | None = None
    """A duration, or nanoseconds."""
    verbosity: int | None = None
    vmodule: list[Vmodule] | None = None
    options: LoggingOptions = msgspec.field(default_factory=LoggingOptions)


class Iptables(
    _Block,
    rename={
        "masquerade_bit": "masqueradeBit",
        "masquerade_all": "masqueradeAll",
        "localhost_node_ports": "localhostNodePorts",
        "sync_period": "syncPeriod",
        "min_sync_period": "minSyncPeriod",
    },
):
    masquerade_bit: int | None = None
    masquerade_all: bool | None = None
    localhost_node_ports: bool | None = None
    sync_period: str | None = None
    min_sync_period: str | None = None


class Ipvs(
    _Block,
    rename={
        "sync_period": "syncPeriod",
        "min_sync_period": "minSyncPeriod",
        "scheduler": "scheduler",
        "exclude_cidrs": "excludeCIDRs",
        "strict_arp": "strictARP",
        "tcp_timeout": "tcpTimeout",
        "tcp_fin_timeout": "tcpFinTimeout",
        "udp_timeout": "udpTimeout",
    },
):
    sync_period: str | None = None
    min_sync_period: str | None = None
    scheduler: str | None = None
    exclude_cidrs: list[str] | None = None
    strict_arp: bool | None = None
    tcp_timeout: str | None = None
    tcp_fin_timeout: str | None = None
    udp_timeout: str | None = None


class Nftables(_Block):
    masquerade_bit: int | None = None
    masquerade_all: bool | None = None
    sync_period: str | None = None
    min_sync_period: str | None = None


class Winkernel(
    _Block,
    rename={
        "network_name": "networkName",
        "source_vip": "sourceVip",
        "enable_dsr": "enableDSR",
        "root_hns_endpoint_name": "rootHnsEndpointName",
        "forward_health_check_vip": "forwardHealthCheckVip",
    },
):
    network_name: str | None = None
    source_vip: str | None = None
    enable_dsr: bool | None = None
    root_hns_endpoint_name: str | None = None
    forward_health_check_vip: bool | None = None


class DetectLocal(_Block):
    bridge_interface: str | None = None
    interface_name_prefix: str | None = None


class Conntrack(_Block):
    max_per_core: int | None = None
    min: int | None = None
    tcp_established_timeout: str | None = None
    tcp_close_wait_timeout: str | None = None
    tcp_be_liberal: bool | None = None
    udp_timeout: str | None = None
    udp_stream_timeout: str | None = None


class KubeProxyConfiguration(
    _Block,
    rename={
        "api_version": "apiVersion",
        "feature_gates": "featureGates",
        "client_connection": "clientConnection",
        "hostname_override": "hostnameOverride",
        "bind_address": "bindAddress",
        "healthz_bind_address": "healthzBindAddress",
        "metrics_bind_address": "metricsBindAddress",
        "bind_address_hard_fail": "bindAddressHardFail",
        "enable_profiling": "enableProfiling",
        "show_hidden_metrics_for_version": "showHiddenMetricsForVersion",
        "detect_local_mode": "detectLocalMode",
        "detect_local": "detectLocal",
        "cluster_cidr": "clusterCIDR",
        "node_port_addresses": "nodePortAddresses",
        "oom_score_adj": "oomScoreAdj",
        "config_sync_period": "configSyncPeriod",
        "port_range": "portRange",
        "windows_run_as_service": "windowsRunAsService",
    },
):
    api_version: str = API_VERSION
    kind: str = KIND
    feature_gates: dict[str, bool] | None = None
    client_connection: ClientConnection = msgspec.field(default_factory=ClientConnection)
    logging: Logging = msgspec.field(default_factory=Logging)
    hostname_override: str | None = None
    bind_address: str | None = None
    healthz_bind_address: str | None = None
    metrics_bind_address: str | None = None
    bind_address_hard_fail: bool | None = None
    enable_profiling: bool | None = None
    show_hidden_metrics_for_version: str | None = None
    mode: str | None = None
    iptables: Iptables = msgspec.field(default_factory=Iptables)
    ipvs: Ipvs = msgspec.field(default_factory=Ipvs)
    nftables: Nftables = msgspec.field(default_factory=Nftables)
    winkernel: Winkernel = msgspec.field(default_factory=Winkernel)
    detect_local_mode: str | None = None
    detect_local: DetectLocal = msgspec.field(default_factory=DetectLocal)
    cluster_cidr: str | None = None
    node_port_addresses: list[str] | None = None
    oom_score_adj: int | None = None
    conntrack: Conntrack = msgspec.field(default_factory=Conntrack)
    config_sync_period: str | None = None
    port_range: str | None = None
    windows_run_as_service: bool | None = None


class NetproxyConfiguration(
    _Block,
    rename={
        "api_version": "apiVersion",
        "node_ips": "nodeIPs",
        "service_cidrs": "serviceCIDRs",
        "full_sync_period": "fullSyncPeriod",
        "take_over": "takeOver",
        "iptables_variant": "iptablesVariant",
        "require_sysctls": "requireSysctls",
        "service_counters": "serviceCounters",
        "kube_context": "kubeContext",
        "min_sync_period": "minSyncPeriod",
        "serve_health": "serveHealth",
        "serve_metrics": "serveMetrics",
        "log_verbosity": "logVerbosity",
    },
):
    """What kube-proxy does not have: a document of its own, behind kube-proxy's in the same file.

    kube-proxy should start with such a file: it decodes one value, and of a text with several
    documents Go's YAML library then takes the first, by its documentation of Unmarshal. That was
    not tried with a kube-proxy. Ours may also stand alone.
    """

    api_version: str = OWN_API_VERSION
    kind: str = OWN_KIND
    node_ips: list[str] | None = None
    zone: str | None = None
    service_cidrs: list[str] | None = None
    full_sync_period: str | None = None
    take_over: bool | None = None
    iptables_variant: str | None = None
    require_sysctls: bool | None = None
    """A sysctl that cannot be written ends the start; else it is a warning."""
    service_counters: bool | None = None
    kube_context: str | None = None
    master: str | None = None
    """An API server, instead of the kubeconfig's: kube-proxy's flag, which its file cannot say."""
    min_sync_period: str | None = None
    """Instead of the mode's. In kube-proxy's blocks 0 stands for the default; here it is 0."""
    serve_health: bool | None = None
    """False: nowhere. In kube-proxy's file an empty address stands for the default."""
    serve_metrics: bool | None = None
    log_verbosity: int | None = None
    """Instead of ``logging.verbosity``, where 0 stands for the default."""
