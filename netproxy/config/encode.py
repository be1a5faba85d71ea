"""A configuration → the text of a file that means the same."""

from __future__ import annotations

import msgspec
import yaml

from netproxy.config.decode import Configuration
from netproxy.config.defaults import complete, complete_own


def encode(given: Configuration) -> str:
    """Two YAML documents, kube-proxy's configuration and ours, with all defaults written out."""
    documents = [
        msgspec.to_builtins(complete(given.kube)),
        msgspec.to_builtins(complete_own(given.own)),
    ]
    return yaml.safe_dump_all(
        [_named_first(document) for document in documents],
        explicit_start=True,
        sort_keys=False,
        default_flow_style=False,
    )


def to_plain(given: Configuration) -> dict[str, object]:
    """For ``/configz``: kube-proxy's configuration under kube-proxy's name, and ours."""
    return {
        "kubeproxy.config.k8s.io": _named_first(msgspec.to_builtins(complete(given.kube))),
        "netproxy.dev": _named_first(msgspec.to_builtins(complete_own(given.own))),
    }


def _named_first(document: dict[str, object]) -> dict[str, object]:
    rest = {k: v for k, v in document.items() if v != {} and k not in ("apiVersion", "kind")}
    return {"apiVersion": document["apiVersion"], "kind": document["kind"], **rest}
