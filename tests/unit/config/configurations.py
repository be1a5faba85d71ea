"""Configuration files for tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from netproxy.config.kubeproxy import KubeProxyConfiguration, NetproxyConfiguration
from netproxy.config.settings import Settings, make_settings
from netproxy.config_file import read_config_file, speller

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
OWN = "---\napiVersion: netproxy.dev/v1alpha1\nkind: NetproxyConfiguration\n"


def settings_of(path: str | Path) -> Settings:
    """What a file means on a host named node-1."""
    read = read_config_file(str(path))
    return make_settings(read.configuration, hostname="node-1", spell=speller(str(path)))


def leaves(kind: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, Any]]:
    """(path in the file, type) of all fields that hold values."""
    for field in msgspec.structs.fields(kind):
        place = f"{path}{field.encode_name}"
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from leaves(field.type, f"{place}.")
        elif place not in ("apiVersion", "kind"):
            yield place, field.type


KUBE_FIELDS = dict(leaves(KubeProxyConfiguration))
OWN_FIELDS = dict(leaves(NetproxyConfiguration))


def document(kind: type[KubeProxyConfiguration | NetproxyConfiguration], **values: Any) -> Any:
    """A document with values at paths, such as ``{"conntrack.min": 1}``."""
    empty = kind()
    made: dict[str, Any] = {"apiVersion": empty.api_version, "kind": empty.kind}
    for path, value in values.items():
        block = made
        *outer, name = path.split(".")
        for each in outer:
            block = block.setdefault(each, {})
        block[name] = value
    return made
