"""Endpoints and EndpointSlices: addresses that somebody vouches for."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from netproxy.api.objects import Object
from netproxy.api.status import Cause
from netproxy.apiserver.registry import causes, names
from netproxy.apiserver.registry.strategy import Strategy

MOST_ENDPOINTS, MOST_ADDRESSES, MOST_PORTS, MOST_HINTS = 1000, 100, 20_000, 8
_TYPES = ("FQDN", "IPv4", "IPv6")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PORT_RANGE = "must be between 1 and 65535, inclusive"


def address_faults(address: str, field: str) -> list[Cause]:
    """What keeps an address from being an endpoint's."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        return [causes.invalid(field, address, why)]
    found = []
    if known.is_unspecified:
        found.append(causes.invalid(field, address, f"may not be unspecified ({address})"))
    if known.is_loopback:
        why = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
        found.append(causes.invalid(field, address, why))
    if known.is_link_local:
        why = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
        found.append(causes.invalid(field, address, why))
    is_near = (known.version == 4 and int(known) >> 8 == 0xE00000) or (
        known.version == 6 and int(known) >> 112 == 0xFF02
    )
    if is_near:
        why = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        found.append(causes.invalid(field, address, why))
    return found


def port_faults(ports: Sequence[Object], field: str, *, needs_number: bool) -> list[Cause]:
    """What is wrong with a list of endpoint ports."""
    found: list[Cause] = []
    seen: set[str] = set()
    for index, port in enumerate(ports):
        where = f"{field}[{index}]"
        name = port.get("name") or ""
        if name in seen:
            found.append(causes.duplicate(f"{where}.name", name))
        seen.add(name)
        if name:
            found += [causes.invalid(f"{where}.name", name, w) for w in names.label_faults(name)]
        elif needs_number and len(ports) > 1:
            found.append(causes.required(f"{where}.name"))
        number = port.get("port")
        if (number is None and needs_number) or (number is not None and not 1 <= number <= 65535):
            found.append(causes.invalid(f"{where}.port", number or 0, _PORT_RANGE))
        protocol = port.get("protocol")
        if protocol not in _PROTOCOLS:
            found.append(causes.not_supported(f"{where}.protocol", protocol, _PROTOCOLS))
    return found


class EndpointsStrategy(Strategy):
    """Endpoints, for those who still use them."""

    def defaulted(self, obj: Object) -> Object:
        """Ports are TCP unless they say otherwise."""
        if not obj.get("subsets"):
            return {name: value for name, value in obj.items() if name != "subsets"}
        return {**obj, "subsets": [_with_protocols(each) for each in obj["subsets"]]}

    def faults(self, obj: Object, old: Object | None) -> Sequence[Cause]:
        """Addresses and ports."""
        del old
        found: list[Cause] = []
        for index, subset in enumerate(obj.get("subsets") or ()):
            field = f"subsets[{index}]"
            if not subset.get("addresses") and not subset.get("notReadyAddresses"):
                found.append(
                    causes.required(field, "must specify `addresses` or `notReadyAddresses`")
                )
            for part in ("addresses", "notReadyAddresses"):
                for place, each in enumerate(subset.get(part) or ()):
                    found += address_faults(each.get("ip", ""), f"{field}.{part}[{place}].ip")
            found += port_faults(subset.get("ports") or (), f"{field}.ports", needs_number=True)
        return found


class SliceStrategy(Strategy):
    """EndpointSlices."""

    has_generation = True

    def defaulted(self, obj: Object) -> Object:
        """Ports are TCP and have the empty name unless they say otherwise."""
        prepared = {**obj, "endpoints": obj.get("endpoints") or []}
        ports = obj.get("ports")
        if ports:
            prepared["ports"] = [
                {"name": "", **each, "protocol": each.get("protocol") or "TCP"} for each in ports
            ]
        return prepared

    def faults(self, obj: Object, old: Object | None) -> Sequence[Cause]:
        """Limits, addresses of one family, ports."""
        kind = obj.get("addressType")
        if not kind:
            return [causes.required("addressType")]
        if kind not in _TYPES:
            return [causes.not_supported("addressType", kind, _TYPES)]
        found: list[Cause] = []
        if old is not None and old["addressType"] != kind:
            found.append(causes.invalid("addressType", kind, "field is immutable"))
        endpoints = obj["endpoints"]
        if len(endpoints) > MOST_ENDPOINTS:
            found.append(causes.too_many("endpoints", len(endpoints), MOST_ENDPOINTS))
        ports = obj.get("ports") or ()
        if len(ports) > MOST_PORTS:
            found.append(causes.too_many("ports", len(ports), MOST_PORTS))
        found += port_faults(ports, "ports", needs_number=False)
        for index, each in enumerate(endpoints[:MOST_ENDPOINTS]):
            found += _endpoint_faults(each, f"endpoints[{index}]", kind)
        return found


def _endpoint_faults(endpoint: Object, field: str, kind: str) -> list[Cause]:
    addresses = endpoint.get("addresses") or ()
    if not addresses:
        return [causes.required(f"{field}.addresses", "must contain at least 1 address")]
    found: list[Cause] = []
    if len(addresses) > MOST_ADDRESSES:
        found.append(causes.too_many(f"{field}.addresses", len(addresses), MOST_ADDRESSES))
    for index, each in enumerate(addresses):
        where = f"{field}.addresses[{index}]"
        if kind == "FQDN":
            found += [causes.invalid(where, each, why) for why in names.subdomain_faults(each)]
        elif (":" in each) != (kind == "IPv6"):
            found.append(causes.invalid(where, each, f"must be an {kind} address"))
        else:
            found += address_faults(each, where)
    hostname = endpoint.get("hostname")
    if hostname is not None:
        where = f"{field}.hostname"
        found += [causes.invalid(where, hostname, why) for why in names.label_faults(hostname)]
    hints = endpoint.get("hints") or {}
    for part in ("forZones", "forNodes"):
        count = len(hints.get(part) or ())
        if count > MOST_HINTS:
            found.append(causes.too_many(f"{field}.hints.{part}", count, MOST_HINTS))
    return found


def _with_protocols(subset: Object) -> Object:
    if not subset.get("ports"):
        return subset
    ports = [{**each, "protocol": each.get("protocol") or "TCP"} for each in subset["ports"]]
    return {**subset, "ports": ports}
