"""Which connections of UDP lead to endpoints that nobody should reach by this way any more.

A connection keeps its endpoint for as long as packets come. TCP ends by itself when an endpoint is
gone; a UDP client that keeps its socket, as DNS clients do, would go on for hours. So whoever
changes the endpoints of a UDP service port forgets its connections to those that are gone.

Pure: a ``FlowBook`` is told what service ports have, and says what to look for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from netproxy.core.plan import FrontendKey
from netproxy.core.resolve import authoritative, candidates_for, frontend_keys, has_family
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
        servers = self._servers_of(destination)
        return servers is not None and server not in servers

    def concerns(self, destination: Place) -> bool:
        """Whether connections to there are looked at."""
        return self._servers_of(destination) is not None

    def _servers_of(self, destination: Place) -> Servers | None:
        servers = self.frontends.get(destination)
        if servers is None and destination[0] in self.nodeport_addresses:
            servers = self.frontends.get((b"", destination[1]))
        return servers


class FlowBook:
    """Remembers, in one family, which frontends have connections that may lead astray."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._services: dict[ServiceKey, Mapping[Place, Servers]] = {}
        self._owners: dict[Place, ServiceKey] = {}
        """Frontend → the Service last said to have it; it may change hands in any order."""
        self._pending: set[Place] = set()
        self._unknown: set[Place] = set()
        """Frontends heard of for the first time: connections may be older than what is known."""

    def note(self, key: ServiceKey, served: Mapping[Place, Servers]) -> None:
        """What a Service has now; nothing: it is gone, or has no UDP port."""
        for place in self._services.get(key, {}):
            if place not in served and self._owners.get(place) == key:
                del self._owners[place]
                self._pending.add(place)
        for place, servers in served.items():
            if place not in self._owners:
                self._unknown.add(place)
            elif not _keeps_everybody(self._servers_of(place), servers):
                self._pending.add(place)
            self._owners[place] = key
        # Last: until now, its frontends' servers were those of before.
        if served:
            self._services[key] = dict(served)
        else:
            self._services.pop(key, None)

    def take(
        self, nodeport_addresses: Collection[IPAddress], *, is_complete: bool = True
    ) -> Sweep | None:
        """What to look for since the last time; None: nothing can have gone astray.

        Args:
            nodeport_addresses: This node's addresses that accept NodePorts.
            is_complete: Nothing is missing in what Services were said to have. Otherwise what was
                heard for the first time has to wait: the endpoint of a connection may be missing.
        """
        pending, self._pending = self._pending, set()
        if is_complete:
            pending |= self._unknown
            self._unknown = set()
        if not pending:
            return None
        addresses = frozenset(map(pack_address, nodeport_addresses))
        for _, port in [place for place in pending if not place[0]]:
            # A frontend on one of these addresses goes before a NodePort of the same number.
            pending |= {(address, port) for address in addresses} & self._owners.keys()
        frontends = {place: self._servers_at(place, addresses) for place in pending}
        return Sweep(self._family, frontends, addresses)

    def put_back(self, sweep: Sweep) -> None:
        """It could not be carried out: it is part of the next one."""
        self._pending.update(sweep.frontends)

    def _servers_of(self, place: Place) -> Servers:
        owner = self._owners.get(place)
        return self._services[owner][place] if owner is not None else frozenset()

    def _servers_at(self, place: Place, addresses: Collection[bytes]) -> Servers:
        """Who serves there; a NodePort answers where no frontend of its own is left."""
        if place not in self._owners and place[0] in addresses:
            place = b"", place[1]
        return self._servers_of(place)


def _keeps_everybody(before: Servers, now: Servers) -> bool:
    """Whether all connections are right still.

    One more server takes nobody's away; but the first one finds clients that sent in vain.
    """
    return before == now or (bool(before) and before <= now)


def udp_servers(
    service: Service,
    slices: Collection[EndpointSlice],
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
    usable = [each for each in authoritative(slices) if each.family is family]
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
