"""What the cluster's own names mean: objects in, answers out.

Source: Kubernetes DNS-Based Service Discovery 1.1.0; what it leaves open is as in CoreDNS 1.12.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from netproxy.api.objects import Key, Object
from netproxy.api.resources import Resource
from netproxy.dns.endpoints import Reach
from netproxy.dns.entries import ServiceEntry, label_of
from netproxy.dns.index import CONSTANT, ClusterIndex, Origin, ServiceId
from netproxy.dns.names import address_of_label, join, labels_of, name_of, reversed_address
from netproxy.dns.records import (
    Answer,
    Rcode,
    Record,
    RecordType,
    address_record,
    least_answer,
    service_record,
    text_record,
)

SCHEMA_VERSION = b"1.1.0"
LONGEST_CHAIN = 8
"""ExternalName Services that stand for each other; more are a circle."""
LONGEST_ZONE = 59
"""Bytes of a zone's name: a hostname, a Service and a namespace of 63 each must fit before it."""
_ADDRESS_SIZES: Mapping[int, int] = {RecordType.A: 4, RecordType.AAAA: 16}
_INTERVALS = (7200, 1800, 86400)
"""Of the SOA record; nobody copies the zone."""


class ZoneSettings(NamedTuple):
    """What the zone is called, and what it says of itself."""

    name: str = "cluster.local"
    ttl_s: int = 30
    """Of every record, as kubeadm has CoreDNS configured."""
    negative_ttl_s: int = 5
    """How long clients may remember that there is nothing: a new Service is soon asked for."""
    serial: int = 1
    """Of the SOA record; it needs not grow."""
    nameserver: Key = Key("kube-system", "kube-dns")
    """The Service through which clients ask: ``ns.dns.<zone>`` has its addresses."""


class Found(NamedTuple):
    """An answer, and how long it is true."""

    answer: Answer
    origin: Origin | None
    """Until this changes; None: nobody knows, ask again."""


class _Node(NamedTuple):
    """A name that exists, and its records of the type in question."""

    records: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    origin: Origin | None = None
    alias: bytes | None = None
    """It stands for another name."""


class _Place(NamedTuple):
    """A name in which a Service's can be seen."""

    name: bytes
    service: bytes
    """The Service's own name; the same, or above it."""
    owner: ServiceId
    entry: ServiceEntry


_EMPTY = _Node()


