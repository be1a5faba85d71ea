"""What every cluster has from the beginning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from netproxy.api.objects import Key, Object
from netproxy.api.resources import (
    ENDPOINT_SLICES,
    ENDPOINTS,
    NAMESPACES,
    SERVICE_CIDRS,
    SERVICES,
    Resource,
)
from netproxy.apiserver.contract import Decision, DeleteOptions, Registry, View, WriteContext

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_NAME = "kubernetes"
_SERVICE = Key("default", _NAME)


class Bootstrap(NamedTuple):
    """Decides about what is missing or different.

    Each decision is to be stored before the next one is asked for.
    """

    registry: Registry
    view: View
    context: WriteContext

    def decide(
        self, service_cidrs: tuple[str, ...], address: str, server: tuple[str, int] | None
    ) -> Iterator[Decision]:
        """Everything.

        Args:
            service_cidrs: Of the first ServiceCIDR.
            address: Of Service kubernetes: the first of the range.
            server: Address and port at which the API server is reached; None: not from pods.
        """
        for name in _NAMESPACES:
            if self.view.get(NAMESPACES, Key("", name)) is None:
                wanted = _object(NAMESPACES, Key("", name))
                yield self.registry.create(NAMESPACES, wanted, self.context)
        if self.view.get(SERVICE_CIDRS, Key("", _NAME)) is None:
            cidr = _object(SERVICE_CIDRS, Key("", _NAME), spec={"cidrs": list(service_cidrs)})
            yield self.registry.create(SERVICE_CIDRS, cidr, self.context)
        yield from self._service(address, server[1] if server else 6443)
        if server is not None:
            yield from self._endpoints(*server)

    def _service(self, address: str, port: int) -> Iterator[Decision]:
        ports = [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}]
        known = self.view.get(SERVICES, _SERVICE)
        if known is not None:
            if known["spec"]["ports"] != ports:
                changed = {**known, "spec": {**known["spec"], "ports": ports}}
                yield self.registry.update(SERVICES, known, changed, "", self.context)
            return
        labels = {"component": "apiserver", "provider": "kubernetes"}
        spec = {"clusterIP": address, "ports": ports, "type": "ClusterIP"}
        wanted = _object(SERVICES, _SERVICE, labels, spec=spec)
        yield self.registry.create(SERVICES, wanted, self.context)

    def _endpoints(self, host: str, port: int) -> Iterator[Decision]:
        """Both forms; without selector nobody else writes them."""
        ports = [{"name": "https", "port": port, "protocol": "TCP"}]
        skip = {"endpointslice.kubernetes.io/skip-mirror": "true"}
        subsets = [{"addresses": [{"ip": host}], "ports": ports}]
        yield from self._put(ENDPOINTS, _object(ENDPOINTS, _SERVICE, skip, subsets=subsets))
        family = "IPv6" if ":" in host else "IPv4"
        wanted = _object(
            ENDPOINT_SLICES,
            _SERVICE,
            {"kubernetes.io/service-name": _NAME},
            addressType=family,
            endpoints=[{"addresses": [host], "conditions": {"ready": True}}],
            ports=ports,
        )
        known = self.view.get(ENDPOINT_SLICES, _SERVICE)
        if known is not None and known["addressType"] != family:
            yield self.registry.delete(ENDPOINT_SLICES, known, DeleteOptions(), self.context)
        yield from self._put(ENDPOINT_SLICES, wanted)

    def _put(self, resource: Resource, wanted: Object) -> Iterator[Decision]:
        known = self.view.get(resource, _SERVICE)
        if known is None:
            yield self.registry.create(resource, wanted, self.context)
            return
        changed = {**known, **{k: v for k, v in wanted.items() if k != "metadata"}}
        decision = self.registry.update(resource, known, changed, "", self.context)
        if decision.writes:
            yield decision


def _object(
    resource: Resource, key: Key, labels: dict[str, str] | None = None, **members: object
) -> Object:
    metadata: Object = {"name": key.name}
    if key.namespace:
        metadata["namespace"] = key.namespace
    if labels:
        metadata["labels"] = labels
    head = {"apiVersion": resource.api_version, "kind": resource.kind}
    return {**head, "metadata": metadata, **members}
