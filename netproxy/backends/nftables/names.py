"""Every name that netproxy gives to something in nf_tables.

Chains are told apart by the number in their name: a chain whose name ends in ``-<n>`` is a *class
chain*, which serves every service with n endpoints; all others are constant.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

TABLE = "netproxy"
"""One table of this name per family is all that netproxy ever makes; nothing else is ours."""

CLUSTER_IPS = "cluster-ips"
NODEPORT_IPS = "nodeport-ips"
HAIRPIN = "hairpin-connections"
SERVICE_IPS = "service-ips"
SERVICE_NODEPORTS = "service-nodeports"
SHORT_CIRCUIT_IPS = "short-circuit-ips"
SHORT_CIRCUIT_NODEPORTS = "short-circuit-nodeports"
NO_ENDPOINT_IPS = "no-endpoint-ips"
NO_ENDPOINT_NODEPORTS = "no-endpoint-nodeports"
ENDPOINTS = "endpoints"
NODEPORT_ENDPOINTS = "nodeport-endpoints"

NAT_PREROUTING = "nat-prerouting"
NAT_OUTPUT = "nat-output"
NAT_POSTROUTING = "nat-postrouting"
FILTER_INPUT = "filter-input"
FILTER_FORWARD = "filter-forward"
FILTER_OUTPUT = "filter-output"
SERVICES = "services"
NO_ENDPOINTS = "no-endpoints"
UNKNOWN_CLUSTER_IPS = "unknown-cluster-ips"
REJECT = "reject-connection"

LOCAL_INDEX = 1_000_000
"""Node-local endpoints stand in the endpoints maps from this index on; numgen adds it."""


class ClassKind(enum.Enum):
    """What a class chain does before it picks an endpoint. The value begins the chain's name."""

    CLUSTER = "cluster"
    """ClusterIP, any endpoint."""
    CLUSTER_LOCAL = "cluster-local"
    """ClusterIP with internalTrafficPolicy Local."""
    EXTERNAL = "external"
    """externalIP or load-balancer IP: masqueraded, any endpoint."""
    EXTERNAL_LOCAL = "external-local"
    """The same with externalTrafficPolicy Local: source kept, endpoints of this node."""
    POD_TO_EXTERNAL = "short-circuit"
    """A client on this node to such an address: any endpoint."""
    NODEPORT = "nodeport"
    NODEPORT_LOCAL = "nodeport-local"
    POD_TO_NODEPORT = "short-circuit-nodeport"


class ClassChain(NamedTuple):
    """A class chain. Not more than 60 bytes long: the kernel allows 255."""

    kind: ClassKind
    endpoints: int
    """How many endpoints it chooses from. 0: serves only clients on this node."""

    @property
    def name(self) -> str:
        return f"{self.kind.value}-{self.endpoints}"


_KINDS = {kind.value: kind for kind in ClassKind}


def parse_class_chain(name: str) -> ClassChain | None:
    """The class that a chain name stands for, or None for any other name.

    Example:
        >>> parse_class_chain("external-local-3").endpoints
        3
        >>> parse_class_chain("nat-output") is None
        True
    """
    kind, dash, number = name.rpartition("-")
    if not dash or kind not in _KINDS or not (number.isascii() and number.isdigit()):
        return None
    chain = ClassChain(_KINDS[kind], int(number))
    return chain if chain.name == name else None
