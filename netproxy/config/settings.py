"""A configuration → ``Settings``: every word understood, every contradiction named.

Source: kube-proxy 1.36, validation of KubeProxyConfiguration.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from netproxy.config.decode import Configuration
from netproxy.config.defaults import complete, complete_own
from netproxy.config.duration import format_duration, parse_duration
from netproxy.config.kubeproxy import Conntrack, Iptables, Nftables
from netproxy.config.problems import Problems
from netproxy.core.config import DetectLocalMode, ProxyConfig, ProxyMode
from netproxy.model.ip import IPAddress, Prefix, family_of, parse_address, parse_prefix


class ApiSettings(NamedTuple):
    """How to reach the Kubernetes API."""

    kubeconfig: str
    master: str
    context: str
    qps: float
    burst: int


class Listen(NamedTuple):
    """An address and a port to listen on."""

    host: IPAddress
    port: int


class ConntrackSettings(NamedTuple):
    """Kernel settings of connection tracking. 0 leaves one alone. Times in seconds."""

    max_per_core: int
    min: int
    tcp_established_s: int
    tcp_close_wait_s: int
    tcp_be_liberal: bool
    udp_s: int
    udp_stream_s: int


class LogSettings(NamedTuple):
    """What is logged, and how."""

    is_json: bool
    verbosity: int | None
    """None: the default."""


class Settings(NamedTuple):
    """Everything that a node's proxy is wired from."""

    proxy: ProxyConfig
    min_sync_period_s: float
    sync_period_s: float
    full_sync_period_s: float
    api: ApiSettings
    health_address: Listen | None
    """None: nowhere."""
    metrics_address: Listen | None
    bind_hard_fail: bool
    profiling: bool
    conntrack: ConntrackSettings
    require_sysctls: bool
    """A kernel setting that cannot be written ends the start."""
    oom_score_adj: int
    take_over: bool
    log: LogSettings


def make_settings(
    given: Configuration, *, hostname: str, master: str = "", spell: Callable[[str], str] = str
) -> Settings:
    """What a configuration means.

    Args:
        given: Flags or a file.
        hostname: This host's, for a configuration that names no node.
        master: ``--master``, which no file can say.
        spell: What a field is called where the operator wrote it.

    Raises:
        ConfigError: something is wrong; all mistakes are named.
    """
    reader = _Reader(given)
    settings = reader.read(hostname, master)
    reader.problems.raise_if_any(spell)
    return settings


