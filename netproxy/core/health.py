"""What load balancers hear when they ask this node about a Service (healthCheckNodePort).

A cloud's load balancer sends a Service with external traffic policy Local only to nodes that have
an endpoint of it. It finds them by asking each node over HTTP.

Not here: who listens and speaks HTTP (``health/``), and when the kernel is in step (``proxier``).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import NamedTuple

from netproxy.core.resolve import candidates_for, has_family
from netproxy.model.endpoints import EndpointSlice
from netproxy.model.ip import Family, IPAddress
from netproxy.model.names import ServiceKey
from netproxy.model.service import Service


class ServiceHealth(NamedTuple):
    """How one Service is on this node, in one IP family."""

    service: ServiceKey
    port: int
    """On which load balancers ask."""
    local_endpoints: int


class HealthNews(NamedTuple):
    """What has changed since the last news, of a family whose rules are in step with it."""

    family: Family
    addresses: tuple[IPAddress, ...]
    """On which to listen; empty: on all of the node's."""
    services: Mapping[ServiceKey, ServiceHealth | None]
    """Only what changed. None: load balancers have nothing to ask about it any more."""
    is_whole: bool = False
    """There is nothing besides these: the first news of a book, which may follow another one."""


class HealthAnswer(NamedTuple):
    """One HTTP answer. Source: kube-proxy 1.36, KEP-1669, KEP-3836."""

    status: int
    headers: dict[str, str]
    body: str


def service_health(
    service: Service, slices: Collection[EndpointSlice], node_name: str, family: Family
) -> ServiceHealth | None:
    """How the Service is on this node; None for one that load balancers do not ask about.

    Local addresses are counted that are ready on some port of the Service. One that terminates
    does not count, although rules may still lead to it: so load balancers turn away in time.
    """
    port = service.health_check_node_port
    if not port or not has_family(service, family):
        return None
    usable = [each for each in slices if each.family is family]
    ready = {
        endpoint.address
        for each in service.ports
        for endpoint, _ in candidates_for(each, usable)
        if endpoint.node == node_name and endpoint.ready and not endpoint.terminating
    }
    return ServiceHealth(service.key, port, len(ready))


def health_answer(health: ServiceHealth, *, is_proxy_healthy: bool) -> HealthAnswer:
    """What a load balancer hears: 200 to send traffic here, 503 not to."""
    body = {
        "service": {"namespace": health.service.namespace, "name": health.service.name},
        "localEndpoints": health.local_endpoints,
        "serviceProxyHealthy": is_proxy_healthy,
    }
    headers = {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        "X-Load-Balancing-Endpoint-Weight": str(health.local_endpoints),
    }
    is_good = health.local_endpoints > 0 and is_proxy_healthy
    return HealthAnswer(200 if is_good else 503, headers, json.dumps(body))


class HealthBook:
    """Keeps one family's answers back until its rules are in step with them.

    ``note`` what is to be, ``settle`` when the kernel has it, ``take`` what is news since then.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._noted: dict[ServiceKey, ServiceHealth | None] = {}
        self._settled: dict[ServiceKey, ServiceHealth | None] = {}
        self._current: dict[ServiceKey, ServiceHealth] = {}
        """As last noted."""
        self._addresses: tuple[IPAddress, ...] | None = None
        """None: no sync has worked since the last ``take``."""
        self._has_told = False

    def note(self, key: ServiceKey, health: ServiceHealth | None) -> None:
        """A Service was looked at again."""
        if health == self._current.get(key):
            return
        if health is None:
            del self._current[key]
        else:
            self._current[key] = health
        self._noted[key] = health

    def settle(self, addresses: tuple[IPAddress, ...] | None) -> None:
        """The kernel is in step with all that was noted.

        Args:
            addresses: Those that accept NodePorts; None or empty: listen on all.
        """
        self._settled |= self._noted
        self._noted = {}
        self._addresses = addresses or ()

    def take(self) -> HealthNews | None:
        """What is new; None when no sync has worked since the last time."""
        if self._addresses is None:
            return None
        is_first, self._has_told = not self._has_told, True
        news = HealthNews(self._family, self._addresses, self._settled, is_whole=is_first)
        self._settled, self._addresses = {}, None
        return news
