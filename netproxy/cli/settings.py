"""Flags → a configuration, as if it stood in a file. A wrong word names its flag and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from netproxy.errors import ConfigError

if TYPE_CHECKING:
    from netproxy.config.decode import Configuration
    from netproxy.config.kubeproxy import (
        Conntrack,
        Ipvs,
        Logging,
        NetproxyConfiguration,
        Winkernel,
    )
    from netproxy.config.settings import Settings
    from netproxy.core.config import ProxyConfig

Flags = Mapping[str, Any]
"""What click collected: words, tuples of words and booleans. A verb need not have all of them."""

_TRACE_VERBOSITY = 9
_SWITCHES = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
"""Source: Go, strconv.ParseBool."""

_FLAG_OF = {
    "mode": "--proxy-mode",
    "clusterCIDR": "--cluster-cidr",
    "serviceCIDRs": "--service-cidr",
    "nodeIPs": "--node-ip",
    "nodePortAddresses": "--nodeport-addresses",
    "detectLocal.bridgeInterface": "--pod-bridge-interface",
    "detectLocal.interfaceNamePrefix": "--pod-interface-name-prefix",
    "conntrack.tcpEstablishedTimeout": "--conntrack-tcp-timeout-established",
    "conntrack.tcpCloseWaitTimeout": "--conntrack-tcp-timeout-close-wait",
    "conntrack.udpStreamTimeout": "--conntrack-udp-timeout-stream",
    "clientConnection.burst": "--kube-api-burst",
    "clientConnection.contentType": "--kube-api-content-type",
    "clientConnection.qps": "--kube-api-qps",
    "ipvs.tcpFinTimeout": "--ipvs-tcpfin-timeout",
    "logging.flushFrequency": "--log-flush-frequency",
    "logging.format": "--log-format",
    "logging.options.json.infoBufferSize": "--log-json-info-buffer-size",
    "logging.options.text.infoBufferSize": "--log-text-info-buffer-size",
    "logging.verbosity": "-v",
    "logging.vmodule": "--vmodule",
    **{
        f"{mode}.{field}": flag
        for mode in ("iptables", "nftables")
        for field, flag in (
            ("masqueradeBit", "--iptables-masquerade-bit"),
            ("syncPeriod", "--sync-period"),
            ("minSyncPeriod", "--min-sync-period"),
        )
    },
}
"""Fields whose flag is not simply their name in small letters."""


def flag_of(field: str) -> str:
    """The flag that sets a field of a configuration.

    Example:
        >>> flag_of("bindAddress"), flag_of("conntrack.maxPerCore"), flag_of("mode")
        ('--bind-address', '--conntrack-max-per-core', '--proxy-mode')
    """
    field = field.partition("[")[0]
    if field.startswith("featureGates"):
        return "--feature-gates"
    if field in _FLAG_OF:
        return _FLAG_OF[field]
    words = "".join(f"-{c.lower()}" if c.isupper() else c for c in field)
    return "--" + words.replace(".", "-")


def read_settings(flags: Flags) -> Settings:
    """What the flags mean.

    Raises:
        ConfigError: a flag's word makes no sense, or two of them contradict each other.
    """
    from netproxy.config.settings import make_settings

    return make_settings(read_configuration(flags), hostname=hostname(), spell=flag_of)


def read_proxy_config(flags: Flags) -> ProxyConfig:
    """What the flags mean for rules.

    Raises:
        ConfigError: as ``read_settings``.
    """
    return read_settings(flags).proxy


def hostname() -> str:
    """This host's name."""
    import socket

    return socket.gethostname()


