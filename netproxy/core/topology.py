"""Choose which endpoints this node may send a service port's traffic to.

Rule 1: everything that reads endpoint conditions or topology hints lives here.
Rule 2: nothing here knows about a backend; the answer is a list of endpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from netproxy.core.plan import Target
from netproxy.model.endpoints import Endpoint

Candidate = tuple[Endpoint, int]
"""An endpoint together with the number that one service port has on it."""


class Choice(NamedTuple):
    """The endpoints that may be used, per traffic policy."""

    cluster: tuple[Target, ...]
    local: tuple[Target, ...]
    has_any: bool
    """Something usable exists somewhere: tells DROP from REJECT."""


def choose_endpoints(
    candidates: Sequence[Candidate],
    *,
    node_name: str,
    zone: str,
    uses_cluster: bool,
    uses_local: bool,
) -> Choice:
    """Choose the endpoints this node may use, separately per traffic policy.

    Ready endpoints win. Where a policy has none, endpoints that still serve while they terminate
    stand in, so that a rolling update drops nothing.

    Args:
        candidates: Every endpoint of one service port in one family, any order, each address and
            port at most once.
        node_name: Endpoints with this nodeName are local.
        zone: This node's zone; empty when unknown.
        uses_cluster: Some frontend of the port may use endpoints of the whole cluster.
        uses_local: Some frontend of the port follows policy Local.

    Returns:
        Each list sorted by address and port, so that equal inputs give equal plans. A policy
        that is not in use gets ``()``.

    Source:
        kube-proxy 1.36, CategorizeEndpoints; Kubernetes API: EndpointSlice conditions and hints.
    """
    cluster: list[Candidate] = []
    if uses_cluster:
        ready = [c for c in candidates if c[0].ready]
        cluster = _fitting_hints(ready, node_name, zone) or _draining(candidates)
    local: list[Candidate] = []
    if uses_local:
        here = [c for c in candidates if c[0].node == node_name]
        local = [c for c in here if c[0].ready] or _draining(here)
    has_any = bool(cluster or local) or (
        not uses_cluster and any(_is_usable(endpoint) for endpoint, _ in candidates)
    )
    return Choice(_targets(cluster, node_name), _targets(local, node_name), has_any)


def _is_usable(endpoint: Endpoint) -> bool:
    return endpoint.ready or (endpoint.serving and endpoint.terminating)


def _draining(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [c for c in candidates if c[0].serving and c[0].terminating]


def _fitting_hints(ready: list[Candidate], node_name: str, zone: str) -> list[Candidate]:
    """Ready endpoints that the hints give to this node; all, unless every one carries hints.

    Source: kube-proxy 1.36: node hints before zone hints; one endpoint without a hint switches
    them off, and so does a hint list that names nobody for this node.
    """
    if not ready or not (ready[0][0].node_hints or ready[0][0].zone_hints):
        return ready
    return (
        _hinted(ready, node_name, lambda endpoint: endpoint.node_hints)
        or _hinted(ready, zone, lambda endpoint: endpoint.zone_hints)
        or ready
    )


def _hinted(
    ready: list[Candidate], wanted: str, hints: Callable[[Endpoint], frozenset[str]]
) -> list[Candidate]:
    if not wanted or not all(hints(endpoint) for endpoint, _ in ready):
        return []
    return [c for c in ready if wanted in hints(c[0])]


def _targets(candidates: list[Candidate], node_name: str) -> tuple[Target, ...]:
    targets = [Target(e.address, port, e.node == node_name) for e, port in candidates]
    targets.sort()
    return tuple(targets)