class _Reader:
    """Reads a configuration; wrong values are noted and replaced by harmless ones."""

    def __init__(self, given: Configuration) -> None:
        self.kube = complete(given.kube)
        self.own = complete_own(given.own)
        self.problems = Problems()

    def read(self, hostname: str, master: str) -> Settings:
        kube, own = self.kube, self.own
        client = kube.client_connection
        mode = self._mode(kube.mode or "")
        block = kube.iptables if mode is ProxyMode.IPTABLES else kube.nftables
        name = mode.value
        limit_s, min_s = self._periods(block, name)
        self._check_other_periods()
        self._check_feature_gates()
        return Settings(
            proxy=self._proxy_config(mode, block, hostname),
            min_sync_period_s=min_s,
            sync_period_s=limit_s,
            full_sync_period_s=self._positive("fullSyncPeriod", own.full_sync_period or ""),
            api=ApiSettings(
                client.kubeconfig or "",
                master,
                own.kube_context or "",
                client.qps or 0.0,
                client.burst or 0,
            ),
            health_address=self._listen("healthzBindAddress", kube.healthz_bind_address or ""),
            metrics_address=self._listen("metricsBindAddress", kube.metrics_bind_address or ""),
            bind_hard_fail=bool(kube.bind_address_hard_fail),
            profiling=bool(kube.enable_profiling),
            conntrack=self._conntrack(kube.conntrack),
            require_sysctls=bool(own.require_sysctls),
            oom_score_adj=self._within("oomScoreAdj", kube.oom_score_adj or 0, -1000, 1000),
            take_over=bool(own.take_over),
            log=self._log(),
        )

    def _proxy_config(
        self, mode: ProxyMode, block: Iptables | Nftables, hostname: str
    ) -> ProxyConfig:
        kube, own = self.kube, self.own
        words = [word.strip() for word in kube.node_port_addresses or () if word.strip()]
        bit = 14 if block.masquerade_bit is None else block.masquerade_bit
        cluster_cidrs = self._one_per_family(
            "clusterCIDR", self._prefixes("clusterCIDR", _split(kube.cluster_cidr or ""))
        )
        return ProxyConfig(
            node_name=self._node_name(kube.hostname_override or hostname),
            node_ips=self._node_ips(),
            zone=own.zone or "",
            service_cidrs=self._prefixes("serviceCIDRs", own.service_cidrs or ()),
            cluster_cidrs=cluster_cidrs,
            detect_local_mode=self._detect_local_mode(),
            pod_bridge_interface=kube.detect_local.bridge_interface or "",
            pod_interface_name_prefix=kube.detect_local.interface_name_prefix or "",
            masquerade_all=bool(block.masquerade_all),
            masquerade_bit=self._bit(f"{mode.value}.masqueradeBit", bit),
            nodeport_addresses=self._nodeport_addresses(words),
            nodeport_primary="primary" in words,
            localhost_nodeports=kube.iptables.localhost_node_ports is not False,
            mode=mode,
            service_counters=bool(own.service_counters),
            iptables_variant=self._variant(own.iptables_variant or ""),
        )

    def _mode(self, word: str) -> ProxyMode:
        modes = {mode.value: mode for mode in ProxyMode}
        if word not in modes:
            self.problems.add(
                "mode",
                f"there is no mode {word!r}",
                f"one of {', '.join(modes)}; kube-proxy's ipvs mode is deprecated",
            )
        return modes.get(word, ProxyMode.NFTABLES)

    def _variant(self, word: str) -> str:
        variants = ("auto", "legacy", "nft")
        if word not in variants:
            self.problems.add(
                "iptablesVariant", f"there is no variant {word!r}", f"one of {', '.join(variants)}"
            )
        return word

    def _node_name(self, text: str) -> str:
        """Source: kube-proxy 1.36, nodeutil.GetHostname: trimmed and in lower case."""
        name = text.strip().lower()
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name) or len(name) > 253:
            self.problems.add(
                "hostnameOverride",
                f"{name!r} cannot be the name of a node",
                "letters, digits, - and . as in: node-1.example",
            )
        return name

    def _node_ips(self) -> tuple[IPAddress, ...]:
        """``nodeIPs``, and ``bindAddress`` for a family that they leave out.

        Source: kube-proxy 1.36: bindAddress binds nothing, but is the node's primary address.
        """
        hint = "for example 192.0.2.10"
        addresses = [
            self.problems.attempt("nodeIPs", lambda text=text: parse_address(text), None, hint)  # type: ignore[misc]
            for text in self.own.node_ips or ()
        ]
        known = [a for a in addresses if a is not None]
        text = self.kube.bind_address or ""
        bind = self.problems.attempt("bindAddress", lambda: parse_address(text), None, hint)
        if bind and bind not in _UNSPECIFIED and family_of(bind) not in map(family_of, known):
            known.append(bind)
        return tuple(dict.fromkeys(known))

    def _prefixes(self, field: str, words: Iterable[str]) -> tuple[Prefix, ...]:
        prefixes = []
        for word in words:
            try:
                prefixes.append(parse_prefix(word))
            except ValueError as error:
                self.problems.add(field, str(error), "for example 10.244.0.0/16 or fd00::/64")
        return tuple(dict.fromkeys(prefixes))

    def _one_per_family(self, field: str, prefixes: tuple[Prefix, ...]) -> tuple[Prefix, ...]:
        if len({prefix.family for prefix in prefixes}) < len(prefixes):
            self.problems.add(
                field,
                f"{','.join(map(str, prefixes))} has more than one prefix of an IP family",
                "give one IPv4 prefix, one IPv6 prefix, or one of each",
            )
        return prefixes

    def _nodeport_addresses(self, words: list[str]) -> tuple[Prefix, ...]:
        if "primary" not in words:
            return self._prefixes("nodePortAddresses", words)
        if len(words) > 1:
            self.problems.add(
                "nodePortAddresses",
                "primary stands alone",
                "give prefixes, or only the word primary",
            )
        return ()

    def _detect_local_mode(self) -> DetectLocalMode:
        word = self.kube.detect_local_mode or ""
        modes = {mode.value: mode for mode in DetectLocalMode}
        if word not in modes:
            self.problems.add(
                "detectLocalMode", f"there is no mode {word!r}", f"one of {', '.join(modes)}"
            )
        mode = modes.get(word, DetectLocalMode.CLUSTER_CIDR)
        local = self.kube.detect_local
        if mode is DetectLocalMode.BRIDGE_INTERFACE:
            self._check_interface("detectLocal.bridgeInterface", local.bridge_interface, mode)
        elif mode is DetectLocalMode.INTERFACE_NAME_PREFIX:
            field = "detectLocal.interfaceNamePrefix"
            self._check_interface(field, local.interface_name_prefix, mode)
        return mode

    def _check_interface(self, field: str, name: str | None, mode: DetectLocalMode) -> None:
        """Narrower than the kernel, which takes nearly any bytes: * would be a wildcard in nft."""
        if not name:
            self.problems.add(
                field, f"is needed for detection of local pods by {mode.value}", "for example cni0"
            )
        elif not re.fullmatch(r"[A-Za-z0-9._@-]{1,15}", name):
            self.problems.add(
                field,
                f"{name!r} cannot be the name of an interface",
                "at most 15 letters, digits, - _ @ or .",
            )

    def _periods(self, block: Iptables | Nftables, name: str) -> tuple[float, float]:
        limit_s = self._positive(f"{name}.syncPeriod", block.sync_period or "")
        min_s = self._duration(f"{name}.minSyncPeriod", block.min_sync_period or "")
        if min_s > limit_s:
            self.problems.add(
                f"{name}.minSyncPeriod",
                f"{format_duration(min_s)} is longer than the sync period, "
                f"{format_duration(limit_s)}",
                "make it shorter, or the sync period longer",
            )
        return limit_s, min_s

    def _check_other_periods(self) -> None:
        """Those that mean nothing here must be well written all the same."""
        self._positive("configSyncPeriod", self.kube.config_sync_period or "")
        ipvs = self.kube.ipvs
        for field, text in (
            ("ipvs.syncPeriod", ipvs.sync_period),
            ("ipvs.minSyncPeriod", ipvs.min_sync_period),
            ("ipvs.tcpTimeout", ipvs.tcp_timeout),
            ("ipvs.tcpFinTimeout", ipvs.tcp_fin_timeout),
            ("ipvs.udpTimeout", ipvs.udp_timeout),
        ):
            if text:
                self._duration(field, text)

    def _check_feature_gates(self) -> None:
        """A gate that should forbid something must not be passed over."""
        if (self.kube.feature_gates or {}).get("AllowServiceExternalIPs", True) is False:
            self.problems.add(
                "featureGates.AllowServiceExternalIPs",
                "externalIPs are always honoured",
                "let the API server refuse them: admission plugin DenyServiceExternalIPs",
            )

    def _duration(self, field: str, text: str) -> float:
        hint = "for example 100ms, 1m30s"
        seconds = self.problems.attempt(field, lambda: parse_duration(text), 1.0, hint)
        if seconds < 0:
            self.problems.add(field, f"{text} is less than nothing", "0 or more, as 30s")
            return 1.0
        return seconds

    def _positive(self, field: str, text: str) -> float:
        seconds = self._duration(field, text)
        if seconds == 0:
            self.problems.add(field, "must be more than 0", "for example 30s")
            return 1.0
        return seconds

    def _within(self, field: str, number: int, low: int, high: int) -> int:
        if not low <= number <= high:
            self.problems.add(field, f"{number} is out of range", f"{low} to {high}")
            return low
        return number

    def _bit(self, field: str, number: int) -> int:
        if not 0 <= number <= 31:
            self.problems.add(
                field, f"{number} is not a bit of a 32-bit mark", "a number from 0 to 31"
            )
            return 14
        return number

    def _listen(self, field: str, text: str) -> Listen | None:
        """Where to listen; None: nowhere."""
        if not text:
            return None
        host, _, port = text.rpartition(":")
        try:
            address = parse_address(host.removeprefix("[").removesuffix("]"))
        except ValueError as error:
            self.problems.add(field, str(error), "for example 0.0.0.0:10256 or [::]:10256")
            return None
        if not (port.isascii() and port.isdigit() and int(port) <= 65535):
            self.problems.add(field, f"{port!r} is no port", "a number up to 65535")
            return None
        return Listen(address, int(port))

    def _conntrack(self, given: Conntrack) -> ConntrackSettings:
        def seconds(field: str, text: str | None) -> int:
            return round(self._duration(f"conntrack.{field}", text or "0"))

        def count(field: str, number: int | None) -> int:
            return self._within(f"conntrack.{field}", number or 0, 0, 2**31 - 1)

        return ConntrackSettings(
            max_per_core=count("maxPerCore", given.max_per_core),
            min=count("min", given.min),
            tcp_established_s=seconds("tcpEstablishedTimeout", given.tcp_established_timeout),
            tcp_close_wait_s=seconds("tcpCloseWaitTimeout", given.tcp_close_wait_timeout),
            tcp_be_liberal=bool(given.tcp_be_liberal),
            udp_s=seconds("udpTimeout", given.udp_timeout),
            udp_stream_s=seconds("udpStreamTimeout", given.udp_stream_timeout),
        )

    def _log(self) -> LogSettings:
        logging = self.kube.logging
        if logging.format not in ("text", "json"):
            self.problems.add(
                "logging.format", f"there is no format {logging.format!r}", "text or json"
            )
        return LogSettings(logging.format == "json", logging.verbosity)


_UNSPECIFIED = ("0.0.0.0", "::")  # noqa: S104 - nothing is bound to it


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
