"""Whether a request goes through an HTTP proxy, said by the environment, as Go programs read it.

Source: the documentation of Go's ``golang.org/x/net/http/httpproxy``, which kubectl and kube-proxy
go by.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from netproxy.errors import ConfigError
from netproxy.kubernetes.access import Secret
from netproxy.kubernetes.urls import split_url

_DEFAULT_PORTS = {"http": 80, "https": 443}


def proxy_of(url: str, environ: Mapping[str, str]) -> Secret | None:
    """The proxy's URL for a URL; None: there is none.

    Args:
        url: With scheme and host.
        environ: HTTPS_PROXY or HTTP_PROXY, depending on the scheme, and NO_PROXY; capital letters
            win over small ones.

    Raises:
        ConfigError: the variable has no proxy's URL in it.
    """
    parts = urlsplit(url)
    name = f"{parts.scheme.upper()}_PROXY"
    value = _get(environ, name)
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    if not value or is_excluded(parts.hostname or "", port, _get(environ, "NO_PROXY")):
        return None
    full = value if "://" in value else f"http://{value}"
    proxy = split_url(full)
    if proxy is None or proxy.scheme not in _DEFAULT_PORTS:
        raise ConfigError(
            setting=name,
            problem="is not the URL of an HTTP proxy",
            hint="write http://host:port, or name the API server in NO_PROXY",
        )
    return Secret(full)


def is_excluded(host: str, port: int, no_proxy: str) -> bool:
    """Whether a server is asked without a proxy.

    This host itself always is.

    Args:
        host: In small letters, without brackets.
        port: Of the server.
        no_proxy: Networks, addresses and domains, separated by commas, perhaps with ports.

    Example:
        >>> [is_excluded("api.example.com", 6443, rule) for rule in ("example.com", "com:80", "*")]
        [True, False, True]
    """
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    rules = [rule.strip().lower() for rule in no_proxy.split(",")]
    return any(_excludes(rule, host, address, port) for rule in rules if rule)


def _excludes(
    rule: str, host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, port: int
) -> bool:
    if rule == "*":
        return True
    if "/" in rule:
        try:
            return address is not None and address in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    rule_host, rule_port = _split_port(rule)
    if rule_port not in ("", str(port)):
        return False
    rule_address = _address(rule_host)
    if rule_address is not None:
        return rule_address == address
    domain = rule_host.removeprefix("*")
    if domain.startswith("."):
        return host.endswith(domain)
    return bool(domain) and (host == domain or host.endswith("." + domain))


def _split_port(rule: str) -> tuple[str, str]:
    if rule.startswith("["):
        host, _, rest = rule[1:].partition("]")
        return host, rest.removeprefix(":")
    if rule.count(":") == 1:
        host, _, port = rule.partition(":")
        return host, port
    return rule, ""


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _get(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.lower()) or ""
