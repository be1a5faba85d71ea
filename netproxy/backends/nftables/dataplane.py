"""nftables mode in one family: a program, and the table that it is kept in step with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netproxy.backends.nftables import names
from netproxy.backends.nftables.layout import COUNTING_SETS, SETS, LocalDetector, Settings
from netproxy.backends.nftables.program import Program
from netproxy.contracts import CountKey, FamilyReport, Table
from netproxy.core.config import ProxyConfig
from netproxy.core.plan import ServicePlan
from netproxy.core.surroundings import Surroundings
from netproxy.errors import DataplaneError
from netproxy.model.ip import Family
from netproxy.model.names import ServiceKey
from netproxy.nft.objects import Ruleset
from netproxy.nft.transaction import Transaction


class NftablesDataplane:
    """See :class:`netproxy.contracts.Dataplane`.

    Args:
        table: The kernel's, or a fake.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self.program = Program(Settings(table.family))
        self.is_in_step = False
        self._has_adopted = False
        """Whether placements in the kernel are ours, or were taken over."""

    @property
    def family(self) -> Family:
        return self._table.family

    @property
    def endpoints(self) -> int:
        return self.program.endpoints

    def configure(self, config: ProxyConfig, seen: Surroundings) -> None:
        settings, had = _settings(config, seen), self.program.settings
        if settings == had:
            return
        new_ips, old_ips = settings.nodeport_ips, had.nodeport_ips
        if new_ips is None or old_ips is None or settings._replace(nodeport_ips=old_ips) != had:
            self.program.settings = settings
            self.is_in_step = False
        else:
            self.program.change_nodeport_ips(new_ips)

    def put_service(self, key: ServiceKey, plans: Iterable[ServicePlan]) -> None:
        self.program.put_service(key, plans)

    def forget(self) -> None:
        self.is_in_step = False

    def sync(self, *, prune: bool) -> FamilyReport:
        try:
            return self._commit(self._transaction(prune=prune))
        except DataplaneError:
            self.is_in_step = False
            raise

    def preview(self, *, against_kernel: bool, prune: bool) -> Transaction:
        self.is_in_step = False
        if not against_kernel:
            return self.program.compare(Ruleset.empty(self.family, names.TABLE), prune=prune)
        actual = self._read()
        self.program.adopt_placement(actual)
        return self.program.compare(actual, prune=prune)

    def tidy(self) -> FamilyReport:
        return self._commit(self.program.take_unused_chains())

    def read_counts(self) -> dict[CountKey, int]:
        if not self.program.settings.counts:
            return {}
        counts = {name: self._table.read_counts(name) for name in COUNTING_SETS}
        return {
            (owner, key): counts[name].get(key, 0) for name, key, owner in self.program.counted()
        }

    def owners(self) -> dict[bytes, str]:
        return self.program.owners()

    def _transaction(self, *, prune: bool) -> Transaction:
        if self.is_in_step:
            return self.program.take_transaction()
        actual = self._read()
        if actual.exists and not self._has_adopted:
            self.program.adopt_placement(actual)
        return self.program.compare(actual, prune=prune)

    def _commit(self, transaction: Transaction) -> FamilyReport:
        batches, sent_bytes = self._table.batches_sent, self._table.bytes_sent
        # Known again only after the kernel has said yes.
        self.is_in_step = False
        if transaction:
            self._table.commit(transaction)
        self.is_in_step = self._has_adopted = True
        return FamilyReport(
            self.family,
            transaction.size(),
            transaction.added(),
            transaction.deleted(),
            batches=self._table.batches_sent - batches,
            sent_bytes=self._table.bytes_sent - sent_bytes,
        )

    def _read(self) -> Ruleset:
        return self._table.read(self.program.vocabulary, SETS)


def nftables_dataplanes(tables: Mapping[Family, Table]) -> dict[Family, NftablesDataplane]:
    """Nftables mode on these tables."""
    return {family: NftablesDataplane(table) for family, table in tables.items()}


def _settings(config: ProxyConfig, seen: Surroundings) -> Settings:
    """The constant rules' parameters."""
    detector = None
    if seen.pod_interface:
        detector = LocalDetector(interface=seen.pod_interface)
    elif seen.pod_prefix:
        detector = LocalDetector(prefix=seen.pod_prefix)
    return Settings(
        family=seen.family,
        masquerade_mark=config.masquerade_mark,
        masquerade_all=config.masquerade_all,
        detector=detector,
        service_cidrs=seen.service_cidrs,
        nodeport_ips=seen.nodeport_ips,
        counts=config.service_counters,
    )
