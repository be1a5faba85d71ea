"""The seams, as promises. Whoever implements one of these is tested against its prose."""

from __future__ import annotations

from typing import Protocol

from netproxy.model.ip import Family
from netproxy.nft.objects import Ruleset, SetSpec, Vocabulary
from netproxy.nft.transaction import Transaction


class Table(Protocol):
    """One nf_tables table: the kernel's, or a fake that behaves the same."""

    @property
    def family(self) -> Family:
        """The IP family of the table."""
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
