"""The seams inside the API server: who decides about a write, and what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from netproxy.api.objects import Key, Object
from netproxy.api.resources import Resource


class Dice(Protocol):
    """Chance, as ``random.Random`` has it."""

    def randint(self, a: int, b: int) -> int:
        """From a to b, both included."""
        ...

    def getrandbits(self, k: int) -> int:
        """So many bits."""
        ...

    def choice(self, seq: str) -> str:
        """One letter."""
        ...


class View(Protocol):
    """The objects as the next write finds them: with all earlier ones, durable yet or not.

    What it returns is shared with everybody; nobody changes it in place.
    """

    def get(self, resource: Resource, key: Key) -> Object | None:
        """One object, or None."""
        ...

    def list(self, resource: Resource, namespace: str = "") -> Iterable[Object]:
        """All of a resource, or of one namespace."""
        ...


class WriteContext(NamedTuple):
    """Circumstances of one write."""

    now: datetime
    """In UTC; objects have it to the second (``2026-11-23T01:33:58Z``), MicroTime fields with
    microseconds."""
    dry_run: bool = False
    """Everything is decided and nothing kept: no address is taken."""


class DeleteOptions(NamedTuple):
    """``DeleteOptions`` of meta/v1, as far as they matter here."""

    grace_s: int | None = None
    """None: as the object says."""
    propagation: str = ""
    """Foreground, Background, Orphan; empty: the resource's own default (Background)."""
    uid: str = ""
    """Precondition; empty: none."""
    resource_version: str = ""
    """Precondition; empty: none."""


class Write(NamedTuple):
    """One object that comes, changes or goes."""

    resource: Resource
    key: Key
    object: Object | None
    """None: it goes. Its resourceVersion is put in by the store."""


class Decision(NamedTuple):
    """What a request comes to: all of these together, or nothing."""

    object: Object
    """What the request was about, as it is answered; stored if it stands in ``writes`` as well."""
    writes: Sequence[Write]
    """In order. A Service brings its IPAddress objects along. Empty: nothing changes, and the
    object keeps its resourceVersion."""
    warnings: Sequence[str] = ()
    """For ``Warning: 299`` headers, without number and quotes."""


class Registry(Protocol):
    """Knows what each kind means: defaults, validation, immutability, allocation. Pure but for its
    dice, and for what it remembers of what is taken, which follows ``observe``.

    The caller has already checked types against the schema, pruned unknown fields, merged patches,
    checked resourceVersion preconditions of updates, and keeps ``managedFields``; the registry does
    all the rest of ``metadata``: uid, creationTimestamp, generation, generateName, namespace, name
    rules, labels, annotations, finalizers, ownerReferences. Every method raises ``StatusError``,
    and changes none of the objects that it is given.

    Between a decision and ``observe`` of it no other decision is asked for.
    """

    def defaulted(self, resource: Resource, obj: Object) -> Object:
        """With what its absent fields mean, which whoever wrote it owns along with the others.

        What depends on the old state, or on other objects, comes when it is decided about.
        """
        ...

    def create(self, resource: Resource, obj: Object, context: WriteContext) -> Decision:
        """A new object."""
        ...

    def update(
        self, resource: Resource, old: Object, new: Object, subresource: str, context: WriteContext
    ) -> Decision:
        """Another state of an object; ``subresource`` is empty, or status, binding, scale …

        For ``binding`` ``new`` is the ``Binding``, for ``scale`` the ``Scale``.
        """
        ...

    def delete(
        self, resource: Resource, old: Object, options: DeleteOptions, context: WriteContext
    ) -> Decision:
        """An object goes, or begins to: finalizers, a Pod's grace period, a Namespace's content."""
        ...

    def observe(self, writes: Sequence[Write]) -> None:
        """This has been accepted by the store. ``writes`` carry resourceVersions now."""
        ...

    def rebuild(self, view: View) -> None:
        """Forget what is taken, and learn it from all objects.

        At start, and after the store lost writes that it had accepted.
        """
        ...
