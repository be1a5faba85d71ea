"""An EndpointSlice as the proxy needs it. Legacy Endpoints become slices of this shape."""

from __future__ import annotations

from typing import NamedTuple

from netproxy.model.ip import Family, IPAddress
from netproxy.model.names import ServiceKey


class Endpoint(NamedTuple):
    """One address that serves. Source: Kubernetes API: EndpointSlice.endpoints[]."""

    address: IPAddress
    """Only the first of ``addresses`` counts, as in kube-proxy."""
    node: str = ""
    """``nodeName``; empty for things that are no pods, such as an external database."""
    ready: bool = True
    """conditions.ready; absent means true."""
    serving: bool = True
    """conditions.serving; absent means true (kube-proxy 1.36)."""
    terminating: bool = False
    zone_hints: frozenset[str] = frozenset()
    node_hints: frozenset[str] = frozenset()


class SlicePort(NamedTuple):
    """Source: Kubernetes API: EndpointSlice.ports[]. Matched to the Service's port by *name*."""

    name: str
    protocol: str
    port: int


class EndpointSlice(NamedTuple):
    """A set of endpoints that share ports. All addresses are of one family."""

    service: ServiceKey
    name: str
    """Unique per namespace among slices; a legacy Endpoints object uses ``endpoints:<name>``."""
    family: Family
    ports: tuple[SlicePort, ...]
    endpoints: tuple[Endpoint, ...]
    is_legacy: bool = False
    """Made from an Endpoints object: ignored as soon as the service has any real slice."""