class Zone:
    """The current objects, by the names that they have.

    Args:
        settings: See there.

    Raises:
        ValueError: the zone's name is none, or is too long.
    """

    def __init__(self, settings: ZoneSettings) -> None:
        self.settings = settings
        self.apex = name_of(settings.name)
        if not 1 < len(self.apex) <= LONGEST_ZONE:
            raise ValueError(
                f"{settings.name!r} is empty, or longer than {LONGEST_ZONE - 2} letters"
            )
        self._labels = labels_of(self.apex)
        self._nameserver = (
            label_of(settings.nameserver.namespace),
            label_of(settings.nameserver.name),
        )
        self._host = join([b"ns", b"dns"], self.apex)
        self._index = ClusterIndex()

    def change(self, resource: Resource, key: Key, new: Object | None) -> list[Origin]:
        """An object came or changed, or (None) went; returns what answers depended on it."""
        return self._index.change(resource, key, new)

    def lookup(self, name: bytes, type_: int) -> Found | None:
        """What there is at a name of class IN, in lower case; None: it is not ours.

        Of addresses, only those are ours that have a name here.
        """
        chain: tuple[Record, ...] = ()
        at = name
        while True:
            labels = labels_of(at)
            apex = at
            if self.contains(labels):
                apex = self.apex
                node = self._inside(at, labels[: -len(self._labels)], type_)
            else:
                node = self._reversed(at, labels, type_)
                if node is None:
                    return Found(Answer(records=chain, elsewhere=at), None) if chain else None
            if node is None or node.alias is None or type_ == RecordType.ANY:
                return _found(at, node, type_, chain, apex)
            chain += node.records
            if type_ == RecordType.CNAME:
                return Found(Answer(records=chain), node.origin)
            if len(chain) > LONGEST_CHAIN:
                return Found(Answer(rcode=Rcode.SERVFAIL), None)
            at = node.alias

    def contains(self, labels: list[bytes]) -> bool:
        """Whether a name is the zone's or below it."""
        return labels[-len(self._labels) :] == self._labels

    def start_of_authority(self, apex: bytes) -> Record:
        """The SOA record of a zone of ours."""
        mailbox = join([b"hostmaster"], self.apex)
        numbers = (self.settings.serial % 2**32, *_INTERVALS, self.settings.negative_ttl_s)
        data = self._host + mailbox + b"".join(each.to_bytes(4, "big") for each in numbers)
        return Record(apex, RecordType.SOA, data)

    def _inside(self, name: bytes, below: list[bytes], type_: int) -> _Node | None:
        match below:
            case []:
                return self._at_apex(type_)
            case [*rest, b"svc"]:
                return self._below_svc(name, rest, type_)
            case [*rest, b"pod"]:
                return self._below_pod(name, rest, type_)
            case [b"dns-version"]:
                records = (text_record(name, SCHEMA_VERSION),) if type_ == RecordType.TXT else ()
                return _Node(records, origin=CONSTANT)
            case [b"dns"]:
                return _EMPTY
            case [b"ns", b"dns"]:
                service = self._index.services.get(self._nameserver)
                addresses = service.addresses if service is not None else ()
                return _Node(_addresses(name, addresses, type_), origin=self._nameserver)
        return None

    def _at_apex(self, type_: int) -> _Node:
        if type_ == RecordType.SOA:
            return _Node((self.start_of_authority(self.apex),), origin=CONSTANT)
        if type_ == RecordType.NS:
            return _Node((Record(self.apex, RecordType.NS, b"", self._host),), origin=CONSTANT)
        return _Node(origin=CONSTANT)

    def _below_svc(self, name: bytes, rest: Sequence[bytes], type_: int) -> _Node | None:
        if len(rest) < 2:
            return _EMPTY if not rest or self._index.has_namespace(rest[-1]) else None
        owner = (rest[-1], rest[-2])
        entry = self._index.services.get(owner)
        if entry is None or not self._exists(owner, entry):
            return None
        place = _Place(name, self._service_name(owner), owner, entry)
        match rest:
            case [_, _]:
                return self._at_service(place, type_)
            case [label, _, _]:
                return self._at_endpoint(place, label, type_)
            case [port, protocol, _, _] if port[:1] == protocol[:1] == b"_":
                return self._at_port(place, port[1:], protocol[1:], type_)
        return None

    def _service_name(self, owner: ServiceId) -> bytes:
        return join([owner[1], owner[0], b"svc"], self.apex)

    def _exists(self, owner: ServiceId, entry: ServiceEntry) -> bool:
        """A headless Service without ready endpoints has no name, as the specification says."""
        if entry.is_headless:
            return bool(self._index.names_of(owner, entry).addresses)
        return bool(entry.addresses or entry.ports or entry.external)

    def _at_service(self, place: _Place, type_: int) -> _Node:
        entry = place.entry
        if entry.external is not None:
            record = Record(place.name, RecordType.CNAME, b"", entry.external)
            return _Node((record,), origin=place.owner, alias=entry.external)
        if type_ == RecordType.SRV:
            # Of all ports, those without a name as well: peer-finder asks so, CoreDNS answers.
            return self._service_records(place, self._reaches(place))
        addresses = entry.addresses
        if entry.is_headless:
            addresses = self._index.names_of(place.owner, entry).addresses
        return _Node(_addresses(place.name, addresses, type_), origin=place.owner)

    def _at_endpoint(self, place: _Place, label: bytes, type_: int) -> _Node | None:
        addresses = self._index.names_of(place.owner, place.entry).hosts.get(label)
        if addresses is not None:
            return _Node(_addresses(place.name, addresses, type_), origin=place.owner)
        if label[:1] == b"_":
            protocols = {port.protocol for port, _ in self._reaches(place) if port.name}
            return _Node(origin=place.owner) if label[1:] in protocols else None
        return None

    def _at_port(self, place: _Place, name: bytes, protocol: bytes, type_: int) -> _Node | None:
        asked = (name, protocol)
        reaches = [each for each in self._reaches(place) if each.port[:2] == asked]
        if not name or not reaches:
            return None
        if type_ != RecordType.SRV:
            return _Node(origin=place.owner)
        return self._service_records(place, reaches)

    def _service_records(self, place: _Place, reaches: Iterable[Reach]) -> _Node:
        """SRV records, and the addresses of their targets."""
        hosts = self._index.names_of(place.owner, place.entry).hosts
        records: dict[Record, None] = {}
        additional: dict[Record, None] = {}
        for port, label in reaches:
            target = join([label], place.service) if label else place.service
            records[service_record(place.name, port.number, target)] = None
            for address in hosts[label] if label else place.entry.addresses:
                additional[address_record(target, address)] = None
        return _Node(tuple(records), tuple(additional), place.owner)

    def _reaches(self, place: _Place) -> Sequence[Reach]:
        if place.entry.is_headless:
            return self._index.names_of(place.owner, place.entry).reaches
        return [Reach(port, b"") for port in place.entry.ports]

    def _below_pod(self, name: bytes, rest: Sequence[bytes], type_: int) -> _Node | None:
        match rest:
            case []:
                return _EMPTY
            case [namespace]:
                return _EMPTY if self._index.has_namespace(namespace) else None
            case [label, namespace]:
                address = address_of_label(label)
                if address is not None and self._index.has_pod(namespace, address):
                    return _Node(_addresses(name, (address,), type_))
        return None

    def _reversed(self, name: bytes, labels: list[bytes], type_: int) -> _Node | None:
        address = reversed_address(labels)
        targets = self._targets(address) if address is not None else ()
        if not targets:
            return None
        records = [Record(name, RecordType.PTR, b"", each) for each in targets]
        return _Node(tuple(records) if type_ == RecordType.PTR else (), origin=address)

    def _targets(self, address: bytes) -> Sequence[bytes]:
        """The Service whose ClusterIP it is; else the endpoints that have it and asked for a name.

        As in CoreDNS, a name that was made up is none to be found.
        """
        services, endpoints = [], []
        for owner in sorted(self._index.named(address)):
            entry = self._index.services.get(owner)
            if entry is not None:
                name = self._service_name(owner)
                hostnames = self._index.names_of(owner, entry).hostnames.get(address, ())
                endpoints += [join([label], name) for label in hostnames]
                services += [name] if address in entry.addresses else []
        return services or endpoints


def _found(
    at: bytes, node: _Node | None, type_: int, chain: tuple[Record, ...], apex: bytes
) -> Found:
    """What is there, at the end of a chain of aliases."""
    if node is None:
        return Found(Answer(Rcode.NXDOMAIN, chain, apex=apex), None)
    origin = None if chain else node.origin
    if type_ == RecordType.ANY:
        return Found(least_answer(at), origin)
    if not node.records:
        return Found(Answer(records=chain, apex=apex), origin)
    return Found(Answer(records=chain + node.records, additional=node.additional), origin)


def _addresses(name: bytes, packed: Iterable[bytes], type_: int) -> tuple[Record, ...]:
    """Records of the type's family; none for a type that is no address."""
    size = _ADDRESS_SIZES.get(type_)
    return tuple(address_record(name, each) for each in packed if len(each) == size)
