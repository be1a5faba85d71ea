"""The current objects, and which Services must be looked at again.

The only mutable thing in the core. Events come in any order; what is true afterwards depends on
the objects alone.
"""

from __future__ import annotations

from collections.abc import Collection

from netproxy.core.plan import FrontendKey
from netproxy.core.resolve import frontend_keys
from netproxy.core.rivals import FrontendClaims, seniority
from netproxy.model.endpoints import EndpointSlice
from netproxy.model.events import Delete, Event, Listed, ObjectKey, Reset, Upsert, key_of
from netproxy.model.ip import Prefix
from netproxy.model.names import ServiceKey
from netproxy.model.node import Node, ServiceCIDR
from netproxy.model.service import IgnoredService, Service


class Store:
    """Objects by identity, indexed for the questions that a sync asks."""

    def __init__(self, node_name: str) -> None:
        self._node_name = node_name
        self.services: dict[ServiceKey, Service] = {}
        self._ignored: set[ServiceKey] = set()
        self._slices: dict[ServiceKey, dict[str, EndpointSlice]] = {}
        self._slice_owner: dict[tuple[str, str], ServiceKey] = {}
        """(namespace, slice name) → its service: a slice may change its label."""
        self._claims = FrontendClaims()
        self.node: Node | None = None
        """Our own Node object, if the source has it."""
        self._has_had_node = False
        self._service_cidrs: dict[str, ServiceCIDR] = {}
        self._dirty: set[ServiceKey] = set()
        self._surroundings_changed = False
        self.is_listed = False
        """A source has said all it has, at least once."""
        self.is_complete = True
        """Nothing that a source should have said is missing; else nothing may be pruned."""
        self._unconfirmed: set[ObjectKey] | None = None

    def apply(self, event: Event) -> None:
        """Take one event in. Cheap: nothing is computed but what became dirty."""
        match event:
            case Upsert(object=obj):
                if self._unconfirmed:
                    self._unconfirmed.discard(key_of(obj))
                self._upsert(obj)
            case Delete(key=key):
                self._delete(key)
            case Reset():
                self._unconfirmed = self._all_keys()
            case Listed(complete=complete):
                if self._unconfirmed and complete:
                    for key in sorted(self._unconfirmed):
                        self._delete(key)
                self._unconfirmed = None
                self.is_listed = True
                self.is_complete = complete

    def take_dirty(self) -> set[ServiceKey]:
        """Services to look at again, deleted ones included; the set starts anew."""
        dirty, self._dirty = self._dirty, set()
        return dirty

    def take_surroundings_changed(self) -> bool:
        """Whether something changed that every Service depends on, such as our Node."""
        changed, self._surroundings_changed = self._surroundings_changed, False
        return changed

    @property
    def is_node_eligible(self) -> bool:
        """False when our Node is leaving, or gone; a source that never had one says nothing."""
        return not self._has_had_node if self.node is None else not self.node.is_leaving

    @property
    def has_changes(self) -> bool:
        return bool(self._dirty) or self._surroundings_changed

    def slices_of(self, key: ServiceKey) -> Collection[EndpointSlice]:
        """All EndpointSlices that name this Service."""
        return self._slices.get(key, {}).values()

    def lost_frontends(self, service: Service) -> dict[FrontendKey, ServiceKey]:
        """Frontends of the service that belong to an older rival."""
        if not self._claims.has_rivals:
            return {}
        return self._claims.lost_by(service, frontend_keys(service))

    @property
    def service_cidrs(self) -> tuple[Prefix, ...]:
        """Of all ServiceCIDR objects, sorted, each once."""
        return tuple(sorted({p for one in self._service_cidrs.values() for p in one.cidrs}))

    def _all_keys(self) -> set[ObjectKey]:
        keys: set[ObjectKey] = {("Service", *key) for key in (*self.services, *self._ignored)}
        keys.update(("EndpointSlice", *key) for key in self._slice_owner)
        keys.update(("ServiceCIDR", "", name) for name in self._service_cidrs)
        if self.node is not None:
            keys.add(("Node", "", self.node.name))
        return keys

    def _upsert(self, obj: object) -> None:
        match obj:
            case Service(key=key):
                self._put_service(key, obj)
                self._ignored.discard(key)
            case IgnoredService(key=key):
                self._put_service(key, None)
                self._ignored.add(key)
            case EndpointSlice():
                self._put_slice(obj)
            case Node(name=name) if name == self._node_name:
                self._surroundings_changed |= obj != self.node
                self.node = obj
                self._has_had_node = True
            case ServiceCIDR(name=name):
                self._surroundings_changed |= obj != self._service_cidrs.get(name)
                self._service_cidrs[name] = obj

    def _delete(self, key: ObjectKey) -> None:
        kind, namespace, name = key
        match kind:
            case "Service":
                self._put_service(ServiceKey(namespace, name), None)
                self._ignored.discard(ServiceKey(namespace, name))
            case "EndpointSlice":
                self._drop_slice(namespace, name)
            case "Node" if name == self._node_name:
                self._surroundings_changed |= self.node is not None
                self.node = None
            case "ServiceCIDR":
                self._surroundings_changed |= self._service_cidrs.pop(name, None) is not None

    def _put_service(self, key: ServiceKey, new: Service | None) -> None:
        old = self.services.get(key)
        if old == new:
            return
        if old is not None:
            self._dirty |= self._claims.withdraw(seniority(old), frontend_keys(old))
            del self.services[key]
        if new is not None:
            self._dirty |= self._claims.claim(seniority(new), frontend_keys(new))
            self.services[key] = new
        self._dirty.add(key)

    def _put_slice(self, new: EndpointSlice) -> None:
        place = (new.service.namespace, new.name)
        owner = self._slice_owner.get(place)
        if owner is not None and owner != new.service:
            self._drop_slice(*place)
        siblings = self._slices.setdefault(new.service, {})
        if siblings.get(new.name) == new:
            return
        siblings[new.name] = new
        self._slice_owner[place] = new.service
        self._dirty.add(new.service)

    def _drop_slice(self, namespace: str, name: str) -> None:
        owner = self._slice_owner.pop((namespace, name), None)
        if owner is None:
            return
        siblings = self._slices[owner]
        del siblings[name]
        if not siblings:
            del self._slices[owner]
        self._dirty.add(owner)
