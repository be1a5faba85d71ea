"""What names need of API objects. What makes no sense is left out: its writer hears elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from netproxy.api.objects import Object
from netproxy.dns.names import LONGEST_LABEL, dashed_address, name_of
from netproxy.model.ip import IPAddress, pack_address, parse_address
from netproxy.model.parse_endpoints import SERVICE_NAME_LABEL


class Port(NamedTuple):
    """A port, and the labels of its SRV records."""

    name: bytes
    """Empty: it has no SRV record of its own."""
    protocol: bytes
    number: int


class ServiceEntry(NamedTuple):
    """A Service."""

    is_headless: bool
    addresses: tuple[bytes, ...]
    """Its ClusterIPs, packed."""
    ports: tuple[Port, ...]
    external: bytes | None
    """The name that an ExternalName Service stands for."""
    publishes_not_ready: bool


class EndpointEntry(NamedTuple):
    """An endpoint."""

    address: bytes
    """Packed."""
    hostname: bytes
    """The label that its pod asked for; empty: it did not."""
    made_up: bytes
    """The label that it has otherwise: its address with dashes, as CoreDNS names it."""
    is_ready: bool


class SliceEntry(NamedTuple):
    """An EndpointSlice."""

    service: tuple[str, str]
    """Namespace and name."""
    ports: tuple[Port, ...]
    endpoints: tuple[EndpointEntry, ...]


def service_entry(obj: Object) -> ServiceEntry:
    """Reads a Service."""
    spec = _mapping(obj.get("spec"))
    publishes = spec.get("publishNotReadyAddresses") is True
    if spec.get("type") == "ExternalName":
        external = _external(spec.get("externalName"))
        return ServiceEntry(False, (), (), external, publishes)
    words = _sequence(spec.get("clusterIPs")) or [spec.get("clusterIP")]
    if "None" in words:
        return ServiceEntry(True, (), tuple(_ports(spec)), None, publishes)
    packed = tuple(dict.fromkeys(each for each, _ in _addresses(words)))
    return ServiceEntry(False, packed, tuple(_ports(spec)), None, publishes)


def slice_entry(obj: Object) -> SliceEntry | None:
    """Reads an EndpointSlice; None: it belongs to no Service, or has no addresses."""
    metadata = _mapping(obj.get("metadata"))
    service = _mapping(metadata.get("labels")).get(SERVICE_NAME_LABEL)
    size = {"IPv4": 4, "IPv6": 16}.get(str(obj.get("addressType")))
    if not isinstance(service, str) or not service or size is None:
        return None
    endpoints = []
    for each in _mappings(obj.get("endpoints")):
        # Only the first address means something: EndpointSlice v1 gives the others no semantics.
        for packed, text in _addresses(_sequence(each.get("addresses"))[:1]):
            if len(packed) == size:
                endpoints.append(_endpoint(each, packed, text))
    owner = (str(metadata.get("namespace", "")), service)
    return SliceEntry(owner, tuple(_ports(obj)), tuple(endpoints))


def pod_addresses(obj: Object) -> tuple[bytes, ...]:
    """A Pod's addresses, packed. One that has ended has none: they may be another's by now."""
    status = _mapping(obj.get("status"))
    if status.get("phase") in {"Succeeded", "Failed"}:
        return ()
    words = [each.get("ip") for each in _mappings(status.get("podIPs"))] or [status.get("podIP")]
    return tuple(dict.fromkeys(packed for packed, _ in _addresses(words)))


def _endpoint(raw: dict[str, Any], packed: bytes, text: str) -> EndpointEntry:
    # Absent means ready (EndpointConditions of discovery/v1).
    is_ready = _mapping(raw.get("conditions")).get("ready") is not False
    hostname = label_of(raw.get("hostname"))
    return EndpointEntry(packed, hostname, dashed_address(packed, text), is_ready)


def _ports(holder: dict[str, Any]) -> Iterator[Port]:
    for each in _mappings(holder.get("ports")):
        number = each.get("port")
        protocol = label_of(each.get("protocol") or "TCP")
        if isinstance(number, int) and 0 < number < 65536 and protocol:
            yield Port(label_of(each.get("name")), protocol, number)


def _external(word: object) -> bytes | None:
    if not isinstance(word, str) or not word.strip("."):
        return None
    try:
        parse_address(word)
    except ValueError:
        pass
    else:
        return None  # as CoreDNS: a name of digits only looks as if it were an address
    try:
        return name_of(word)
    except ValueError:
        return None


def _addresses(words: Iterable[object]) -> Iterator[tuple[bytes, IPAddress]]:
    for word in words:
        if isinstance(word, str):
            try:
                address = parse_address(word)
            except ValueError:
                continue
            yield pack_address(address), address


def label_of(word: object) -> bytes:
    """A label in lower case; empty if it can be none."""
    if not isinstance(word, str) or not word.isascii() or "." in word:
        return b""
    label = word.lower().encode("ascii")
    return label if len(label) <= LONGEST_LABEL else b""


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _sequence(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _mappings(value: object) -> Iterator[dict[str, Any]]:
    return (each for each in _sequence(value) if isinstance(each, dict))
