"""A table that says what it is about to do: for progress bars, dry runs and traces."""

from __future__ import annotations

from collections.abc import Callable

from netproxy.contracts import Table
from netproxy.model.ip import Family
from netproxy.nft.objects import Ruleset, SetSpec, Vocabulary
from netproxy.nft.transaction import Transaction


class ToldTable:
    """See :class:`netproxy.contracts.Table`.

    Args:
        table: Does the work.
        tell: Called with each transaction before it is carried out.
    """

    def __init__(self, table: Table, tell: Callable[[Transaction], None]) -> None:
        self._table = table
        self._tell = tell

    @property
    def family(self) -> Family:
        return self._table.family

    def commit(self, transaction: Transaction) -> None:
        self._tell(transaction)
        self._table.commit(transaction)

    def read(self, vocabulary: Vocabulary, sets: dict[str, SetSpec]) -> Ruleset:
        return self._table.read(vocabulary, sets)
