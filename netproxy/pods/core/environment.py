"""A container's command and environment: what stands in its spec, with everything put in.

Source: core/v1 EnvVar, EnvVarSource and ObjectFieldSelector; the API's rule for ``$(NAME)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from netproxy.api.objects import Object
from netproxy.pods.core.files import hostname_of
from netproxy.pods.core.model import Container

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked for, as container runtimes have it."""
_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class ConfigError(Exception):
    """A container's environment cannot be made; the text says why."""


class Surroundings(NamedTuple):
    """What a container may ask about."""

    pod: Object
    addresses: tuple[str, ...]
    """Of the Pod."""
    node_name: str
    host_addresses: tuple[str, ...]
    config_maps: Mapping[str, Object | None]
    """Those that it names; None: there is no such."""
    path: str = PATH
    """``PATH``, unless it says otherwise."""


def config_maps_of(container: Container) -> set[str]:
    """Names of the ConfigMaps that its environment comes from."""
    spec = container.spec
    names = {
        each["valueFrom"]["configMapKeyRef"]["name"]
        for each in spec.get("env") or ()
        if "configMapKeyRef" in (each.get("valueFrom") or {})
    }
    names |= {
        each["configMapRef"]["name"] for each in spec.get("envFrom") or () if "configMapRef" in each
    }
    return names


def environment_of(container: Container, around: Surroundings) -> dict[str, str]:
    """What the command finds in its environment.

    Raises:
        ConfigError: something that it needs is not there.
    """
    found = {"PATH": around.path, "HOSTNAME": hostname_of(around.pod)}
    for each in container.spec.get("envFrom") or ():
        found |= _whole_map(each, around)
    for each in container.spec.get("env") or ():
        source = each.get("valueFrom")
        value = _value(source, around) if source else expand(each.get("value") or "", found)
        if value is not None:
            found[each["name"]] = value
    return found


def command_of(container: Container, environment: Mapping[str, str]) -> list[str]:
    """Program and arguments."""
    spec = container.spec
    words: Iterable[str] = [*(spec.get("command") or ()), *(spec.get("args") or ())]
    return [expand(each, environment) for each in words]


def expand(text: str, known: Mapping[str, str]) -> str:
    """Put values in for ``$(NAME)``; an unknown name stays, ``$$`` is a dollar.

    Example:
        >>> expand("$(A)-$(B)-$$(A)", {"A": "1"})
        '1-$(B)-$(A)'
    """

    def replace(match: re.Match[str]) -> str:
        return "$" if match[1] is None else known.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)


def _whole_map(source: Object, around: Surroundings) -> dict[str, str]:
    reference = source["configMapRef"]
    config = around.config_maps.get(reference["name"])
    if config is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'configmap "{reference["name"]}" not found')
    prefix = source.get("prefix") or ""
    return {prefix + name: value for name, value in (config.get("data") or {}).items()}


def _value(source: Object, around: Surroundings) -> str | None:
    """None: it is optional and not there."""
    if "fieldRef" in source:
        return field_of(source["fieldRef"]["fieldPath"], around)
    reference = source["configMapKeyRef"]
    config = around.config_maps.get(reference["name"])
    value: str | None = ((config or {}).get("data") or {}).get(reference["key"])
    if value is None and not reference.get("optional"):
        what = f"couldn't find key {reference['key']} in ConfigMap {reference['name']}"
        raise ConfigError(what if config else f'configmap "{reference["name"]}" not found')
    return value


def field_of(path: str, around: Surroundings) -> str:
    """What a field of the Pod says.

    Raises:
        ConfigError: there is no such field.
    """
    pod = around.pod
    metadata, spec = pod["metadata"], pod["spec"]
    subscript = _SUBSCRIPT.fullmatch(path)
    if subscript:
        return str((metadata.get(subscript[1]) or {}).get(subscript[2], ""))
    known = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": around.node_name,
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": next(iter(around.host_addresses), ""),
        "status.hostIPs": ",".join(around.host_addresses),
        "status.podIP": next(iter(around.addresses), ""),
        "status.podIPs": ",".join(around.addresses),
    }
    if path not in known:
        raise ConfigError(f"fieldPath {path} is not supported")
    return str(known[path])
