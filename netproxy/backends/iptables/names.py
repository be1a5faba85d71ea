"""Every name that netproxy uses in iptables. They are kube-proxy's, so that guides apply.

Source: kube-proxy 1.36, its names and hashes. Two differences, both about chains that kube-proxy
does not have: a long list is cut into *dispatch chains*, named after the addresses or ports that
they serve; their names begin like those of service chains, so that kube-proxy takes them for its
own leftovers and deletes them when it takes over.
"""

from __future__ import annotations

import base64
import hashlib
import re

NAT, FILTER, MANGLE = "nat", "filter", "mangle"

SERVICES = "KUBE-SERVICES"
"""In nat: destination → service; in filter: ClusterIPs without endpoints."""
NODEPORTS = "KUBE-NODEPORTS"
"""In nat: NodePort → service; in filter: health-check ports are let in."""
EXTERNAL_SERVICES = "KUBE-EXTERNAL-SERVICES"
"""In filter: external addresses and NodePorts without endpoints."""
PROXY_FIREWALL = "KUBE-PROXY-FIREWALL"
"""In filter: what a service's source ranges did not let through."""
MARK_MASQ = "KUBE-MARK-MASQ"
POSTROUTING = "KUBE-POSTROUTING"
FORWARD = "KUBE-FORWARD"
FIREWALL = "KUBE-FIREWALL"
"""Shared with the kubelet, which makes the same."""
CANARY = "KUBE-PROXY-CANARY"
"""kube-proxy's tripwire; netproxy needs none, and deletes it when it takes over."""
KUBELET_CANARY = "KUBE-KUBELET-CANARY"
"""In mangle: a kubelet is or was here."""

CONSTANT = {
    NAT: (SERVICES, NODEPORTS, MARK_MASQ, POSTROUTING),
    FILTER: (SERVICES, EXTERNAL_SERVICES, NODEPORTS, FORWARD, PROXY_FIREWALL),
}
"""Chains that always exist."""
DISPATCH_PREFIXES = {
    (NAT, SERVICES): "KUBE-SVC-",
    (NAT, NODEPORTS): "KUBE-SVC-",
    (FILTER, SERVICES): "KUBE-SVC-",
    (FILTER, EXTERNAL_SERVICES): "KUBE-EXT-",
    (FILTER, PROXY_FIREWALL): "KUBE-FW-",
    (FILTER, NODEPORTS): "KUBE-HC-",
}
"""(table, list that all services share) → how the names of its dispatch chains begin."""
_VARIABLE = re.compile(r"KUBE-(SVC|SVL|EXT|FW|SEP|HC)-")
"""Beginnings of the names of service, endpoint and dispatch chains."""


def is_variable(chain: str) -> bool:
    """Whether this is the chain of some service, endpoint or dispatch.

    Example:
        >>> is_variable("KUBE-SVC-XPGD46QRK7WJZT7O"), is_variable("KUBE-SERVICES")
        (True, False)
    """
    return _VARIABLE.match(chain) is not None


def port_hash(service_port: str, protocol: str) -> str:
    """What the chain names of one service port end in.

    Args:
        service_port: ``namespace/name:port``.
        protocol: In lower case.

    Example:
        >>> port_hash("ns1/svc1:p80", "tcp")
        'XPGD46QRK7WJZT7O'
    """
    return _hash(service_port + protocol)


def endpoint_chain(service_port: str, protocol: str, endpoint: str) -> str:
    """The chain of one endpoint of one service port.

    Example:
        >>> endpoint_chain("ns1/svc1:p80", "tcp", "10.180.0.1:80")
        'KUBE-SEP-SXIVWICOYRO3J4NJ'
    """
    return "KUBE-SEP-" + _hash(service_port + protocol + endpoint)


def _hash(text: str) -> str:
    # Sixteen characters of base32 are ten bytes.
    return base64.b32encode(hashlib.sha256(text.encode()).digest()[:10]).decode()
