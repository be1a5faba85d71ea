"""One change of one table: all of it happens, or none.

The same object is encoded to bytes for the kernel and rendered to text for people, so a dry run
cannot differ from the real thing. Operations are in an order that the kernel accepts, and in
which every prefix is harmless, so that a batch too large for an unprivileged socket may be cut
between operations: what is looked up exists before what leads to it.
"""

from __future__ import annotations

from typing import NamedTuple

from netproxy.model.ip import Family
from netproxy.nft.expr import Rule
from netproxy.nft.objects import Data, Hook, SetSpec, family_word


class AddTable(NamedTuple):
    """Make the table if it is not there."""


class DeleteTable(NamedTuple):
    """Delete the table with all that is in it."""


class AddChain(NamedTuple):
    """Make an empty chain, or leave the one that is there."""

    chain: str
    hook: Hook | None = None


class FlushChain(NamedTuple):
    """Delete all rules of the chain."""

    chain: str


class DeleteChain(NamedTuple):
    """Delete a chain that nothing refers to any more."""

    chain: str


class AddRule(NamedTuple):
    """Append a rule to the chain."""

    chain: str
    rule: Rule


class AddSet(NamedTuple):
    """Declare a set or map."""

    set: str
    spec: SetSpec


class DeleteSet(NamedTuple):
    """Delete a set or map with its elements."""

    set: str


class AddElements(NamedTuple):
    """Put elements into a set; the keys must not be there with other data."""

    set: str
    spec: SetSpec
    items: list[tuple[bytes, Data]]


class DeleteElements(NamedTuple):
    """Take elements out of a set; all must be there."""

    set: str
    spec: SetSpec
    items: list[tuple[bytes, Data]]


class ReplaceElements(NamedTuple):
    """Give keys that are there new data: taken out and put back in one atomic step."""

    set: str
    spec: SetSpec
    items: list[tuple[bytes, Data, Data]]
    """(key, old data, new data)."""


Operation = (
    AddTable
    | DeleteTable
    | AddChain
    | FlushChain
    | DeleteChain
    | AddRule
    | AddSet
    | DeleteSet
    | AddElements
    | DeleteElements
    | ReplaceElements
)


class Transaction(NamedTuple):
    """Operations on one table, applied together."""

    family: Family
    table: str
    operations: list[Operation]

    def __bool__(self) -> bool:
        return bool(self.operations)

    def added(self) -> int:
        """How many elements it puts in, replaced ones included."""
        kinds = (AddElements, ReplaceElements)
        return sum(len(op.items) for op in self.operations if isinstance(op, kinds))

    def deleted(self) -> int:
        """How many elements it takes out, replaced ones included."""
        kinds = (DeleteElements, ReplaceElements)
        return sum(len(op.items) for op in self.operations if isinstance(op, kinds))

    def size(self) -> int:
        """How many objects it touches: tables, chains, rules, sets and single elements."""
        bulk = (AddElements, DeleteElements, ReplaceElements)
        return sum(len(op.items) if isinstance(op, bulk) else 1 for op in self.operations)


def describe(  # noqa: C901, PLR0911 - one case per operation
    transaction: Transaction, operation: Operation
) -> tuple[str, str]:
    """Words for an error message: what was tried, and on which object.

    Example:
        >>> from netproxy.model.ip import Family
        >>> describe(Transaction(Family.IPV4, "netproxy", []), FlushChain("services"))
        ('flush chain', 'ip netproxy services')
    """
    table = f"{family_word(transaction.family)} {transaction.table}"
    match operation:
        case AddTable():
            return "add table", table
        case DeleteTable():
            return "delete table", table
        case AddChain(chain=name):
            return "add chain", f"{table} {name}"
        case FlushChain(chain=name):
            return "flush chain", f"{table} {name}"
        case DeleteChain(chain=name):
            return "delete chain", f"{table} {name}"
        case AddRule(chain=name):
            return "add rule", f"to chain {table} {name}"
        case AddSet(set=name):
            return "add set", f"{table} {name}"
        case DeleteSet(set=name):
            return "delete set", f"{table} {name}"
        case AddElements(set=name):
            return "add elements", f"to {table} {name}"
        case DeleteElements(set=name):
            return "delete elements", f"from {table} {name}"
        case ReplaceElements(set=name):
            return "replace elements", f"of {table} {name}"