def read_configuration(flags: Flags) -> Configuration:
    """The configuration that the flags spell.

    Raises:
        ConfigError: a word is no number, or neither true nor false.
    """
    from netproxy.config import kubeproxy as kp
    from netproxy.config.decode import Configuration

    bit = _number(flags, "masquerade_bit", "--iptables-masquerade-bit")
    everything = read_switch("--masquerade-all", flags["masquerade_all"])
    period, min_period = flags.get("sync_period"), flags.get("min_sync_period")
    override = flags["hostname_override"]
    if override is not None and not override.strip():
        raise ConfigError(
            setting="--hostname-override",
            problem=f"{override!r} cannot be the name of a node",
            hint="letters, digits, - and . as in: node-1.example",
        )
    kube = kp.KubeProxyConfiguration(
        feature_gates=_feature_gates(flags.get("feature_gates") or ()),
        client_connection=kp.ClientConnection(
            kubeconfig=flags.get("kubeconfig"),
            content_type=flags.get("kube_api_content_type"),
            qps=_fraction(flags, "kube_api_qps", "--kube-api-qps"),
            burst=_number(flags, "kube_api_burst", "--kube-api-burst"),
        ),
        logging=_logging(flags),
        hostname_override=override,
        bind_address=flags.get("bind_address"),
        healthz_bind_address=_listen(flags, "healthz"),
        metrics_bind_address=_listen(flags, "metrics"),
        bind_address_hard_fail=_switch(flags, "bind_address_hard_fail"),
        enable_profiling=_switch(flags, "profiling"),
        show_hidden_metrics_for_version=flags.get("show_hidden_metrics_for_version"),
        mode=flags["proxy_mode"],
        iptables=kp.Iptables(
            bit,
            everything,
            read_switch("--iptables-localhost-nodeports", flags["localhost_nodeports"]),
            period,
            min_period,
        ),
        ipvs=_ipvs(flags),
        nftables=kp.Nftables(bit, everything, period, min_period),
        winkernel=_winkernel(flags),
        detect_local_mode=flags["detect_local_mode"],
        detect_local=kp.DetectLocal(
            flags["pod_bridge_interface"], flags["pod_interface_name_prefix"]
        ),
        cluster_cidr=",".join(flags["cluster_cidr"]),
        node_port_addresses=_words(flags["nodeport_addresses"]),
        oom_score_adj=_number(flags, "oom_score_adj"),
        conntrack=_conntrack(flags),
        config_sync_period=flags.get("config_sync_period"),
        windows_run_as_service=_switch(flags, "windows_service"),
    )
    return Configuration(kube, _own(flags))


def _own(flags: Flags) -> NetproxyConfiguration:
    """What kube-proxy's configuration has no field for, and what its fields cannot say."""
    from netproxy.config.kubeproxy import NetproxyConfiguration

    verbosity = read_verbosity(flags)
    return NetproxyConfiguration(
        node_ips=_words(flags["node_ip"]),
        zone=flags["zone"],
        service_cidrs=_words(flags["service_cidr"]),
        full_sync_period=flags.get("full_sync_period"),
        take_over=flags.get("take_over"),
        iptables_variant=flags["iptables_variant"],
        require_sysctls=_switch(flags, "require_sysctls"),
        service_counters=_switch(flags, "service_counters"),
        kube_context=flags.get("kube_context"),
        master=flags.get("master"),
        min_sync_period="0s" if _is_zero(flags.get("min_sync_period")) else None,
        serve_health=_listen(flags, "healthz") != "",
        serve_metrics=_listen(flags, "metrics") != "",
        log_verbosity=verbosity_of_own(verbosity),
    )


def _is_zero(word: str | None) -> bool:
    from netproxy.config.duration import parse_duration

    try:
        return word is not None and parse_duration(word) == 0
    except ValueError:
        return False


def verbosity_of_own(verbosity: int | None) -> int | None:
    """``logVerbosity``, which is needed for 0 only: in ``logging`` that stands for the default."""
    return 0 if verbosity == 0 else None


def _logging(flags: Flags) -> Logging:
    from netproxy.config.kubeproxy import FormatOptions, Logging, LoggingOptions, Vmodule

    vmodule = []
    for word in _words([flags.get("vmodule") or ""]):
        pattern, _, level = word.partition("=")
        if not (level.isascii() and level.isdigit() and len(level) < 10):
            raise ConfigError(
                setting="--vmodule",
                problem=f"{word[:40]!r} gives no level",
                hint="--vmodule sync=4",
            )
        vmodule.append(Vmodule(pattern, int(level)))
    return Logging(
        format=flags.get("logging_format") or flags.get("log_format"),
        flush_frequency=flags.get("log_flush_frequency"),
        verbosity=read_verbosity(flags),
        vmodule=vmodule or None,
        options=LoggingOptions(
            **{
                form: FormatOptions(
                    _switch(flags, f"log_{form}_split_stream"),
                    flags.get(f"log_{form}_info_buffer_size"),
                )
                for form in ("text", "json")
            }
        ),
    )


def _ipvs(flags: Flags) -> Ipvs:
    from netproxy.config.kubeproxy import Ipvs

    return Ipvs(
        sync_period=flags.get("ipvs_sync_period"),
        min_sync_period=flags.get("ipvs_min_sync_period"),
        scheduler=flags.get("ipvs_scheduler"),
        exclude_cidrs=_words([flags.get("ipvs_exclude_cidrs") or ""]) or None,
        strict_arp=_switch(flags, "ipvs_strict_arp"),
        tcp_timeout=flags.get("ipvs_tcp_timeout"),
        tcp_fin_timeout=flags.get("ipvs_tcpfin_timeout"),
        udp_timeout=flags.get("ipvs_udp_timeout"),
    )


