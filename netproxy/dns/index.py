"""The cluster's objects, arranged as questions need them.

Nothing is computed when an object changes but what it is found by. A change therefore costs as
much as the object is large, whatever the cluster's size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, TypeAlias, TypeVar

from netproxy.api.objects import Key, Object
from netproxy.api.resources import ENDPOINT_SLICES, NAMESPACES, PODS, SERVICES, Resource
from netproxy.dns.endpoints import EndpointNames
from netproxy.dns.entries import (
    ServiceEntry,
    SliceEntry,
    label_of,
    pod_addresses,
    service_entry,
    slice_entry,
)

ServiceId: TypeAlias = tuple[bytes, bytes]
"""Namespace and name, as labels."""
Origin: TypeAlias = ServiceId | bytes
"""What an answer depends on: a Service, an address, or (empty) nothing that changes."""
CONSTANT: Final[Origin] = b""
FOLLOWED: Final = (SERVICES, ENDPOINT_SLICES, NAMESPACES, PODS)

_T = TypeVar("_T")


class ClusterIndex:
    """The current objects. Whoever wants to know them asks; nothing here is an answer yet."""

    def __init__(self) -> None:
        self.services: dict[ServiceId, ServiceEntry] = {}
        self._slices: dict[ServiceId, dict[Key, SliceEntry]] = {}
        self._slice_owner: dict[Key, ServiceId] = {}
        """A slice may change its label."""
        self._names: dict[ServiceId, EndpointNames] = {}
        """Made when asked for, dropped with each change."""
        self._by_address: dict[bytes, dict[ServiceId, int]] = {}
        """Address → Services that may have a name for it, and for how many reasons."""
        self._namespaces: dict[bytes, int] = {}
        """Namespace → for how many reasons it exists: itself, and what in it has a name."""
        self._own_namespaces: set[Key] = set()
        self._pods: dict[tuple[bytes, bytes], int] = {}
        """Namespace and address → how many pods have it."""
        self._pod_addresses: dict[Key, tuple[bytes, ...]] = {}

    def has_namespace(self, namespace: bytes) -> bool:
        """Whether there are names below it, or could be."""
        return namespace in self._namespaces

    def has_pod(self, namespace: bytes, address: bytes) -> bool:
        """Whether a pod of that namespace has the address."""
        return (namespace, address) in self._pods

    def named(self, address: bytes) -> Collection[ServiceId]:
        """The Services that may have a name for an address."""
        return self._by_address.get(address, ())

    def names_of(self, owner: ServiceId, entry: ServiceEntry) -> EndpointNames:
        """The names of a Service's endpoints."""
        names = self._names.get(owner)
        if names is None:
            names = EndpointNames(entry, self._slices.get(owner, {}).values())
            self._names[owner] = names
        return names

    def change(self, resource: Resource, key: Key, new: Object | None) -> list[Origin]:
        """An object came or changed, or (None) went; returns what depended on it."""
        if resource == SERVICES:
            return self._put_service(key, None if new is None else service_entry(new))
        if resource == ENDPOINT_SLICES:
            return self._put_slice(key, None if new is None else slice_entry(new))
        # Answers about these are made each time; nobody has to be told.
        if resource == NAMESPACES:
            self._put_namespace(key, exists=new is not None)
        elif resource == PODS:
            self._put_pod(key, () if new is None else pod_addresses(new))
        return []

    def _put_service(self, key: Key, new: ServiceEntry | None) -> list[Origin]:
        owner = (label_of(key.namespace), label_of(key.name))
        old = self.services.pop(owner, None)
        if new is not None and all(owner):
            self.services[owner] = new
        touched: dict[Origin, None] = {owner: None}
        for entry, change in ((old, -1), (self.services.get(owner), 1)):
            if entry is not None:
                _count(self._namespaces, owner[0], change)
                for address in entry.addresses:
                    self._count_address(address, owner, change)
                    touched[address] = None
        self._names.pop(owner, None)
        for each in self._slices.get(owner, {}).values():
            touched.update(dict.fromkeys(_asked_for(each)))
        return list(touched)

    def _put_slice(self, key: Key, new: SliceEntry | None) -> list[Origin]:
        touched: dict[Origin, None] = {}
        owner = self._slice_owner.pop(key, None)
        if owner is not None:
            siblings = self._slices[owner]
            old = siblings.pop(key)
            if not siblings:
                del self._slices[owner]
            self._slice_changed(owner, old, -1, touched)
        if new is not None:
            owner = (label_of(new.service[0]), label_of(new.service[1]))
            self._slice_owner[key] = owner
            self._slices.setdefault(owner, {})[key] = new
            self._slice_changed(owner, new, 1, touched)
        return list(touched)

    def _slice_changed(
        self, owner: ServiceId, slice_: SliceEntry, change: int, touched: dict[Origin, None]
    ) -> None:
        for address in _asked_for(slice_):
            self._count_address(address, owner, change)
            touched[address] = None
        touched[owner] = None
        self._names.pop(owner, None)

    def _put_namespace(self, key: Key, *, exists: bool) -> None:
        change = exists - (key in self._own_namespaces)
        if change:
            self._own_namespaces ^= {key}
            _count(self._namespaces, label_of(key.name), change)

    def _put_pod(self, key: Key, new: tuple[bytes, ...]) -> None:
        namespace = label_of(key.namespace)
        for addresses, change in ((self._pod_addresses.pop(key, ()), -1), (new, 1)):
            for address in addresses:
                _count(self._pods, (namespace, address), change)
                _count(self._namespaces, namespace, change)
        if new:
            self._pod_addresses[key] = new

    def _count_address(self, address: bytes, owner: ServiceId, change: int) -> None:
        owners = self._by_address.setdefault(address, {})
        _count(owners, owner, change)
        if not owners:
            del self._by_address[address]


def _asked_for(slice_: SliceEntry) -> Iterator[bytes]:
    """The addresses of endpoints whose pods asked for a hostname."""
    return (each.address for each in slice_.endpoints if each.hostname)


def _count(counts: dict[_T, int], what: _T, change: int) -> None:
    number = counts.get(what, 0) + change
    if number:
        counts[what] = number
    else:
        counts.pop(what, None)
