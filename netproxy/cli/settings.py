"""Flags → a configuration, as if it stood in a file. A wrong word names its flag and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from netproxy.errors import ConfigError

if TYPE_CHECKING:
    from netproxy.config.decode import Configuration
    from netproxy.config.kubeproxy import Conntrack, NetproxyConfiguration
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
    "featureGates.AllowServiceExternalIPs": "--feature-gates",
    "logging.format": "--log-format",
    "logging.verbosity": "-v",
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

    return make_settings(
        read_configuration(flags),
        hostname=hostname(),
        master=flags.get("master") or "",
        spell=flag_of,
    )


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
            qps=_fraction(flags, "kube_api_qps", "--kube-api-qps"),
            burst=_number(flags, "kube_api_burst", "--kube-api-burst"),
        ),
        logging=kp.Logging(
            format=flags.get("logging_format") or flags.get("log_format"),
            verbosity=read_verbosity(flags),
        ),
        hostname_override=override,
        bind_address=flags.get("bind_address"),
        healthz_bind_address=_listen(flags, "healthz"),
        metrics_bind_address=_listen(flags, "metrics"),
        bind_address_hard_fail=_switch(flags, "bind_address_hard_fail"),
        enable_profiling=_switch(flags, "profiling"),
        mode=flags["proxy_mode"],
        iptables=kp.Iptables(
            bit,
            everything,
            read_switch("--iptables-localhost-nodeports", flags["localhost_nodeports"]),
            period,
            min_period,
        ),
        nftables=kp.Nftables(bit, everything, period, min_period),
        detect_local_mode=flags["detect_local_mode"],
        detect_local=kp.DetectLocal(
            flags["pod_bridge_interface"], flags["pod_interface_name_prefix"]
        ),
        cluster_cidr=",".join(flags["cluster_cidr"]),
        node_port_addresses=_words(flags["nodeport_addresses"]),
        oom_score_adj=_number(flags, "oom_score_adj"),
        conntrack=_conntrack(flags),
    )
    return Configuration(kube, _own(flags))


def _own(flags: Flags) -> NetproxyConfiguration:
    from netproxy.config.kubeproxy import NetproxyConfiguration

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
    """``--healthz-bind-address``; the deprecated ``--healthz-port`` where only that is given."""
    address, port = flags.get(f"{what}_bind_address"), flags.get(f"{what}_port")
    if address is None and port is not None:
        if port == "0":
            return ""
        return f"0.0.0.0:{port}" if what == "healthz" else f"127.0.0.1:{port}"
    return address if address is None else str(address)


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
