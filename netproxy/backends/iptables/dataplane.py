"""iptables mode in one family: a program, and the tables that it is kept in step with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netproxy.backends.iptables.compare import compare
from netproxy.backends.iptables.layout import FillIn, Settings, settings_for
from netproxy.backends.iptables.program import Program
from netproxy.contracts import CountKey, FamilyReport, Iptables, RuleCount
from netproxy.core.config import ProxyConfig
from netproxy.core.plan import ServicePlan
from netproxy.core.surroundings import Surroundings
from netproxy.errors import DataplaneError
from netproxy.ipt.change import Restore
from netproxy.model.ip import Family
from netproxy.model.names import ServiceKey


class IptablesDataplane:
    """See :class:`netproxy.contracts.Dataplane`.

    Args:
        tables: The kernel's, or a fake.
        fill_in: Fills in a template.
        drop_invalid: Drop packets that conntrack finds invalid.
    """

    def __init__(self, tables: Iptables, fill_in: FillIn, *, drop_invalid: bool = True) -> None:
        self._tables = tables
        self._drop_invalid = drop_invalid
        self.program = Program(Settings(tables.family, drop_invalid=drop_invalid), fill_in)
        self.is_in_step = False
        self._counts = False

    @property
    def family(self) -> Family:
        return self._tables.family

    @property
    def endpoints(self) -> int:
        return self.program.endpoints

    def configure(self, config: ProxyConfig, seen: Surroundings) -> None:
        self._counts = config.service_counters
        settings = settings_for(config, seen, drop_invalid=self._drop_invalid)
        settings = settings._replace(is_large=self.program.settings.is_large)
        if settings != self.program.settings:
            self.program.configure(settings)

    def put_service(self, key: ServiceKey, plans: Iterable[ServicePlan]) -> None:
        self.program.put_service(key, plans)

    def forget(self) -> None:
        self.is_in_step = False

    def sync(self, *, prune: bool) -> FamilyReport:
        try:
            change = self._change(prune=prune)
        except DataplaneError:
            self.is_in_step = False
            raise
        batches, sent_bytes = self._tables.batches_sent, self._tables.bytes_sent
        self._restore(change)
        written = {table.name: table.rules() for table in change.tables}
        counts = [
            RuleCount(table, total + len(self.program.jumps[table]), written.get(table, 0))
            for table, total in self.program.rules.items()
        ]
        return FamilyReport(
            self.family,
            change.size(),
            change.added(),
            change.deleted(),
            tuple(counts),
            self._tables.batches_sent - batches,
            self._tables.bytes_sent - sent_bytes,
        )

    def preview(self, *, against_kernel: bool, prune: bool) -> Restore:
        self.is_in_step = False
        return compare(self.program, self._tables.read() if against_kernel else {}, prune=prune)

    def tidy(self) -> FamilyReport:
        return FamilyReport(self.family, 0, 0, 0)  # nothing is left for later

    def read_counts(self) -> dict[CountKey, int]:
        if not self._counts:
            return {}
        counts = self._tables.read_counts()
        return {
            (owner, rule.encode()): counts.get(rule, 0) for owner, rule in self.program.counted()
        }

    def owners(self) -> dict[bytes, str]:
        return {}  # every rule has its own comment

    def _change(self, *, prune: bool) -> Restore:
        if self.is_in_step:
            return Restore(self.family, tuple(self.program.take_changes()))
        return compare(self.program, self._tables.read(), prune=prune)

    def _restore(self, change: Restore) -> None:
        # Known again only after the kernel has said yes.
        self.is_in_step = False
        if change:
            self._tables.restore(change)
        self.is_in_step = True


def iptables_dataplanes(
    tables: Mapping[Family, Iptables], fill_in: FillIn, *, drop_invalid: bool = True
) -> dict[Family, IptablesDataplane]:
    """Iptables mode on these tables."""
    return {
        family: IptablesDataplane(each, fill_in, drop_invalid=drop_invalid)
        for family, each in tables.items()
    }
