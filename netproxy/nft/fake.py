"""A strict nf_tables in memory: what the kernel refuses, it refuses with the same errno.

It stands in for the kernel in tests without root and in ``--dry-run``; the same cases run against
the kernel, so that the fake is itself tested for being faithful.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping

from netproxy.errors import DataplaneError
from netproxy.model.ip import Family
from netproxy.nft.expr import (
    Dnat,
    DropElement,
    InSet,
    Load,
    PutElement,
    RewriteDaddr,
    Rule,
    Statement,
    Verdict,
    VerdictMap,
    key_bytes,
)
from netproxy.nft.objects import Chain, Data, Ruleset, SetKind, SetSpec, Vocabulary
from netproxy.nft.transaction import (
    AddChain,
    AddElements,
    AddRule,
    AddSet,
    AddTable,
    DeleteChain,
    DeleteElements,
    DeleteSet,
    DeleteTable,
    FlushChain,
    Operation,
    ReplaceElements,
    Transaction,
    describe,
)


class _RefusedError(Exception):
    """Why one operation cannot be."""

    def __init__(self, number: int, detail: str) -> None:
        super().__init__(detail)
        self.number = number
        self.detail = detail


class FakeTable:
    """One table in memory. Commits are all or nothing."""

    def __init__(self, family: Family, table: str = "netproxy") -> None:
        self._state = Ruleset.empty(family, table)
        self._exists = False
        self._packets: dict[tuple[str, bytes], int] = {}
        self.commits: list[Transaction] = []
        """Every transaction that was carried out, in order."""
        self.batches_sent = self.bytes_sent = 0

    @property
    def family(self) -> Family:
        return self._state.family

    @property
    def ruleset(self) -> Ruleset:
        """The current state. Do not change it."""
        return self._state

    def read(self, vocabulary: Vocabulary, sets: dict[str, SetSpec]) -> Ruleset:  # noqa: ARG002
        """A copy of the state; a fake needs no help to recognise rules.

        Elements of dynamic sets are the kernel's own and are not read.
        """
        state = _copy(self._state)
        for name, spec in state.sets.items():
            if spec.is_dynamic:
                state.elements[name] = {}
        return state

    def count(self, name: str, key: bytes) -> None:
        """A rule found this element for a packet."""
        assert self._state.sets[name].counts, name
        self._packets[name, key] = self._packets.get((name, key), 0) + 1

    def read_counts(self, name: str) -> dict[bytes, int]:
        """See :class:`netproxy.contracts.Table`."""
        return {key: self._packets.get((name, key), 0) for key in self._state.elements[name]}

    def remember(self, changes: Mapping[str, Mapping[bytes, Data]]) -> None:
        """What a packet left behind in dynamic maps; see :mod:`netproxy.trace.nftables`."""
        for name, items in changes.items():
            assert self._state.sets[name].is_dynamic, name
            self._state.elements[name] = dict(items)

    def commit(self, transaction: Transaction) -> None:
        """Carry out all operations, or raise and change nothing.

        Raises:
            DataplaneError: as the kernel would.
        """
        work = _Work(_copy(self._state), exists=self._exists)
        for operation in transaction.operations:
            try:
                work.apply(operation)
            except _RefusedError as error:
                words, subject = describe(transaction, operation)
                raise DataplaneError(
                    operation=words, subject=subject, errno=error.number, detail=error.detail
                ) from None
        self._state, self._exists = work.state, work.exists
        self._packets = {
            place: count for place, count in self._packets.items() if place not in work.deleted
        }
        self.batches_sent += 1
        self.commits.append(transaction)


def _copy(state: Ruleset) -> Ruleset:
    return state._replace(
        chains=dict(state.chains),
        sets=dict(state.sets),
        elements={name: dict(items) for name, items in state.elements.items()},
    )


class _Work:
    """A transaction in progress, on a copy."""

    def __init__(self, state: Ruleset, *, exists: bool) -> None:
        self.state = state
        self.exists = exists
        self.deleted: set[tuple[str, bytes]] = set()
        """(set, key) of elements that were taken out, be it for a moment."""

    def apply(self, operation: Operation) -> None:
        match operation:
            case AddTable():
                self.exists = True
                return
            case DeleteTable():
                self._require(self.exists, errno.ENOENT, "no such table")
                self.state = Ruleset.empty(self.state.family, self.state.table)
                self.exists = False
                return
        self._require(self.exists, errno.ENOENT, "no such table")
        match operation:
            case AddElements() | DeleteElements() | ReplaceElements():
                self._apply_elements(operation)
            case AddSet(set=name, spec=spec):
                known = self.state.sets.setdefault(name, spec)
                self._require(known == spec, errno.EEXIST, f"set {name} is declared otherwise")
                self.state.elements.setdefault(name, {})
            case DeleteSet(set=name):
                self._set(name)
                self._require(not self._uses_of_set(name), errno.EBUSY, f"set {name} is in use")
                del self.state.sets[name], self.state.elements[name]
            case _:
                self._apply_chain(operation)

    def _apply_chain(self, operation: Operation) -> None:
        chains = self.state.chains
        match operation:
            case AddChain(chain=name, hook=hook):
                known = chains.setdefault(name, Chain((), hook))
                self._require(
                    known.hook == hook, errno.EOPNOTSUPP, f"chain {name} is hooked otherwise"
                )
            case FlushChain(chain=name):
                chains[name] = self._chain(name)._replace(rules=())
            case DeleteChain(chain=name):
                chain = self._chain(name)
                self._require(not chain.rules, errno.EBUSY, f"chain {name} has rules")
                self._require(not self._uses_of_chain(name), errno.EBUSY, f"chain {name} is in use")
                del chains[name]
            case AddRule(chain=name, rule=rule):
                chain = self._chain(name)
                for reference in rule.statements:
                    self._check_reference(reference)
                chains[name] = chain._replace(rules=(*chain.rules, rule))

    def _apply_elements(self, op: AddElements | DeleteElements | ReplaceElements) -> None:
        spec = self._set(op.set)
        elements = self.state.elements[op.set]
        self._require(spec == op.spec, errno.EINVAL, f"set {op.set} is declared otherwise")
        match op:
            case AddElements(items=items):
                for key, data in items:
                    self._check_element(spec, key, data)
                    same = key not in elements or elements[key] == data
                    self._require(same, errno.EEXIST, f"element {key.hex()} has other data")
                    elements[key] = data
            case DeleteElements(items=items):
                for key, _ in items:
                    self._require(key in elements, errno.ENOENT, f"no element {key.hex()}")
                    del elements[key]
                    self.deleted.add((op.set, key))
            case ReplaceElements(items=changes):
                for key, _, data in changes:
                    self._require(key in elements, errno.ENOENT, f"no element {key.hex()}")
                    self._check_element(spec, key, data)
                    elements[key] = data

    def _check_element(self, spec: SetSpec, key: bytes, data: Data) -> None:
        family = self.state.family
        right_key = len(key) == key_bytes(spec.key, family)
        self._require(right_key, errno.EINVAL, f"key {key.hex()} has the wrong length")
        match spec.kind:
            case SetKind.SET:
                self._require(data is None, errno.EINVAL, "a set's element has no data")
            case SetKind.DATA_MAP:
                right = isinstance(data, bytes) and len(data) == key_bytes(spec.data, family)
                self._require(right, errno.EINVAL, "the data has the wrong length")
            case SetKind.VERDICT_MAP:
                self._require(isinstance(data, Verdict), errno.EINVAL, "the data is no verdict")
                assert isinstance(data, Verdict)
                self._check_reference(data)

    def _check_reference(self, statement: Statement) -> None:
        """A rule or a verdict may only refer to what is there already."""
        match statement:
            case Verdict(chain=chain) if chain:
                self._chain(chain)
            case _ if (lookup := _lookup_of(statement)) is not None:
                name, key = lookup
                spec = self._set(name)
                self._require(len(key) == len(spec.key), errno.EINVAL, f"wrong key for {name}")
                if isinstance(statement, PutElement | DropElement):
                    self._require(spec.is_dynamic, errno.EOPNOTSUPP, f"{name} is not dynamic")

    def _uses_of_chain(self, name: str) -> bool:
        in_rules = any(
            isinstance(s, Verdict) and s.chain == name
            for chain in self.state.chains.values()
            for rule in chain.rules
            for s in rule.statements
        )
        return in_rules or any(
            isinstance(data, Verdict) and data.chain == name
            for items in self.state.elements.values()
            for data in items.values()
        )

    def _uses_of_set(self, name: str) -> bool:
        rules: Iterable[Rule] = (r for c in self.state.chains.values() for r in c.rules)
        lookups = (_lookup_of(s) for rule in rules for s in rule.statements)
        return any(lookup is not None and lookup[0] == name for lookup in lookups)

    def _chain(self, name: str) -> Chain:
        self._require(name in self.state.chains, errno.ENOENT, f"no chain {name}")
        return self.state.chains[name]

    def _set(self, name: str) -> SetSpec:
        self._require(name in self.state.sets, errno.ENOENT, f"no set {name}")
        return self.state.sets[name]

    @staticmethod
    def _require(fact: bool, number: int, detail: str) -> None:
        if not fact:
            raise _RefusedError(number, detail)


def _lookup_of(statement: Statement) -> tuple[str, tuple[Load, ...]] | None:
    """The set or map that a statement refers to, and the key that it has for it."""
    match statement:
        case (
            InSet(set=name, keys=key)
            | VerdictMap(map=name, keys=key)
            | Dnat(map=name, keys=key)
            | RewriteDaddr(map=name, keys=key)
            | PutElement(map=name, key=key)
            | DropElement(map=name, key=key)
        ):
            return name, key
        case _:
            return None
