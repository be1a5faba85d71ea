"""What an operator may choose for a cluster, and what the words for it mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from netproxy.core.config import ProxyMode
from netproxy.errors import ConfigError
from netproxy.model.ip import Prefix, parse_address, parse_prefix

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_HOST_NAME = re.compile(r"[A-Za-z0-9][-A-Za-z0-9.]{0,252}")
_IMAGE = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._/:@]*")
_PLACE = re.compile(r"(?:\[([^][]+)\]|([^][:/]+))(?::(\d{1,5}))?", re.ASCII)


class ApiServer(NamedTuple):
    """Where the API server is, by an address that needs no Service."""

    host: str
    port: int


class Wishes(NamedTuple):
    """What an operator chose."""

    image: str
    api_server: ApiServer
    namespace: str = "kube-system"
    mode: ProxyMode = ProxyMode.NFTABLES
    cluster_cidrs: tuple[Prefix, ...] = ()
    metrics_bind_address: str = ""
    """``IP:port``; empty: kube-proxy's default, loopback."""
    init: bool = True
    """A privileged container sets the kernel's settings first."""
    legacy_iptables: bool = False
    """The nodes have rules in tables of iptables-legacy, such as a former kube-proxy's."""


def read_api_server(text: str) -> ApiServer:
    """The API server's place, from ``https://HOST[:PORT]`` or ``HOST[:PORT]``.

    Raises:
        ConfigError: it is neither.

    Example:
        >>> read_api_server("https://[fd00::1]:6443")
        ApiServer(host='fd00::1', port=6443)
        >>> read_api_server("api.example")
        ApiServer(host='api.example', port=443)
    """
    match = _PLACE.fullmatch(text.removeprefix("https://").removesuffix("/"))
    host = (match[1] or match[2]) if match else ""
    port = int(match[3] or 443) if match else 0
    is_host = _is_address(host) if ":" in host else _HOST_NAME.fullmatch(host)
    if not (is_host and 0 < port < 65536):
        raise ConfigError(
            setting="--api-server",
            problem=f"{text!r} is not the address of an API server",
            hint="https://HOST:PORT, for example https://192.0.2.10:6443 or https://[fd00::1]:6443",
        )
    return ApiServer(host, port)


def _is_address(text: str) -> bool:
    try:
        parse_address(text)
    except ValueError:
        return False
    return True


def read_namespace(text: str) -> str:
    """A namespace's name.

    Raises:
        ConfigError: it cannot be one.
    """
    if not _NAMESPACE.fullmatch(text):
        raise ConfigError(
            setting="--namespace",
            problem=f"{text!r} cannot be the name of a namespace",
            hint="at most 63 small letters, digits and -, as in: kube-system",
        )
    return text


def read_image(text: str) -> str:
    """An image's name.

    Raises:
        ConfigError: it cannot be one.
    """
    if not _IMAGE.fullmatch(text):
        raise ConfigError(
            setting="--image",
            problem=f"{text!r} cannot be the name of an image",
            hint="for example registry.example/netproxy:0.1.0",
        )
    return text


def read_metrics_address(text: str) -> str:
    """``IP:port`` as kube-proxy takes it; empty stays empty.

    Raises:
        ConfigError: it is something else.
    """
    host, _, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if is_bracketed else host
    is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if text and not (is_port and _is_address(host) and is_bracketed == (":" in host)):
        raise ConfigError(
            setting="--metrics-bind-address",
            problem=f"{text!r} is not an address and a port",
            hint="for example 0.0.0.0:10249 or [::]:10249",
        )
    return text


def read_cluster_cidrs(words: Sequence[str]) -> tuple[Prefix, ...]:
    """Where pods' addresses are: at most one prefix of each family, as kube-proxy demands.

    Raises:
        ConfigError: a word is no prefix, or there are too many.
    """
    try:
        prefixes = [parse_prefix(word.strip()) for word in words]
    except ValueError as error:
        raise ConfigError(
            setting="--cluster-cidr", problem=str(error), hint="for example 10.244.0.0/16"
        ) from None
    if len({prefix.family for prefix in prefixes}) < len(prefixes):
        raise ConfigError(
            setting="--cluster-cidr",
            problem=f"{','.join(map(str, prefixes))} has more than one prefix of an IP family",
            hint="give one IPv4 prefix, one IPv6 prefix, or one of each",
        )
    return tuple(prefixes)
