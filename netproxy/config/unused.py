"""Which fields say something that nothing here listens to: named once, not refused."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from netproxy.config.decode import Warned
from netproxy.config.duration import parse_duration
from netproxy.config.kubeproxy import KubeProxyConfiguration

_WINDOWS = "it is about Windows"
_BUFFER = "every line is written at once"
_UNUSED = {
    "clientConnection.acceptContentTypes": "JSON is asked for",
    "clientConnection.contentType": "JSON is asked for",
    "configSyncPeriod": "objects are not said again without a change",
    "ipvs": "there is no ipvs mode",
    "logging.flushFrequency": _BUFFER,
    "logging.options": _BUFFER,
    "logging.vmodule": "levels are the same for all modules",
    "portRange": "no ports are opened for Services",
    "showHiddenMetricsForVersion": "no metric is hidden",
    "windowsRunAsService": _WINDOWS,
    "winkernel": _WINDOWS,
}
_DEFAULTS = {
    "clientConnection.acceptContentTypes": ("application/json",),
    "clientConnection.contentType": ("application/json", "application/vnd.kubernetes.protobuf"),
    "configSyncPeriod": ("15m", "15m0s"),
    "ipvs.syncPeriod": ("30s",),
    "logging.flushFrequency": ("5s", 5_000_000_000),
}
"""What kube-proxy's own defaulting writes into files is not worth a word."""


def unused_fields(kube: KubeProxyConfiguration) -> list[Warned]:
    """Fields without effect that somebody set to something.

    Args:
        kube: As it was given, without our defaults.
    """
    return [
        Warned(field, f"has no effect: {reason}")
        for field, value in _leaves(msgspec.to_builtins(kube), "")
        if (reason := _reason(field)) and not _is_empty(value)
        if value not in _DEFAULTS.get(field, ())
    ]


def _reason(field: str) -> str | None:
    parts = field.split(".")
    heads = (".".join(parts[: end + 1]) for end in range(len(parts)))
    return next((_UNUSED[head] for head in heads if head in _UNUSED), None)


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    if not isinstance(value, dict):
        yield path, value
        return
    for name, inner in value.items():
        yield from _leaves(inner, f"{path}.{name}" if path else str(name))


def _is_empty(value: object) -> bool:
    """Whether it is what Go writes for a field that nobody set."""
    if isinstance(value, str):
        try:
            return not value or parse_duration(value) == 0
        except ValueError:
            return False
    return not value
