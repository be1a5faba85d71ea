"""A configuration → the text of a file that means the same."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from netproxy.config.decode import Configuration
from netproxy.config.defaults import complete, complete_own
from netproxy.config.kubeproxy import KubeProxyConfiguration, NetproxyConfiguration


def encode(given: Configuration) -> str:
    """Two YAML documents, kube-proxy's configuration and ours, with all defaults written out."""
    return yaml.safe_dump_all(
        [_to_document(complete(given.kube)), _to_document(complete_own(given.own))],
        explicit_start=True,
        sort_keys=False,
        default_flow_style=False,
    )


def to_plain(given: Configuration) -> dict[str, object]:
    """For ``/configz``: kube-proxy's configuration under kube-proxy's name, and ours."""
    return {
        "kubeproxy.config.k8s.io": _to_document(complete(given.kube)),
        "netproxy.dev": _to_document(complete_own(given.own)),
    }


def _to_document(of: KubeProxyConfiguration | NetproxyConfiguration) -> dict[str, object]:
    fields = _without_empty_blocks(msgspec.to_builtins(of))
    rest = {k: v for k, v in fields.items() if k not in ("apiVersion", "kind")}
    return {"apiVersion": of.api_version, "kind": of.kind, **rest}


def _without_empty_blocks(block: dict[str, Any]) -> dict[str, Any]:
    inner = {k: _without_empty_blocks(v) if isinstance(v, dict) else v for k, v in block.items()}
    return {k: v for k, v in inner.items() if v != {}}
