"""What iptables-restore is to change, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from netproxy.model.ip import Family


class TableChange(NamedTuple):
    """Changes of one table, committed together."""

    name: str
    written: Mapping[str, str] = {}
    """Chain → its rules as whole lines; the chain is made, or emptied first."""
    deleted: tuple[str, ...] = ()
    """Chains; nothing leads to them any more."""
    added_jumps: tuple[str, ...] = ()
    """``CHAIN rule`` each, put at the head of a built-in chain, so the last one comes first."""
    deleted_jumps: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(self[1:])

    def rules(self) -> int:
        """How many rules it writes."""
        return sum(rules.count("\n") for rules in self.written.values()) + len(self.added_jumps)


class Restore(NamedTuple):
    """Input of one ``iptables-restore --noflush``: each table is changed all at once, or not."""

    family: Family
    tables: tuple[TableChange, ...]

    def __bool__(self) -> bool:
        return bool(self.tables)

    def size(self) -> int:
        """How many chains and rules it touches."""
        return sum(
            len(table.written) + table.rules() + len(table.deleted) + len(table.deleted_jumps)
            for table in self.tables
        )

    def added(self) -> int:
        """How many rules it writes."""
        return sum(table.rules() for table in self.tables)

    def deleted(self) -> int:
        """How many chains and jumps it takes away."""
        return sum(len(table.deleted) + len(table.deleted_jumps) for table in self.tables)
