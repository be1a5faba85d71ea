"""EndpointSlices and Endpoints of the API → the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netproxy.model import api
from netproxy.model.endpoints import Endpoint, EndpointSlice, SlicePort
from netproxy.model.findings import Findings
from netproxy.model.ip import Family, family_of
from netproxy.model.names import ServiceKey

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_FAMILIES = {"IPv4": Family.IPV4, "IPv6": Family.IPV6}
_NO_HINTS: frozenset[str] = frozenset()
_NO_CONDITIONS = api.Conditions()


def parse_endpoint_slice(
    typed: api.EndpointSlice, key: ServiceKey, found: Findings
) -> Iterator[EndpointSlice]:
    """The slice without its impossible endpoints; nothing when it serves no Service."""
    labels = (typed.metadata.labels if typed.metadata else None) or {}
    service = labels.get(SERVICE_NAME_LABEL)
    if not service:
        found.warn(
            "metadata.labels",
            f"the label {SERVICE_NAME_LABEL} is missing, so the slice belongs to no Service",
        )
        return
    found.label("metadata.labels", service)
    if found.has_errors:
        return
    if typed.address_type == "FQDN":
        found.warn("addressType", "FQDN slices are not proxied: only addresses can be")
        return
    if typed.address_type not in _FAMILIES:
        found.error("addressType", "must be IPv4 or IPv6")
        return
    family = _FAMILIES[typed.address_type]
    endpoints = []
    for index, raw in enumerate(typed.endpoints or ()):
        endpoint = _endpoint(raw, family, f"endpoints[{index}]", found)
        if endpoint is not None:
            endpoints.append(endpoint)
    yield EndpointSlice(
        service=ServiceKey(key.namespace, service),
        name=key.name,
        family=family,
        ports=_ports(typed.ports, "ports", found),
        endpoints=tuple(endpoints),
    )


def _endpoint(raw: api.Endpoint, family: Family, place: str, found: Findings) -> Endpoint | None:
    if not raw.addresses:
        found.error(f"{place}.addresses", "is empty; an endpoint has an address")
        return None
    address = found.remote_address(f"{place}.addresses[0]", raw.addresses[0])
    if address is None:
        return None
    if family_of(address) is not family:
        found.error(f"{place}.addresses[0]", f"{address} is not of addressType {family.label}")
        return None
    conditions = raw.conditions or _NO_CONDITIONS
    hints = raw.hints
    return Endpoint(
        address,
        raw.node_name or "",
        conditions.ready is not False,
        conditions.serving is not False,
        conditions.terminating is True,
        _hints(hints.for_zones) if hints else _NO_HINTS,
        _hints(hints.for_nodes) if hints else _NO_HINTS,
    )


def _hints(raw: list[api.Hint] | None) -> frozenset[str]:
    return frozenset(hint.name or "" for hint in raw or ())


def _ports(
    raw: Sequence[api.EndpointPort] | None, place: str, found: Findings
) -> tuple[SlicePort, ...]:
    ports = []
    for index, port in enumerate(raw or ()):
        if port.port is None:
            # "All ports", which a Service's port cannot mean; kube-proxy skips it, too.
            found.warn(f"{place}[{index}].port", "is not set, so no Service port leads there")
            continue
        number = found.port(f"{place}[{index}].port", port.port)
        protocol = found.protocol(f"{place}[{index}].protocol", port.protocol)
        if port.name:
            found.label(f"{place}[{index}].name", port.name)
        if number:
            ports.append(SlicePort(port.name or "", protocol, number))
    return tuple(ports)


def parse_endpoints(
    typed: api.Endpoints, key: ServiceKey, found: Findings
) -> Iterator[EndpointSlice]:
    """Slices of the same meaning: one per subset and family."""
    for number, subset in enumerate(typed.subsets or ()):
        place = f"subsets[{number}]"
        ports = _ports(subset.ports, f"{place}.ports", found)
        endpoints = [
            *_legacy(subset.addresses, f"{place}.addresses", found, is_ready=True),
            *_legacy(
                subset.not_ready_addresses, f"{place}.notReadyAddresses", found, is_ready=False
            ),
        ]
        for family in Family:
            mine = tuple(e for e in endpoints if family_of(e.address) is family)
            if mine:
                name = f"endpoints:{key.name}:{number}:{family.label}"
                yield EndpointSlice(key, name, family, ports, mine, is_legacy=True)


def _legacy(
    raw: list[api.EndpointAddress] | None, place: str, found: Findings, *, is_ready: bool
) -> Iterator[Endpoint]:
    for index, one in enumerate(raw or ()):
        address = found.remote_address(f"{place}[{index}].ip", one.ip or "")
        if address is not None:
            yield Endpoint(address, one.node_name or "", ready=is_ready, serving=is_ready)