def _winkernel(flags: Flags) -> Winkernel:
    from netproxy.config.kubeproxy import Winkernel

    return Winkernel(
        network_name=flags.get("network_name"),
        source_vip=flags.get("source_vip"),
        enable_dsr=_switch(flags, "enable_dsr"),
        root_hns_endpoint_name=flags.get("root_hnsendpoint_name"),
        forward_health_check_vip=_switch(flags, "forward_healthcheck_vip"),
    )


def _conntrack(flags: Flags) -> Conntrack:
    from netproxy.config.kubeproxy import Conntrack

    return Conntrack(
        max_per_core=_number(flags, "conntrack_max_per_core"),
        min=_number(flags, "conntrack_min"),
        tcp_established_timeout=flags.get("conntrack_tcp_timeout_established"),
        tcp_close_wait_timeout=flags.get("conntrack_tcp_timeout_close_wait"),
        tcp_be_liberal=_switch(flags, "conntrack_tcp_be_liberal"),
        udp_timeout=flags.get("conntrack_udp_timeout"),
        udp_stream_timeout=flags.get("conntrack_udp_timeout_stream"),
    )


def read_switch(setting: str, word: str) -> bool:
    """Whether a flag is on.

    Raises:
        ConfigError: the word is neither true nor false.
    """
    if word.lower() not in _SWITCHES:
        raise ConfigError(
            setting=setting, problem=f"{word!r} is neither true nor false", hint=f"{setting}=true"
        )
    return _SWITCHES[word.lower()]


def read_verbosity(flags: Flags) -> int | None:
    """The level of ``-v``, ``-vv``, ``-v 4``, ``-v4``, ``--v=4``; None without it.

    Raises:
        ConfigError: it is no number.
    """
    word = flags.get("verbosity")
    if word is None:
        return None
    if word and not word.strip("v"):
        return _TRACE_VERBOSITY
    word = word.removeprefix("=")
    if not (word.isascii() and word.isdigit()):
        raise ConfigError(setting="-v", problem=f"{word!r} is not a level", hint="0 to 9, as -v 4")
    return int(word)


def require_filenames(flags: Flags) -> tuple[str, ...]:
    """The manifests to read.

    Raises:
        ConfigError: none are named.
    """
    filenames: tuple[str, ...] = flags["filename"]
    if not filenames:
        raise ConfigError(
            setting="--filename",
            problem="nothing to read",
            hint="name a file, a directory or - with -f",
        )
    return filenames


def _switch(flags: Flags, name: str) -> bool | None:
    word = flags.get(name)
    return None if word is None else read_switch("--" + name.replace("_", "-"), word)


def _number(flags: Flags, name: str, setting: str = "") -> int | None:
    word = flags.get(name)
    if word is None:
        return None
    digits = word.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        setting = setting or "--" + name.replace("_", "-")
        raise ConfigError(
            setting=setting, problem=f"{word[:40]!r} is not a whole number", hint=f"{setting} 14"
        )
    return int(word)


def _fraction(flags: Flags, name: str, setting: str) -> float | None:
    word = flags.get(name)
    if word is None:
        return None
    try:
        return float(word)
    except ValueError:
        raise ConfigError(
            setting=setting, problem=f"{word[:40]!r} is not a number", hint=f"{setting} 5"
        ) from None


def _listen(flags: Flags, what: str) -> str | None:
    """``--healthz-bind-address``, to which the deprecated ``--healthz-port`` adds what it lacks.

    Source: kube-proxy 1.36, addressFromDeprecatedFlags: port 0 means nowhere.
    """
    address: str | None = flags.get(f"{what}_bind_address")
    port = _number(flags, f"{what}_port")
    if port is None:
        return address
    if port == 0:
        return ""
    if address is None:
        return f"0.0.0.0:{port}" if what == "healthz" else f"127.0.0.1:{port}"
    from netproxy.model.ip import parse_address

    try:
        bare = parse_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        return address
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def _feature_gates(values: Iterable[str]) -> dict[str, bool]:
    gates = {}
    for word in _words(values):
        name, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(
                setting="--feature-gates",
                problem=f"{word!r} gives no value",
                hint="as in --feature-gates AllBeta=true",
            )
        gates[name.strip()] = read_switch("--feature-gates", value.strip())
    return gates


def _words(values: Iterable[str]) -> list[str]:
    """Words of a flag that may be repeated or hold a comma-separated list."""
    return [word.strip() for value in values for word in value.split(",") if word.strip()]
