"""The four words in which every source speaks to the store.

A source says ``Upsert`` and ``Delete`` for objects, ``Listed`` once everything that exists has
been said, and ``Reset`` when it will say everything again (a relist): the store then forgets
whatever was not said anew at the following ``Listed``.
"""

from __future__ import annotations

from typing import NamedTuple

from netproxy.model.endpoints import EndpointSlice
from netproxy.model.names import ServiceKey
from netproxy.model.node import Node, ServiceCIDR
from netproxy.model.service import IgnoredService, Service

ModelObject = Service | IgnoredService | EndpointSlice | Node | ServiceCIDR

ObjectKey = tuple[str, str, str]
"""(kind, namespace, name); kinds: ``Service``, ``EndpointSlice``, ``Node``, ``ServiceCIDR``."""


class Upsert(NamedTuple):
    """This object now looks like this."""

    object: ModelObject


class Delete(NamedTuple):
    """This object is gone; deleting what is unknown is harmless."""

    key: ObjectKey


class Reset(NamedTuple):
    """Everything will be said again; what is not repeated before ``Listed`` is gone."""


class Listed(NamedTuple):
    """Everything that exists has been said.

    Attributes:
        complete: False when the source could not read some part (a broken file) and never had
            an earlier good version of it: then nothing in the kernel may be pruned.
    """

    complete: bool = True


Event = Upsert | Delete | Reset | Listed


def key_of(obj: ModelObject) -> ObjectKey:
    """The identity under which an object replaces its earlier version."""
    match obj:
        case Service(key=key) | IgnoredService(key=key):
            return ("Service", key.namespace, key.name)
        case EndpointSlice(service=ServiceKey(namespace=namespace), name=name):
            return ("EndpointSlice", namespace, name)
        case Node(name=name):
            return ("Node", "", name)
        case ServiceCIDR(name=name):
            return ("ServiceCIDR", "", name)
