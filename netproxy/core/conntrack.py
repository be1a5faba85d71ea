"""Which connections of UDP lead to endpoints that nobody should reach by this way any more.

A connection keeps its endpoint for as long as packets come. TCP ends by itself when an endpoint is
gone; a UDP client that keeps its socket, as DNS clients do, would go on for hours. So whoever
changes the endpoints of a UDP service port forgets its connections to those that are gone.

Pure: a ``FlowBook`` is told what service ports have, and says what to look for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from netproxy.core.plan import FrontendKey
from netproxy.core.resolve import candidates_for, frontend_keys, has_family
from netproxy.model.endpoints import EndpointSlice
from netproxy.model.ip import Family, IPAddress, family_of, pack_address
from netproxy.model.names import ServiceKey
from netproxy.model.service import Service

UDP = "UDP"

Place = tuple[bytes, int]
"""Packed address, or nothing for any address that accepts NodePorts, and port."""
Servers = frozenset[Place]


class Sweep(NamedTuple):
    """What to look for among the connections of one family, all of UDP."""

    family: Family
    frontends: Mapping[Place, Servers]
    """Frontend → endpoints to which its connections may go on leading. Connections to other
    destinations are nobody's business here."""
    nodeport_addresses: frozenset[bytes]
    """Packed; a connection that merely passes through this node may have such a port as well."""

    def condemns(self, destination: Place, server: Place) -> bool:
        """Whether a connection is to be forgotten.

        Args:
            destination: Where the client sends to.
            server: From where it is answered; the destination itself if nobody translated it.
        """
        servers = self.frontends.get(destination)
        if servers is None and destination[0] in self.nodeport_addresses:
            servers = self.frontends.get((b"", destination[1]))
        return servers is not None and server not in servers


class FlowBook:
    """Remembers, in one family, which frontends have connections that may lead astray."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._services: dict[ServiceKey, dict[Place, Servers]] = {}
        self._servers: dict[Place, Servers] = {}
        """Frontend → its endpoints that still serve, over all Services."""
        self._pending: set[Place] = set()

    def note(self, key: ServiceKey, served: Mapping[Place, Servers]) -> None:
        """What a Service has now; nothing: it is gone, or has no UDP port."""
        before = self._services.get(key)
        if not before and not served:
            return
        for place in before or ():
            if place not in served:
                # It may have gone over to another Service, in either order.
                if self._servers.get(place) == (before or {})[place]:
                    self._servers.pop(place, None)
                self._pending.add(place)
        for place, servers in served.items():
            had = self._servers.get(place)
            self._servers[place] = servers
            # One more server takes nobody's away; the first one finds clients that sent in vain.
            is_harmless = had == servers or (had and had <= servers)
            if had is None or not is_harmless:
                self._pending.add(place)
        if served:
            self._services[key] = dict(served)
        else:
            del self._services[key]

    def take(self, nodeport_addresses: Collection[IPAddress]) -> Sweep | None:
        """What to look for since the last time; None: nothing can have gone astray."""
        if not self._pending:
            return None
        pending, self._pending = self._pending, set()
        servers = {place: self._servers.get(place, frozenset()) for place in pending}
        addresses = frozenset(map(pack_address, nodeport_addresses))
        return Sweep(self._family, servers, addresses)

    def put_back(self, sweep: Sweep) -> None:
        """It could not be carried out: it is part of the next one."""
        self._pending.update(sweep.frontends)


def udp_servers(
    service: Service,
    slices: Iterable[EndpointSlice],
    family: Family,
    lost: Collection[FrontendKey] = (),
) -> dict[Place, Servers]:
    """The UDP frontends of a Service, and the endpoints that serve behind each.

    Every serving endpoint counts, wherever it is: a connection to another node's endpoint outlives
    a change to policy Local. Source: kube-proxy 1.36, conntrack reconciliation.

    Args:
        service: The Service.
        slices: All its EndpointSlices.
        family: The IP family.
        lost: Frontends that belong to an older rival.
    """
    has_udp = any(port.protocol == UDP for port in service.ports)
    if not has_udp or not has_family(service, family):
        return {}
    usable = [each for each in slices if each.family is family]
    served: dict[Place, Servers] = {}
    for port in service.ports:
        if port.protocol != UDP:
            continue
        candidates = candidates_for(port, usable)
        servers = frozenset(
            (pack_address(endpoint.address), number)
            for endpoint, number in candidates
            if endpoint.serving
        )
        for key in frontend_keys(service._replace(ports=(port,))):
            if key in lost or (key.address and family_of(key.address) is not family):
                continue
            served[pack_address(key.address) if key.address else b"", key.port] = servers
    return served
