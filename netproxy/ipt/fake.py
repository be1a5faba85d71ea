"""iptables without a kernel: for dry runs, and for tests as strict as iptables-restore."""

from __future__ import annotations

import errno
from collections.abc import Callable

from netproxy.errors import DataplaneError
from netproxy.ipt.change import Restore, TableChange
from netproxy.ipt.text import Tables, TableText
from netproxy.model.ip import Family

_BUILT_IN = {
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
}
_VERDICTS = ("ACCEPT", "DROP", "RETURN", "REJECT", "DNAT", "MARK", "MASQUERADE")


class FakeIptables:
    """See :class:`netproxy.contracts.Iptables`.

    Args:
        family: The IP family.
        tell: Called with each change; by default changes are remembered, for tests.
    """

    def __init__(self, family: Family, tell: Callable[[Restore], None] | None = None) -> None:
        self._family = family
        self._tell = tell
        self.tables: Tables = {
            table: TableText(dict.fromkeys(chains, ""), frozenset(chains))
            for table, chains in _BUILT_IN.items()
        }
        self.changes: list[Restore] = []
        self.batches_sent = self.bytes_sent = 0

    @property
    def family(self) -> Family:
        return self._family

    def read(self) -> Tables:
        return {
            name: table._replace(chains=dict(table.chains)) for name, table in self.tables.items()
        }

    def read_counts(self) -> dict[str, int]:
        return {}  # no packet ever comes here

    def restore(self, change: Restore) -> None:
        assert change.family is self._family
        self.batches_sent += 1
        if self._tell is not None:
            self._tell(change)
        else:
            self.changes.append(change)
        for table in change.tables:
            self._commit(table)

    def text(self) -> str:
        """Everything, as iptables-save prints it."""
        lines = []
        for name, table in sorted(self.tables.items()):
            lines.append(f"*{name}\n")
            lines += [
                f":{chain} {'ACCEPT' if chain in table.built_in else '-'} [0:0]\n"
                for chain in table.chains
            ]
            lines += [*table.chains.values(), "COMMIT\n"]
        return "".join(lines)

    def _commit(self, change: TableChange) -> None:
        old = self.tables[change.name]
        chains = dict(old.chains)
        for chain in (*change.written, *change.deleted):
            _expect(chain not in old.built_in, change, f"{chain} is built in")
            chains[chain] = ""
        chains |= change.written
        for jump in change.added_jumps:
            chain, _, rule = jump.partition(" ")
            _expect(chain in old.built_in, change, f"{chain} is not built in")
            chains[chain] = f"-A {chain} {rule}\n" + chains[chain]
        for jump in change.deleted_jumps:
            chain = jump.partition(" ")[0]
            _expect(f"-A {jump}\n" in chains[chain], change, f"there is no {jump}")
            chains[chain] = chains[chain].replace(f"-A {jump}\n", "", 1)
        for chain in change.deleted:
            _expect(bool(chains.pop(chain, None) == ""), change, f"{chain} is not empty")
        for chain, rules in chains.items():
            for line in rules.splitlines():
                _expect(line.startswith(f"-A {chain} "), change, line)
                words = line.split()
                target = words[words.index("-j") + 1] if "-j" in words else "RETURN"
                _expect(target in chains or target in _VERDICTS, change, f"no chain for: {line}")
        _expect(all(len(chain) < 29 for chain in chains), change, "a chain's name is too long")
        self.tables[change.name] = old._replace(chains=chains)


def _expect(condition: bool, change: TableChange, problem: str) -> None:
    if not condition:
        raise DataplaneError(
            operation="restore", subject=f"table {change.name}", errno=errno.EINVAL, hint=problem
        )
