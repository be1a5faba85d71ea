"""Every name that netproxy gives to something in nf_tables.

Chains are told apart by the number in their name: a chain whose name ends in ``-<n>``, or in
``-<n>-affinity-<seconds>``, is a *class chain*, which serves every service with n endpoints; all
others are constant. A set whose name ends in a number has networks of this prefix length.
"""

from __future__ import annotations

import enum
import re
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
CONNECTIONS = "service-connections"
NODEPORT_CONNECTIONS = "nodeport-connections"
FIREWALLED_IPS = "firewalled-ips"
TICKETS = "affinity-tickets"
NODEPORT_TICKETS = "affinity-nodeport-tickets"
TICKET_ENDPOINTS = "affinity-endpoints"
LOCAL_TICKET_ENDPOINTS = "affinity-local-endpoints"
CLIENTS = "affinity-clients"

FILTER_PREROUTING = "filter-prerouting-pre-dnat"
FILTER_OUTPUT_PRE_DNAT = "filter-output-pre-dnat"
SOURCE_RANGES = "source-ranges"
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
REMEMBERED = "remembered-endpoint"
REMEMBERED_LOCAL = "remembered-local-endpoint"

LOCAL_INDEX = 1_000_000
"""Node-local endpoints stand in the endpoints maps from this index on; numgen adds it."""


def allowed_sources(length: int) -> str:
    """The set of networks of this prefix length whose clients may use a load balancer's address."""
    return f"allowed-sources-{length}"


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
    affinity_timeout_s: int = 0
    """How long it remembers where it sent a client; 0: not at all."""

    @property
    def name(self) -> str:
        affinity = f"-affinity-{self.affinity_timeout_s}" if self.affinity_timeout_s else ""
        return f"{self.kind.value}-{self.endpoints}{affinity}"


_KINDS = {kind.value: kind for kind in ClassKind}
_CLASS_NAME = re.compile(r"([a-z-]+)-([0-9]+)(?:-affinity-([0-9]+))?")


def parse_class_chain(name: str) -> ClassChain | None:
    """The class that a chain name stands for, or None for any other name.

    Example:
        >>> parse_class_chain("external-local-3").endpoints
        3
        >>> parse_class_chain("cluster-2-affinity-10800").affinity_timeout_s
        10800
        >>> parse_class_chain("nat-output") is None
        True
    """
    match = _CLASS_NAME.fullmatch(name)
    if match is None or match[1] not in _KINDS:
        return None
    chain = ClassChain(_KINDS[match[1]], int(match[2]), int(match[3] or 0))
    return chain if chain.name == name else None
