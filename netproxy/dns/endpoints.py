"""The endpoints of one Service, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netproxy.dns.entries import EndpointEntry, Port, ServiceEntry, SliceEntry


class Reach(NamedTuple):
    """One way to reach a Service: a port, and the endpoint that has it."""

    port: Port
    label: bytes
    """The endpoint's; empty: the Service itself, at its ClusterIP."""


class EndpointNames:
    """Which names below a Service there are. Sorted, so that the way here makes no difference.

    A ClusterIP's endpoints have names only where their pods asked for one. The specification has
    none of them; CoreDNS has, and a StatefulSet may have got used to it.

    Args:
        service: Whose they are.
        slices: All its EndpointSlices.
    """

    def __init__(self, service: ServiceEntry, slices: Iterable[SliceEntry]) -> None:
        addresses: set[bytes] = set()
        hosts: dict[bytes, set[bytes]] = {}
        by_address: dict[bytes, set[bytes]] = {}
        reaches: set[Reach] = set()
        for each in slices:
            for endpoint in _named(service, each.endpoints):
                label = endpoint.hostname or endpoint.made_up
                addresses.add(endpoint.address)
                hosts.setdefault(label, set()).add(endpoint.address)
                reaches.update(Reach(port, label) for port in each.ports)
                if endpoint.hostname:
                    by_address.setdefault(endpoint.address, set()).add(label)
        self.addresses = tuple(sorted(addresses))
        self.hosts = {label: tuple(sorted(found)) for label, found in hosts.items()}
        self.hostnames = {address: sorted(found) for address, found in by_address.items()}
        """By address: the labels that were asked for, not those that were made up."""
        self.reaches = tuple(sorted(reaches))


def _named(service: ServiceEntry, endpoints: Iterable[EndpointEntry]) -> Iterator[EndpointEntry]:
    for each in endpoints:
        is_ready = each.is_ready or service.publishes_not_ready
        # An ExternalName Service has no addresses; endpoints that claim to be its are nobody's.
        if is_ready and (service.is_headless or (each.hostname and service.addresses)):
            yield each
