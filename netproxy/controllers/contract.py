"""What a controller is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, TypeAlias

from netproxy.api.objects import Key, Object
from netproxy.api.resources import Resource


class Create(NamedTuple):
    """A new object."""

    resource: Resource
    object: Object


class Update(NamedTuple):
    """Another state of an object; its resourceVersion says which one was seen."""

    resource: Resource
    object: Object
    subresource: str = ""


class Delete(NamedTuple):
    """An object goes, if it still is this one."""

    resource: Resource
    key: Key
    uid: str = ""
    grace_s: int | None = None


Action: TypeAlias = Create | Update | Delete


class Plan(NamedTuple):
    """What is to be done for a key."""

    actions: Sequence[Action] = ()
    """In order. What fails ends the plan; it is made anew a little later."""
    again_s: float | None = None
    """Ask again after so many seconds, whatever happens."""


class Objects(Protocol):
    """All objects as they are known; shared, nobody changes one in place."""

    def get(self, resource: Resource, key: Key) -> Object | None:
        """One object, or None."""
        ...

    def all(self, resource: Resource) -> Mapping[Key, Object]:
        """All of a resource."""
        ...


class Dice(Protocol):
    """Chance, as ``random.Random`` has it."""

    def random(self) -> float:
        """From 0 to 1."""
        ...


class Controller(Protocol):
    """One rule of the cluster."""

    @property
    def name(self) -> str:
        """For logs."""
        ...

    @property
    def resources(self) -> Sequence[Resource]:
        """What it has to know of."""
        ...

    def concerns(
        self, resource: Resource, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """The keys for which a change may mean work; also the place to keep indexes up to date."""
        ...

    def plan(self, key: Key, objects: Objects, now: datetime) -> Plan:
        """What is to be done for one key, from what is known now and nothing else.

        Args:
            key: One that ``concerns`` has named.
            objects: What is known.
            now: In UTC.
        """
        ...
