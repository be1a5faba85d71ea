"""The desired state of one table, kept up to date service by service.

A change costs in proportion to itself: only the fragments of dirty services are compiled, and
only the differences between a fragment and its predecessor become operations. The full state is
put together only to be compared with what the kernel has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from netproxy.backends.nftables import names
from netproxy.backends.nftables.adopt import adopt_fragments
from netproxy.backends.nftables.affinity import Numbers
from netproxy.backends.nftables.compile import Fragment, can_remember, compile_plan
from netproxy.backends.nftables.layout import (
    COUNTING_SETS,
    SETS,
    Settings,
    base_chains,
    base_elements,
    class_chain,
)
from netproxy.backends.nftables.names import allowed_sources, parse_class_chain
from netproxy.backends.nftables.sources import LENGTHS, source_chain
from netproxy.core.plan import ServicePlan
from netproxy.model.ip import IPAddress, pack_address
from netproxy.model.names import ServiceKey, ServicePortName
from netproxy.nft.diff import data_first, diff_rulesets, put_chain
from netproxy.nft.elements import pack_index
from netproxy.nft.expr import Rule, address_bytes
from netproxy.nft.objects import Chain, Data, Elements, Ruleset
from netproxy.nft.transaction import (
    AddElements,
    AddRule,
    AddSet,
    DeleteChain,
    DeleteElements,
    DeleteSet,
    FlushChain,
    Operation,
    ReplaceElements,
    Transaction,
)

_ABSENT = object()
_Change = tuple[object, object]
"""(old data, new data); ``_ABSENT`` where there is none."""


class Program:
    """Desired state of one family. Changes accumulate until a transaction takes them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._fragments: dict[ServiceKey, dict[str, Fragment]] = {}
        """Service → fragment by port name and protocol."""
        self._numbers = Numbers(settings.family)
        """Of service ports whose clients are remembered."""
        self._owners: dict[tuple[str, bytes], int] = {}
        """How many fragments need a shared element."""
        self._users: Counter[str] = Counter()
        """How many verdicts lead to a class chain."""
        self._programmed: set[str] = set()
        """Class chains that the kernel has, in use or not."""
        self._lengths: Counter[int] = Counter()
        """How many source ranges have a prefix length."""
        self._asked: set[int] = set()
        """Prefix lengths for which the kernel has a set and a rule, in use or not."""
        self._pending: dict[str, dict[bytes, _Change]] = {}
        self.endpoints = 0
        """How many endpoints all service ports have together."""
        self._is_pruned = False
        """The kernel has nothing but what is desired, or left unused by us."""
        self._is_tracking = False
        """Differences are kept from the first comparison on; before, all would be one."""

    def put_service(self, key: ServiceKey, plans: Iterable[ServicePlan]) -> None:
        """Compile the plans of one service; what they change is pending from now on.

        At most once per service before the next ``take_transaction`` or ``compare``.
        """
        before = self._fragments.get(key, {})
        after = {}
        for plan in plans:
            port = f"{plan.name.port}/{plan.name.protocol}"
            old = before.get(port)
            number = self._number(old) if can_remember(plan) else None
            after[port] = compile_plan(plan, old, number, counts=self.settings.counts)
        if after == before:
            return
        self._give_back_numbers(before, after)
        for port, old in before.items():
            if old != after.get(port):
                self._change(old, after.get(port))
        for port, new in after.items():
            if port not in before:
                self._change(None, new)
        if after:
            self._fragments[key] = after
        else:
            del self._fragments[key]

    def _number(self, old: Fragment | None) -> int | None:
        """The number of a service port: the one that it has, or a new one."""
        if old is not None and old.affinity is not None:
            return old.affinity.number
        return self._numbers.take()

    def _give_back_numbers(
        self, before: Mapping[str, Fragment], after: Mapping[str, Fragment]
    ) -> None:
        for port, old in before.items():
            new = after.get(port)
            if old.affinity is not None and (new is None or new.affinity is None):
                self._numbers.give_back(old.affinity.number)

    def change_nodeport_ips(self, wanted: Collection[IPAddress]) -> None:
        """Accept NodePorts at these addresses from now on; elements, so no rule changes."""
        had = self.settings.nodeport_ips or ()
        self.settings = self.settings._replace(nodeport_ips=tuple(wanted))
        if not self._is_tracking:
            return
        for address in set(wanted) - set(had):
            self._note(names.NODEPORT_IPS, pack_address(address), _ABSENT, None)
        for address in set(had) - set(wanted):
            self._note(names.NODEPORT_IPS, pack_address(address), None, _ABSENT)

    def take_transaction(self) -> Transaction:
        """Everything that is pending; nothing is pending afterwards."""
        pending, self._pending = self._pending, {}
        operations: list[Operation] = []
        wanted = [n for n, count in self._users.items() if count and n not in self._programmed]
        for name in sorted(wanted):
            operations += put_chain(name, self._class_chain(name))
            self._programmed.add(name)
        if new := set(+self._lengths) - self._asked:
            operations += [AddSet(name, SETS[name]) for name in map(allowed_sources, sorted(new))]
            operations += self._ask(self._asked | new)
        operations += _element_operations(pending)
        return Transaction(self.settings.family, names.TABLE, operations)

    def _ask(self, lengths: set[int]) -> list[Operation]:
        """Make the chain of source ranges anew, with these prefix lengths."""
        self._asked = lengths
        chain = source_chain(lengths, self.settings.family)
        rules: list[Operation] = [AddRule(names.SOURCE_RANGES, rule) for rule in chain.rules]
        return [FlushChain(names.SOURCE_RANGES), *rules]

    def take_unused_chains(self) -> Transaction:
        """Deletes class chains that no service leads to any more, and sets of source ranges.

        Apart from the change that made them unused, because before kernel 6.2 a map's element
        holds its chain for a moment after it was deleted, and because counts come and go.
        """
        if not self._is_pruned:
            # Services that were not heard of yet may still need them.
            return Transaction(self.settings.family, names.TABLE, [])
        unused = sorted(name for name in self._programmed if not self._users[name])
        self._programmed.difference_update(unused)
        operations: list[Operation] = []
        for name in unused:
            operations += (FlushChain(name), DeleteChain(name))
        if idle := sorted(self._asked - set(+self._lengths)):
            operations += self._ask(self._asked.difference(idle))
            operations += [DeleteSet(allowed_sources(length)) for length in idle]
        return Transaction(self.settings.family, names.TABLE, operations)

    def adopt_placement(self, actual: Ruleset) -> None:
        """Keep endpoints at the indexes and tickets where the kernel has them already.

        For a newborn process: its own would be as good, but would rewrite elements, and clients
        would be forgotten.
        """
        adopt_fragments(self._fragments, actual, self._numbers)

    def compare(self, actual: Ruleset, *, prune: bool = True) -> Transaction:
        """The transaction from what the kernel has to the desired state; nothing stays pending."""
        self._pending.clear()
        self._is_tracking, self._is_pruned = True, prune
        kept = () if prune else {LENGTHS[name] for name in actual.sets if name in LENGTHS}
        self._asked = {*+self._lengths, *kept}
        if actual.exists:
            transaction = diff_rulesets(actual, self.ruleset(), prune=prune)
        else:
            transaction = self._from_nothing(actual)
        self._programmed = {name for name, count in self._users.items() if count}
        if not prune:
            self._programmed.update(n for n in actual.chains if parse_class_chain(n))
        return transaction

    def _from_nothing(self, nothing: Ruleset) -> Transaction:
        """The same as comparing with nothing, at two thirds of the cost."""
        desired = self._frame()
        frame = diff_rulesets(nothing, desired)
        items: dict[str, list[tuple[bytes, Data]]] = {name: [] for name in desired.sets}
        for name, elements in base_elements(self.settings).items():
            items[name].extend(elements.items())
        for ports in self._fragments.values():
            for fragment in ports.values():
                for placed in fragment.placed:
                    items[placed.map].extend(fragment.endpoint_elements(placed))
                for name, key, data in fragment.exclusive():
                    items[name].append((key, data))
        for name, key in self._owners:
            items[name].append((key, None))
        in_order = data_first(desired.sets.items())
        fill = [AddElements(name, spec, items[name]) for name, spec in in_order if items[name]]
        return frame._replace(operations=[*frame.operations, *fill])

    def _frame(self) -> Ruleset:
        """The desired chains and sets, without any elements."""
        used = sorted(name for name, count in self._users.items() if count)
        chains = {name: self._class_chain(name) for name in used}
        chains |= base_chains(self.settings, self._asked)
        sets = {n: s for n, s in SETS.items() if n not in LENGTHS or LENGTHS[n] in self._asked}
        if not self.settings.counts:
            sets = {n: s for n, s in sets.items() if n not in COUNTING_SETS}
        elements: dict[str, Elements] = {name: {} for name in sets}
        return Ruleset(self.settings.family, names.TABLE, chains, sets, elements)

    def ruleset(self) -> Ruleset:
        """The desired state as a whole."""
        desired = self._frame()
        elements = desired.elements
        for name, items in base_elements(self.settings).items():
            elements[name].update(items)
        for ports in self._fragments.values():
            for fragment in ports.values():
                for placed in fragment.placed:
                    elements[placed.map].update(fragment.endpoint_elements(placed))
                for name, key, data in fragment.exclusive():
                    elements[name][key] = data
        for name, key in self._owners:
            elements[name][key] = None
        return desired

    def vocabulary(self, chains: Iterable[str]) -> Iterable[Rule]:
        """Every rule that could be ours in a table with these chains."""
        lengths = range(1, address_bytes(self.settings.family) * 8 + 1)
        for chain in base_chains(self.settings, lengths).values():
            yield from chain.rules
        for name in {*chains, *self._users}:
            parsed = parse_class_chain(name)
            if parsed is not None:
                yield from class_chain(parsed, self.settings).rules

    def counted(self) -> Iterator[tuple[str, bytes, ServicePortName]]:
        """(set, key, service port) of every element that counts connections."""
        for ports in self._fragments.values():
            for fragment in ports.values():
                for name, key in fragment.shared:
                    if name in COUNTING_SETS:
                        yield name, key, fragment.owner

    def owners(self) -> dict[bytes, str]:
        """Packed frontend, ClusterIP or ticket → the service port that has it; for comments."""
        owners: dict[bytes, str] = {}
        for ports in self._fragments.values():
            for fragment in ports.values():
                for name, key in fragment.shared:
                    if name == names.CLUSTER_IPS:
                        owners.setdefault(key, str(fragment.owner))
                for _, key, _ in fragment.exclusive():
                    owners[key] = str(fragment.owner)
        return owners

    def _class_chain(self, name: str) -> Chain:
        parsed = parse_class_chain(name)
        assert parsed is not None, name
        return class_chain(parsed, self.settings)

    def _change(self, old: Fragment | None, new: Fragment | None) -> None:
        """Make the step from one fragment to its successor pending."""
        if self._is_tracking:
            self._note_exclusive(old, new)
        users = self._users
        if old is not None:
            self.endpoints -= len(old.targets)
            for chain in old.chains():
                users[chain] -= 1
        if new is not None:
            self.endpoints += len(new.targets)
            for chain in new.chains():
                users[chain] += 1
        if old is None or new is None or old.shared != new.shared:
            self._share(new.shared if new else (), old.shared if old else ())

    def _note_exclusive(self, old: Fragment | None, new: Fragment | None) -> None:
        for name, key, before, after in _placed_changes(old, new):
            self._note(name, key, before, after)
        have = {(name, key): data for name, key, data in old.exclusive()} if old else {}
        want = {(name, key): data for name, key, data in new.exclusive()} if new else {}
        for (name, key), data in have.items():
            if want.get((name, key)) != data:
                self._note(name, key, data, want.get((name, key), _ABSENT))
        for (name, key), data in want.items():
            if (name, key) not in have:
                self._note(name, key, _ABSENT, data)

    def _share(
        self, wanted: tuple[tuple[str, bytes], ...], had: tuple[tuple[str, bytes], ...]
    ) -> None:
        """Count the owners of shared elements; the first one adds, the last one takes away."""
        owners = self._owners
        for element in wanted:
            owners[element] = count = owners.get(element, 0) + 1
            if count == 1:
                self._count_length(element[0], 1)
                if self._is_tracking:
                    self._note(*element, _ABSENT, None)
        for element in had:
            owners[element] = count = owners[element] - 1
            if not count:
                del owners[element]
                self._count_length(element[0], -1)
                if self._is_tracking:
                    self._note(*element, None, _ABSENT)

    def _count_length(self, name: str, more: int) -> None:
        """An element of a shared set comes or goes: there is one network more or less."""
        length = LENGTHS.get(name)
        if length is not None:
            self._lengths[length] += more

    def _note(self, name: str, key: bytes, old: object, new: object) -> None:
        """Two service ports may hand a key over, in either order: one leaves it, one takes it.

        That is told from a change of mind by each service being put once between two takes.
        """
        changes = self._pending.setdefault(name, {})
        known = changes.get(key)
        if known is not None:
            old = known[0] if old is _ABSENT else old
            new = known[1] if new is _ABSENT else new
        changes[key] = (old, new)


