"""A configuration → ``Settings``: every word understood, every contradiction named.

Source: kube-proxy 1.36, validation of KubeProxyConfiguration.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from netproxy.config.decode import Configuration
from netproxy.config.defaults import complete, complete_own
from netproxy.config.kubeproxy import Conntrack, Iptables, Nftables
from netproxy.config.problems import Problems
from netproxy.config.validate import check_what_is_not_used
from netproxy.config.values import Listen, Values
from netproxy.core.config import DetectLocalMode, ProxyConfig, ProxyMode
from netproxy.model.ip import IPAddress, Prefix, family_of

__all__ = ["ApiSettings", "ConntrackSettings", "Listen", "LogSettings", "Settings"]
__all__ += ["find_mistakes", "make_settings"]


class ApiSettings(NamedTuple):
    """How to reach the Kubernetes API."""

    kubeconfig: str
    master: str
    context: str
    qps: float
    burst: int


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
    given: Configuration, *, hostname: str, spell: Callable[[str], str] = str
) -> Settings:
    """What a configuration means.

    Args:
        given: Flags or a file.
        hostname: This host's, for a configuration that names no node.
        spell: What a field is called where the operator wrote it.

    Raises:
        ConfigError: something is wrong; all mistakes are named.
    """
    reader = _Reader(given)
    settings = reader.read(hostname)
    reader.problems.raise_if_any(spell)
    return settings


def find_mistakes(given: Configuration, problems: Problems) -> None:
    """Add to what could not be decoded what is wrong with the rest.

    Args:
        given: What could be decoded.
        problems: What could not; takes the rest. Of a field the first problem is enough.
    """
    reader = _Reader(given)
    reader.read("node")
    named = {each.field for each in problems.found}
    problems.found += [each for each in reader.problems.found if each.field not in named]


class _Reader:
    """Reads a configuration; wrong values are noted and replaced by harmless ones."""

    def __init__(self, given: Configuration) -> None:
        self.has_mode = bool(given.kube.mode)
        self.kube = complete(given.kube)
        self.own = complete_own(given.own)
        self.problems = Problems()
        self.values = Values(self.problems)

    def read(self, hostname: str) -> Settings:
        kube, own, values = self.kube, self.own, self.values
        mode = self._mode(kube.mode or "")
        block = kube.iptables if mode is ProxyMode.IPTABLES else kube.nftables
        limit_s, min_s = self._periods(block, mode)
        check_what_is_not_used(kube, self.problems)
        self._drop_echoes()
        health, metrics = kube.healthz_bind_address or "", kube.metrics_bind_address or ""
        return Settings(
            proxy=self._proxy_config(mode, block, hostname),
            min_sync_period_s=min_s,
            sync_period_s=limit_s,
            full_sync_period_s=values.positive("fullSyncPeriod", own.full_sync_period or ""),
            api=self._api(),
            health_address=values.listen("healthzBindAddress", health if own.serve_health else ""),
            metrics_address=values.listen(
                "metricsBindAddress", metrics if own.serve_metrics else ""
            ),
            bind_hard_fail=bool(kube.bind_address_hard_fail),
            profiling=bool(kube.enable_profiling),
            conntrack=self._conntrack(kube.conntrack),
            require_sysctls=bool(own.require_sysctls),
            oom_score_adj=values.within("oomScoreAdj", kube.oom_score_adj or 0, -1000, 1000),
            take_over=bool(own.take_over),
            log=self._log(),
        )

    def _api(self) -> ApiSettings:
        client, own = self.kube.client_connection, self.own
        return ApiSettings(
            client.kubeconfig or "",
            own.master or "",
            own.kube_context or "",
            self.values.rate("clientConnection.qps", client.qps or 0.0),
            self.values.within("clientConnection.burst", client.burst or 0, 0, 2**31 - 1),
        )

    def _proxy_config(
        self, mode: ProxyMode, block: Iptables | Nftables, hostname: str
    ) -> ProxyConfig:
        kube, own = self.kube, self.own
        words = [word.strip() for word in kube.node_port_addresses or () if word.strip()]
        bit = 14 if block.masquerade_bit is None else block.masquerade_bit
        cluster_cidrs = self._one_per_family(
            "clusterCIDR", self.values.prefixes("clusterCIDR", _split(kube.cluster_cidr or ""))
        )
        return ProxyConfig(
            node_name=self._node_name(kube.hostname_override or hostname),
            node_ips=self._node_ips(),
            zone=own.zone or "",
            service_cidrs=self.values.prefixes("serviceCIDRs", own.service_cidrs or ()),
            cluster_cidrs=cluster_cidrs,
            detect_local_mode=self._detect_local_mode(),
            pod_bridge_interface=kube.detect_local.bridge_interface or "",
            pod_interface_name_prefix=kube.detect_local.interface_name_prefix or "",
            masquerade_all=bool(block.masquerade_all),
            masquerade_bit=self.values.bit(f"{mode.value}.masqueradeBit", bit),
            nodeport_addresses=self._nodeport_addresses(words),
            nodeport_primary="primary" in words,
            localhost_nodeports=kube.iptables.localhost_node_ports is not False,
            mode=mode,
            service_counters=bool(own.service_counters),
            iptables_variant=self.values.one_of(
                "iptablesVariant", "variant", own.iptables_variant or "", ("auto", "legacy", "nft")
            ),
        )

    def _drop_echoes(self) -> None:
        """Without a mode, nftables has what the iptables block says, also its mistakes."""
        if not self.has_mode:
            found = self.problems.found
            echoes = {
                each._replace(field=each.field.replace("iptables.", "nftables."))
                for each in found
                if each.field.startswith("iptables.")
            }
            self.problems.found = [each for each in found if each not in echoes]

    def _mode(self, word: str) -> ProxyMode:
        note = {
            "ipvs": "; Kubernetes deprecates ipvs in favour of nftables",
            "kernelspace": "; kernelspace is for Windows",
        }.get(word, "")
        words = [mode.value for mode in ProxyMode]
        known = self.values.one_of("mode", "mode", word, words, note)
        return ProxyMode.NFTABLES if known != word else ProxyMode(word)

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
        addresses = [self.values.address("nodeIPs", text) for text in self.own.node_ips or ()]
        known = [a for a in addresses if a is not None]
        bind = self.values.address("bindAddress", self.kube.bind_address or "")
        if bind and bind not in _UNSPECIFIED and family_of(bind) not in map(family_of, known):
            known.append(bind)
        return tuple(dict.fromkeys(known))

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
            return self.values.prefixes("nodePortAddresses", words)
        if len(words) > 1:
            self.problems.add(
                "nodePortAddresses",
                "primary stands alone",
                "give prefixes, or only the word primary",
            )
        return ()

    def _detect_local_mode(self) -> DetectLocalMode:
        word = self.kube.detect_local_mode or ""
        mode = DetectLocalMode(
            self.values.one_of("detectLocalMode", "mode", word, [m.value for m in DetectLocalMode])
        )
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

    def _periods(self, block: Iptables | Nftables, mode: ProxyMode) -> tuple[float, float]:
        """A least time of our own wins: in kube-proxy's file 0 stands for the default."""
        limit, least = block.sync_period or "", block.min_sync_period or ""
        if self.own.min_sync_period:
            self.values.duration(f"{mode.value}.minSyncPeriod", least)
            least = self.own.min_sync_period
        return self.values.periods(mode.value, limit, least)

    def _conntrack(self, given: Conntrack) -> ConntrackSettings:
        def seconds(field: str, text: str | None) -> int:
            return round(self.values.duration(f"conntrack.{field}", text or "0"))

        def count(field: str, number: int | None) -> int:
            return self.values.within(f"conntrack.{field}", number or 0, 0, 2**31 - 1)

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
        logging, own = self.kube.logging, self.own
        word = self.values.one_of("logging.format", "format", logging.format or "", _FORMATS)
        verbosity = logging.verbosity if own.log_verbosity is None else own.log_verbosity
        if verbosity is not None:
            self.values.within("logging.verbosity", verbosity, 0, 2**31 - 1)
        return LogSettings(word == "json", verbosity)


_FORMATS = ("text", "json")
_UNSPECIFIED = ("0.0.0.0", "::")  # noqa: S104 - nothing is bound to it


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
