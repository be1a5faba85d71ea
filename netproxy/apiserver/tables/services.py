"""Cells of Services, Endpoints and EndpointSlices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from netproxy.api.objects import Object

_SHOWN = 3
"""Endpoints that are named; of others only how many there are."""
_LONGEST = 16


def external_address(service: Object) -> str:
    """Where it is reached from outside."""
    spec = service.get("spec", {})
    kind, externals = spec.get("type"), list(spec.get("externalIPs") or ())
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    if kind != "LoadBalancer":
        return ",".join(externals) or "<none>"
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or ()
    given = [each.get("ip") or each.get("hostname") for each in ingress]
    given = sorted({each for each in given if each})
    text = ",".join(given)
    if len(text) > _LONGEST and not externals:
        text = text[: _LONGEST - 3] + "..."
    return ",".join(filter(None, [text, *externals])) or "<pending>"


def ports_text(ports: Iterable[Mapping[str, object]]) -> str:
    """As ``80:30080/TCP,443/TCP``."""
    said = []
    for each in ports:
        node_port = f":{each['nodePort']}" if each.get("nodePort") else ""
        said.append(f"{each.get('port')}{node_port}/{each.get('protocol', 'TCP')}")
    return ",".join(said) or "<none>"


def selector_text(selector: Mapping[str, str] | None) -> str:
    """As ``app=web,tier=front``."""
    said = [f"{name}={value}" for name, value in sorted((selector or {}).items())]
    return ",".join(said) or "<none>"


def endpoints_text(endpoints: Object) -> str:
    """Addresses with their ports, the first three."""
    found = []
    for subset in endpoints.get("subsets") or ():
        for port in subset.get("ports") or [None]:
            for address in subset.get("addresses") or ():
                host = address["ip"]
                if port is None:
                    found.append(host)
                else:
                    shown = f"[{host}]" if ":" in host else host
                    found.append(f"{shown}:{port['port']}")
    return _first(found, "{rest} more...", " + ")


def slice_ports(obj: Object) -> str:
    """Its ports' numbers."""
    ports = obj.get("ports")
    if not ports:
        return "<unset>"
    return _first([str(each.get("port", "*")) for each in ports], "{rest} more...", " + ")


def slice_endpoints(obj: Object) -> str:
    """Its addresses."""
    found = [
        address for each in obj.get("endpoints") or () for address in each.get("addresses") or ()
    ]
    return _first(found, "{rest} more...", " + ") if found else "<unset>"


def _first(found: Sequence[str], more: str, between: str) -> str:
    if not found:
        return "<none>"
    text = ",".join(found[:_SHOWN])
    rest = len(found) - _SHOWN
    return text + between + more.format(rest=rest) if rest > 0 else text
