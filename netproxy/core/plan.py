"""What this node must do for one service port, in one IP family: the seam to every backend.

Every question about policies, readiness and rivals is answered here once. Nothing in a plan
speaks of chains, marks or maps.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from netproxy.model.ip import Family, IPAddress, Prefix
from netproxy.model.names import ServicePortName


class FrontendKind(enum.Enum):
    """What makes an address belong to a service port."""

    CLUSTER_IP = "ClusterIP"
    EXTERNAL_IP = "ExternalIP"
    LOAD_BALANCER_IP = "LoadBalancerIP"
    NODE_PORT = "NodePort"


class Action(enum.Enum):
    """What happens to a new connection to a frontend."""

    FORWARD = "forward"
    """To one of the endpoints that the frontend's policy allows."""
    REJECT = "reject"
    """No endpoint anywhere: refuse, so that the client need not wait."""
    DROP = "drop"
    """Policy Local and no endpoint here, but elsewhere: stay silent, since an upstream load
    balancer may be about to send the client elsewhere. Source: kube-proxy 1.36."""


class Target(NamedTuple):
    """One endpoint that may be chosen."""

    address: IPAddress
    port: int
    is_local: bool


class Frontend(NamedTuple):
    """One address, protocol and port on which a service port answers."""

    kind: FrontendKind
    address: IPAddress
    """Empty for a NodePort: any of the node's accepting addresses."""
    port: int
    action: Action
    is_local_only: bool = False
    """FORWARD to ``local_targets`` only (traffic policy Local)."""
    has_short_circuit: bool = False
    """Clients on this node, pods and the node itself, are served from ``targets`` as if the
    policy were Cluster. Only for external frontends with policy Local."""

    @property
    def is_external(self) -> bool:
        """Whether traffic to it comes from outside the cluster by design."""
        return self.kind is not FrontendKind.CLUSTER_IP


class ServicePlan(NamedTuple):
    """One port of one Service in one IP family, decided."""

    name: ServicePortName
    family: Family
    frontends: tuple[Frontend, ...]
    targets: tuple[Target, ...]
    """Endpoints for policy Cluster, sorted by address and port; empty when nothing uses them."""
    local_targets: tuple[Target, ...]
    """Endpoints for policy Local, sorted; empty when nothing uses them."""
    affinity_timeout_s: int = 0
    source_ranges: tuple[Prefix, ...] = ()
    """Who may use the LoadBalancer addresses, they themselves included where the node is; empty
    means everybody."""
    health_check_port: int = 0
    """Where load balancers ask this node for the Service's health; 0: nowhere. The same in all
    plans of a Service."""


class FrontendKey(NamedTuple):
    """What two services cannot both have: the identity of a frontend on the wire."""

    address: IPAddress
    """Empty for a NodePort."""
    protocol: str
    port: int

    def __str__(self) -> str:
        where = f"[{self.address}]" if ":" in self.address else self.address or "nodePort "
        return (
            f"{where}:{self.port}/{self.protocol}"
            if self.address
            else (f"nodePort {self.port}/{self.protocol}")
        )
