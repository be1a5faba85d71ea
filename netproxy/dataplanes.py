"""What each proxy mode is made of: its dataplanes, in the kernel or on paper, and its text.

The one place that knows all modes. Everything else has a ``Dataplane`` and a ``Preview``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from netproxy import leftovers
from netproxy.backends.nftables.dataplane import nftables_dataplanes
from netproxy.backends.nftables.names import TABLE
from netproxy.contracts import Dataplane, DriftSensor, Flows, Preview, Table
from netproxy.core.config import ProxyConfig, ProxyMode
from netproxy.core.surroundings import accepts_localhost
from netproxy.ipt.change import Restore
from netproxy.model.ip import Family
from netproxy.nft.objects import Ruleset, SetSpec, Vocabulary
from netproxy.nft.transaction import Transaction

if TYPE_CHECKING:
    from netproxy.render.nftables import Annotations

Tell = Callable[[Preview], None]
"""Called with each change before it is carried out: for progress bars, dry runs and traces."""
Owners = Callable[[Family], dict[bytes, str]]
"""As ``Proxier.owners``."""


class Dataplanes:
    """All of one mode's dataplanes; close them when they are no longer needed.

    Args:
        by_family: The dataplanes.
        drift: Senses drift; None when nobody asked for that.
        close: Gives back what they hold open.
        settle: What is to be done once their rules are in place; returns what it did, in words.
        flows: The kernel's connections; None on paper.
    """

    def __init__(
        self,
        by_family: Mapping[Family, Dataplane],
        drift: DriftSensor | None = None,
        close: Callable[[], None] = lambda: None,
        settle: Callable[[], list[str]] = list,
        flows: Flows | None = None,
    ) -> None:
        self.by_family = by_family
        self.drift = drift
        self.close = close
        self.settle = settle
        self.flows = flows

    def __enter__(self) -> Dataplanes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()


def in_kernel(
    config: ProxyConfig,
    *,
    listen: bool = False,
    take_over: bool = False,
    tell: Tell | None = None,
) -> Dataplanes:
    """Dataplanes that program the calling thread's network namespace.

    Args:
        config: The operator's settings; its mode counts.
        listen: Sense drift.
        take_over: When settling, remove the rules of kube-proxy and of our other mode.
        tell: Called with each change before it is carried out.

    Raises:
        UnsupportedError: this kernel or this user cannot do it.
    """
    if config.mode is ProxyMode.IPTABLES:
        return _iptables_in_kernel(config, listen=listen, take_over=take_over, tell=tell)
    from netproxy.kernel.conntrack import KernelFlows
    from netproxy.kernel.nftables import Tables

    kernel = Tables(TABLE, config.families, listen=listen)
    tables: Mapping[Family, Table] = kernel.by_family
    return Dataplanes(
        nftables_dataplanes(_told(tables, tell)),
        kernel.listener,
        kernel.close,
        lambda: leftovers.remove_all(leftovers.of_others(config)) if take_over else [],
        KernelFlows(),
    )


def _iptables_in_kernel(
    config: ProxyConfig, *, listen: bool, take_over: bool, tell: Tell | None
) -> Dataplanes:
    from netproxy.backends.iptables.dataplane import iptables_dataplanes
    from netproxy.kernel import sysctl
    from netproxy.kernel.conntrack import KernelFlows
    from netproxy.kernel.iptables import choose_variant, open_guard, open_tables
    from netproxy.render.environment import fill_in
    from netproxy.render.iptables import restore_pieces

    variant = choose_variant(config.iptables_variant)
    guard = open_guard(variant, config.families) if listen else None
    tables = open_tables(config.families, variant, restore_pieces, tell, guard)
    drop_invalid = sysctl.read("net/netfilter/nf_conntrack_tcp_be_liberal") in (None, "0")

    def settle() -> list[str]:
        others = leftovers.of_others(config, variant) if take_over else []
        done = leftovers.remove_all(others)
        if accepts_localhost(config, Family.IPV4) and Family.IPV4 in tables:
            # Only now: KUBE-FIREWALL keeps the neighbours out of loopback.
            done += sysctl.ensure("net/ipv4/conf/all/route_localnet", "1")
        return done

    return Dataplanes(
        iptables_dataplanes(tables, fill_in, drop_invalid=drop_invalid),
        guard,
        guard.close if guard else lambda: None,
        settle,
        KernelFlows(),
    )


def on_paper(config: ProxyConfig, *, tell: Tell | None = None) -> Dataplanes:
    """Dataplanes that only pretend: for dry runs."""
    if config.mode is ProxyMode.IPTABLES:
        return _iptables_on_paper(config.families, tell)
    from netproxy.nft.fake import FakeTable

    fakes = {family: FakeTable(family) for family in config.families}

    def tell_and_forget(change: Preview) -> None:
        if tell is not None:
            tell(change)
        fakes[change.family].commits.clear()  # a fake remembers, for tests

    return Dataplanes(nftables_dataplanes(_told(fakes, tell_and_forget)))


def _iptables_on_paper(families: Iterable[Family], tell: Tell | None) -> Dataplanes:
    from netproxy.backends.iptables.dataplane import iptables_dataplanes
    from netproxy.ipt.fake import FakeIptables
    from netproxy.render.environment import fill_in

    fakes = {family: FakeIptables(family, tell) for family in families}
    return Dataplanes(iptables_dataplanes(fakes, fill_in))


def render_all(previews: Sequence[Preview], owners: Owners, *, title: str) -> str:
    """Whole rule sets, made from nothing, as a file that can be loaded.

    Args:
        previews: One per family, each from nothing.
        owners: Whose something is, for comments.
        title: First line of the file, a comment.
    """
    from netproxy.render.iptables import render_restores
    from netproxy.render.nftables import render_ruleset

    restores = [preview for preview in previews if isinstance(preview, Restore)]
    if restores:
        return render_restores(restores, title=title)
    transactions = [_as_transaction(preview) for preview in previews]
    notes = {t.family: _annotations(owners, t.family) for t in transactions}
    return render_ruleset(transactions, notes, title=title)


def render_change(preview: Preview, owners: Owners | None = None) -> str:
    """One change as commands, in the order in which the kernel gets them."""
    if isinstance(preview, Restore):
        from netproxy.render.iptables import render_restores

        return render_restores([preview])
    from netproxy.render.nftables import render_transaction

    notes = _annotations(owners, preview.family) if owners else None
    return render_transaction(_as_transaction(preview), notes)


def change_to_json(preview: Preview) -> dict[str, object]:
    """One change for programs."""
    if isinstance(preview, Restore):
        from netproxy.render.iptables import restore_to_json

        return restore_to_json(preview)
    from netproxy.render.nftables import transaction_to_json

    return transaction_to_json(_as_transaction(preview))


def _annotations(owners: Owners, family: Family) -> Annotations:
    from netproxy.backends.nftables.describe import describe
    from netproxy.render.nftables import Annotations

    return Annotations(owners(family), describe)


def _as_transaction(preview: Preview) -> Transaction:
    assert isinstance(preview, Transaction), preview
    return preview


class _ToldTable:
    """A table that says what it is about to do. See :class:`netproxy.contracts.Table`."""

    def __init__(self, table: Table, tell: Tell) -> None:
        self._table = table
        self._tell = tell

    @property
    def family(self) -> Family:
        return self._table.family

    @property
    def batches_sent(self) -> int:
        return self._table.batches_sent

    @property
    def bytes_sent(self) -> int:
        return self._table.bytes_sent

    def commit(self, transaction: Transaction) -> None:
        self._tell(transaction)
        self._table.commit(transaction)

    def read(self, vocabulary: Vocabulary, sets: dict[str, SetSpec]) -> Ruleset:
        return self._table.read(vocabulary, sets)

    def read_counts(self, name: str) -> dict[bytes, int]:
        return self._table.read_counts(name)


def _told(tables: Mapping[Family, Table], tell: Tell | None) -> Mapping[Family, Table]:
    if tell is None:
        return tables
    return {family: _ToldTable(table, tell) for family, table in tables.items()}