def _placed_changes(
    old: Fragment | None, new: Fragment | None
) -> Iterable[tuple[str, bytes, object, object]]:
    """Differences in the endpoints maps: (map, key, old, new).

    The lists are compared once, however many frontends show them.
    """
    steps: dict[tuple[bool, bool, bool], list[_Step]] = {}
    had, has = (old.placed if old else ()), (new.placed if new else ())
    for placed in dict.fromkeys((*had, *has)):
        before = old.shown_by(placed) if old and placed in had else ()
        after = new.shown_by(placed) if new and placed in has else ()
        case = (placed.is_local, bool(before), bool(after))
        if case not in steps:
            steps[case] = _list_changes(before, after)
        for index, left, right in steps[case]:
            yield placed.map, placed.prefix + pack_index(placed.first_index + index), left, right


_Step = tuple[int, object, object]


def _list_changes(before: tuple[bytes, ...], after: tuple[bytes, ...]) -> list[_Step]:
    """(index, old, new) wherever two lists of endpoints differ."""
    if before == after:
        return []
    common = min(len(before), len(after))
    steps: list[_Step] = [(i, before[i], after[i]) for i in range(common) if before[i] != after[i]]
    steps += [(i, before[i], _ABSENT) for i in range(common, len(before))]
    steps += [(i, _ABSENT, after[i]) for i in range(common, len(after))]
    return steps


def _element_operations(pending: dict[str, dict[bytes, _Change]]) -> list[Operation]:
    """Pending changes in a harmless order: see ``transaction``."""
    puts: list[Operation] = []
    drops: list[Operation] = []
    for name, spec in data_first((n, s) for n, s in SETS.items() if n in pending):
        added: list[tuple[bytes, Data]] = []
        replaced: list[tuple[bytes, Data, Data]] = []
        deleted: list[tuple[bytes, Data]] = []
        for key, (old, new) in pending[name].items():
            if old is _ABSENT and new is not _ABSENT:
                added.append((key, new))  # type: ignore[arg-type]
            elif new is _ABSENT and old is not _ABSENT:
                deleted.append((key, old))  # type: ignore[arg-type]
            elif old != new:
                replaced.append((key, old, new))  # type: ignore[arg-type]
        if added:
            puts.append(AddElements(name, spec, added))
        if replaced:
            puts.append(ReplaceElements(name, spec, replaced))
        if deleted:
            drops.insert(0, DeleteElements(name, spec, deleted))
    return [*puts, *drops]
