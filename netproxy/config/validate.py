"""Fields that mean nothing here must be well written all the same; some must not be passed over.

Source: kube-proxy 1.36, validation of KubeProxyConfiguration and LoggingConfiguration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches

from netproxy.config.kubeproxy import KubeProxyConfiguration, Logging
from netproxy.config.problems import Problems
from netproxy.config.values import Values
from netproxy.model.findings import shorten

_EXTERNAL_IPS = "AllowServiceExternalIPs"
_LOCKED = ("MultiCIDRServiceAllocator", "NFTablesProxyMode", "PreferSameTrafficDistribution")
"""Gates of proxies that kube-proxy 1.36 cannot switch off any more."""
_BYTES = re.compile(r"\+?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d{1,3})?", re.ASCII)
"""Source: Kubernetes, resource.Quantity."""


def check_what_is_not_used(kube: KubeProxyConfiguration, problems: Problems) -> None:
    """Note what is wrong with fields from which no setting is made.

    Args:
        kube: With its defaults.
        problems: Takes what is wrong.
    """
    values = Values(problems)
    _check_blocks(kube, values)
    _check_feature_gates(kube.feature_gates or {}, problems)
    _check_logging(kube.logging, values, problems)
    values.positive("configSyncPeriod", kube.config_sync_period or "")
    version = kube.show_hidden_metrics_for_version or ""
    if version and not re.fullmatch(r"\d{1,9}\.\d{1,9}", version, re.ASCII):
        problems.add(
            "showHiddenMetricsForVersion",
            f"{shorten(version)} is no version",
            "the minor version before this one, such as 1.35",
        )


def _check_blocks(kube: KubeProxyConfiguration, values: Values) -> None:
    """Of every mode, also of those that are not chosen."""
    for name, block in (("iptables", kube.iptables), ("nftables", kube.nftables)):
        if name != kube.mode:
            values.periods(name, block.sync_period or "", block.min_sync_period or "")
            values.bit(f"{name}.masqueradeBit", block.masquerade_bit or 0)
    ipvs = kube.ipvs
    values.periods("ipvs", ipvs.sync_period or "", ipvs.min_sync_period or "")
    values.duration("ipvs.tcpTimeout", ipvs.tcp_timeout or "")
    values.duration("ipvs.tcpFinTimeout", ipvs.tcp_fin_timeout or "")
    values.duration("ipvs.udpTimeout", ipvs.udp_timeout or "")


def _check_feature_gates(gates: Mapping[str, bool], problems: Problems) -> None:
    """A gate that should forbid something must not be passed over, also if it is misspelt.

    Unlike kube-proxy's, other names are not refused: no gate does anything here, and which there
    are differs from version to version.
    """
    for name, value in gates.items():
        field = f"featureGates.{name}" if re.fullmatch(r"\w{1,63}", name) else "featureGates"
        if name == _EXTERNAL_IPS and not value:
            problems.add(
                field,
                "externalIPs are always honoured",
                "let the API server refuse them: admission plugin DenyServiceExternalIPs",
            )
        elif name in _LOCKED and not value:
            problems.add(field, "cannot be switched off in Kubernetes 1.36", "leave it out")
        elif name != _EXTERNAL_IPS and get_close_matches(name, [_EXTERNAL_IPS], cutoff=0.9):
            hint = f"did you mean {_EXTERNAL_IPS}?"
            problems.add(field, f"there is no gate {shorten(name)}", hint)


def _check_logging(logging: Logging, values: Values, problems: Problems) -> None:
    frequency = logging.flush_frequency
    if isinstance(frequency, str):
        values.duration("logging.flushFrequency", frequency)
    elif frequency is not None and not 0 <= frequency < 2**63:
        hint = "a duration such as 5s, or nanoseconds"
        problems.add("logging.flushFrequency", f"{shorten(frequency)} is out of range", hint)
    for index, item in enumerate(logging.vmodule or ()):
        field = f"logging.vmodule[{index}]"
        if not item.file_pattern or set("=,") & set(item.file_pattern):
            hint = "the name of a source file, where * stands for anything"
            problems.add(
                f"{field}.filePattern", f"{shorten(item.file_pattern or '')} fits no file", hint
            )
        values.within(f"{field}.verbosity", item.verbosity or 0, 0, 2**31 - 1)
    if logging.vmodule and logging.format == "json":
        problems.add("logging.vmodule", "is for format text only", "leave one of them out")
    for format_, options in (("text", logging.options.text), ("json", logging.options.json)):
        size = options.info_buffer_size
        if isinstance(size, str) and not _BYTES.fullmatch(size):
            field = f"logging.options.{format_}.infoBufferSize"
            problems.add(field, f"{shorten(size)} is no quantity", "bytes, such as 64Ki")
