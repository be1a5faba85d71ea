"""The seams, as promises. Whoever implements one of these is tested against its prose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from netproxy.core.config import ProxyConfig
from netproxy.core.conntrack import Sweep
from netproxy.core.plan import ServicePlan
from netproxy.core.surroundings import Surroundings
from netproxy.ipt.change import Restore
from netproxy.ipt.text import Tables
from netproxy.model.ip import Family
from netproxy.model.names import ServiceKey, ServicePortName
from netproxy.nft.objects import Ruleset, SetSpec, Vocabulary
from netproxy.nft.transaction import Transaction


class Table(Protocol):
    """One nf_tables table: the kernel's, or a fake that behaves the same."""

    @property
    def family(self) -> Family:
        """The IP family of the table."""
        ...

    @property
    def batches_sent(self) -> int:
        """Batches that were carried out. Only what one commit adds means anything."""
        ...

    @property
    def bytes_sent(self) -> int:
        """Bytes of those batches."""
        ...

    def commit(self, transaction: Transaction) -> None:
        """Carry a transaction out, all of it or nothing.

        Raises:
            DataplaneError: it was refused and nothing changed.
        """
        ...

    def read(self, vocabulary: Vocabulary, sets: dict[str, SetSpec]) -> Ruleset:
        """What the table holds now; an empty rule set when there is no such table.

        Raises:
            DataplaneError: it could not be read.
        """
        ...

    def read_counts(self, name: str) -> dict[bytes, int]:
        """How many packets each element of a set has counted, by its key.

        Raises:
            DataplaneError: it could not be read.
        """
        ...


class Iptables(Protocol):
    """The tables of iptables in one family: the kernel's, or a fake that behaves the same."""

    @property
    def family(self) -> Family:
        """The IP family of the tables."""
        ...

    @property
    def batches_sent(self) -> int:
        """Changes that were carried out. Only what one of them adds means anything."""
        ...

    @property
    def bytes_sent(self) -> int:
        """Bytes of text of those changes."""
        ...

    def read(self) -> Tables:
        """What all tables hold now.

        Raises:
            DataplaneError: they could not be read.
        """
        ...

    def read_counts(self) -> dict[str, int]:
        """How many packets each rule of table nat has matched; rules without their chains.

        Raises:
            DataplaneError: they could not be read.
        """
        ...

    def restore(self, change: Restore) -> None:
        """Carry a change out, one table after the other, each all at once.

        Raises:
            DataplaneError: a table was refused; it and the following ones are unchanged.
        """
        ...


class DriftSensor(Protocol):
    """Tells when another program changed our rules."""

    def fileno(self) -> int | None:
        """For the event loop: readable when there may be something to hear; None: ask often."""
        ...

    def drain(self) -> bool:
        """Take in what was heard; True when our rules may be other than we left them.

        Raises:
            DataplaneError: nothing can be heard any more.
        """
        ...


class Flows(Protocol):
    """The connections that the kernel remembers."""

    def forget(self, sweep: Sweep) -> int:
        """Forget connections of UDP that lead astray; returns how many.

        Raises:
            DataplaneError: the kernel refused; some may have been forgotten.
        """
        ...


class RuleCount(NamedTuple):
    """Rules of one iptables table."""

    table: str
    total: int
    """That are ours."""
    written: int
    """In this sync."""


class FamilyReport(NamedTuple):
    """What one sync sent to the kernel in one family."""

    family: Family
    operations: int
    """Objects touched: tables, chains, rules, sets, single elements."""
    elements_added: int
    elements_deleted: int
    rule_counts: tuple[RuleCount, ...] = ()
    """In iptables mode."""
    batches: int = 0
    """Each takes effect all at once: of netlink messages, or inputs of iptables-restore."""
    sent_bytes: int = 0


CountKey = tuple[ServicePortName, bytes]
"""A service port, and one of its frontends in the backend's own form."""


class Preview(Protocol):
    """What a sync would send. Its backend's renderer turns it into text; falsy: nothing."""

    @property
    def family(self) -> Family:
        """The IP family that it is about."""
        ...

    def __bool__(self) -> bool: ...

    def size(self) -> int:
        """How many objects it touches."""
        ...


class Dataplane(Protocol):
    """Carries plans out in one IP family, by one proxy mode.

    It knows what the kernel holds (``is_in_step``) and then sends only what changed; or it does
    not, and the next sync reads the kernel and compares everything.
    """

    @property
    def family(self) -> Family:
        """The IP family."""
        ...

    @property
    def endpoints(self) -> int:
        """How many endpoints all service ports have together."""
        ...

    @property
    def is_in_step(self) -> bool:
        """Whether the kernel is known to hold what was last sent."""
        ...

    def configure(self, config: ProxyConfig, seen: Surroundings) -> None:
        """Take note of what the constant rules depend on. Called before anything else."""
        ...

    def put_service(self, key: ServiceKey, plans: Iterable[ServicePlan]) -> None:
        """All plans of one Service in this family, instead of its former ones; none: it is gone.

        At most once per Service between two syncs.
        """
        ...

    def forget(self) -> None:
        """Let the next sync read the kernel and compare everything."""
        ...

    def sync(self, *, prune: bool) -> FamilyReport:
        """Bring the kernel in step with the plans.

        Args:
            prune: Delete what is ours and not wanted. False while a source is incomplete.

        Raises:
            DataplaneError: the kernel refused; the last good rules stay.
        """
        ...

    def preview(self, *, against_kernel: bool, prune: bool) -> Preview:
        """What a sync would send, or what would make everything from nothing; not sent.

        Raises:
            DataplaneError: the kernel could not be read.
        """
        ...

    def tidy(self) -> FamilyReport:
        """Delete what earlier syncs left unused.

        Raises:
            DataplaneError: the kernel refused; the next sync compares everything.
        """
        ...

    def read_counts(self) -> dict[CountKey, int]:
        """How many connections each frontend has seen, as the kernel counts; empty: it does not.

        Not in the sync path: it reads as much as there are services.

        Raises:
            DataplaneError: the kernel could not be read.
        """
        ...

    def owners(self) -> dict[bytes, str]:
        """What the comments of its text say about whose something is."""
        ...
