"""Walk a rule set as the kernel would, with one packet.

Only netproxy's own tables are walked; a rule of another program may still drop the packet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from netproxy.core.packet import Arrival, Fate, FateKind, Packet
from netproxy.model.ip import Family, IPAddress, pack_address, unpack_address
from netproxy.nft.elements import pack_index
from netproxy.nft.expr import (
    DADDR_HEAD_BYTES,
    PROTOCOL_NUMBERS,
    Dnat,
    DropElement,
    FlipMark,
    InSet,
    Key,
    Load,
    Masquerade,
    Match,
    MatchMark,
    MatchNewConnection,
    MatchPrefix,
    MatchTranslated,
    Numgen,
    PutElement,
    Reject,
    RestoreDaddr,
    RewriteDaddr,
    Rule,
    SetMark,
    SourceNetwork,
    Statement,
    Verdict,
    VerdictKind,
    VerdictMap,
    load_bytes,
    network_mask,
    padded,
)
from netproxy.nft.objects import Chain, Data, Ruleset

_LOCAL, _UNICAST = 2, 1
"""Source: RTN_LOCAL, RTN_UNICAST, linux/rtnetlink.h."""
_MAX_DEPTH = 16
"""Source: NFT_JUMP_STACK_SIZE, net/netfilter/nf_tables.h."""


Memory = Mapping[str, Mapping[bytes, Data]]
"""Everything in the dynamic maps, by name."""


class _State(NamedTuple):
    """A packet on its way."""

    packet: Packet
    original: IPAddress
    """Its destination when it came."""
    memory: Memory
    mark: int = 0
    is_translated: bool = False
    is_masqueraded: bool = False


class _Refused(NamedTuple):
    """The packet ends here."""

    kind: FateKind
    memory: Memory


class Journey(NamedTuple):
    """One way that a packet may take."""

    fate: Fate
    memory: Memory
    """What the dynamic maps hold afterwards."""


_Outcome = _State | _Refused


def trace(packet: Packet, ruleset: Ruleset, local_addresses: Collection[IPAddress]) -> Fate:
    """The fate of a packet under a rule set; random choices are followed both ways.

    Args:
        packet: The first packet of a connection.
        ruleset: One table.
        local_addresses: The node's own addresses, for the routing decision.
    """
    fates = {journey.fate for journey in journeys(packet, ruleset, local_addresses)}
    kinds = {fate.kind for fate in fates}
    if len(kinds) > 1:
        # Some index of an endpoints map leads nowhere: a broken rule set, so the worst counts.
        return Fate(
            next(k for k in (FateKind.DROP, FateKind.REJECT, FateKind.ACCEPT) if k in kinds)
        )
    arrivals = frozenset(arrival for fate in fates for arrival in fate.arrivals)
    return Fate(kinds.pop(), arrivals)


def journeys(
    packet: Packet, ruleset: Ruleset, local_addresses: Collection[IPAddress]
) -> Iterator[Journey]:
    """Every way that a packet may take, one for each random choice."""
    walker = _Walker(ruleset, frozenset(local_addresses))
    for outcome in walker.walk(packet):
        yield Journey(_fate(outcome), outcome.memory)


def _fate(outcome: _Outcome) -> Fate:
    if isinstance(outcome, _Refused):
        return Fate(outcome.kind)
    if not outcome.is_translated:
        return Fate(FateKind.ACCEPT)
    packet = outcome.packet
    arrival = Arrival(packet.destination, packet.port, outcome.is_masqueraded)
    return Fate(FateKind.FORWARD, frozenset((arrival,)))


class _Walker:
    def __init__(self, ruleset: Ruleset, local: frozenset[IPAddress]) -> None:
        self._ruleset = ruleset
        self._local = local
        self._dynamic = {n: s for n, s in ruleset.sets.items() if s.is_dynamic}

    def walk(self, packet: Packet) -> Iterator[_Outcome]:
        """Every possible outcome."""
        from_node = not packet.interface
        memory = {name: self._ruleset.elements[name] for name in self._dynamic}
        start = _State(packet, packet.destination, memory)
        for state in self._hook(start, "output" if from_node else "prerouting"):
            if isinstance(state, _Refused):
                yield state
                continue
            goes_in = state.packet.destination in self._local
            hooks = ["input"] if goes_in else [] if from_node else ["forward"]
            if from_node or not goes_in:
                hooks.append("postrouting")
            yield from self._onward(state, hooks)

    def _onward(self, state: _State, hooks: list[str]) -> Iterator[_Outcome]:
        if not hooks:
            yield state
            return
        for outcome in self._hook(state, hooks[0]):
            if isinstance(outcome, _Refused):
                yield outcome
            else:
                yield from self._onward(outcome, hooks[1:])

    def _hook(self, state: _State, hook: str) -> Iterator[_Outcome]:
        """Through the base chains of a hook, in the order of their priorities."""
        at_hook = [
            (chain.hook.priority, chain)
            for chain in self._ruleset.chains.values()
            if chain.hook is not None and chain.hook.hook == hook
        ]
        yield from self._base_chains(
            [chain for _, chain in sorted(at_hook, key=lambda one: one[0])], state
        )

    def _base_chains(self, chains: list[Chain], state: _State) -> Iterator[_Outcome]:
        if not chains:
            yield state
            return
        for outcome, _ in self._chain(chains[0], state, 0):
            if isinstance(outcome, _Refused):
                yield outcome
            else:
                yield from self._base_chains(chains[1:], outcome)

    def _chain(self, chain: Chain, state: _State, depth: int) -> Iterator[tuple[_Outcome, bool]]:
        """(outcome, whether it is final) of a chain; False: continue after the jump."""
        assert depth < _MAX_DEPTH, "jumps too deep for the kernel"
        yield from self._rules(chain.rules, state, depth)

    def _rules(
        self, rules: tuple[Rule, ...], state: _State, depth: int
    ) -> Iterator[tuple[_Outcome, bool]]:
        if not rules:
            yield state, False
            return
        for after, verdict, is_final in self._rule(rules[0].statements, state):
            if is_final:
                yield after, True
            elif verdict is None or isinstance(after, _Refused):
                assert isinstance(after, _State)
                yield from self._rules(rules[1:], after, depth)
            else:
                yield from self._follow(verdict, rules[1:], after, depth)

    def _follow(
        self, verdict: Verdict, rest: tuple[Rule, ...], state: _State, depth: int
    ) -> Iterator[tuple[_Outcome, bool]]:
        match verdict.kind:
            case VerdictKind.ACCEPT:
                yield state, True
            case VerdictKind.DROP:
                yield _Refused(FateKind.DROP, state.memory), True
            case VerdictKind.RETURN:
                yield state, False
            case VerdictKind.GOTO:
                yield from self._chain(self._ruleset.chains[verdict.chain], state, depth + 1)
            case VerdictKind.JUMP:
                chain = self._ruleset.chains[verdict.chain]
                for outcome, is_final in self._chain(chain, state, depth + 1):
                    if is_final or isinstance(outcome, _Refused):
                        yield outcome, True
                    else:
                        yield from self._rules(rest, outcome, depth)

    def _rule(
        self, statements: tuple[Statement, ...], state: _State
    ) -> Iterator[tuple[_Outcome, Verdict | None, bool]]:
        """(state, verdict or None, is final) after one rule."""
        if not statements:
            yield state, None, False
            return
        first, rest = statements[0], statements[1:]
        if isinstance(first, Verdict | VerdictMap | Reject | Masquerade | Dnat):
            yield from self._last(first, state)
            return
        for after in self._step(first, state):
            if after is None:
                yield state, None, False
            else:
                yield from self._rule(rest, after)

    def _last(
        self, statement: Verdict | VerdictMap | Reject | Masquerade | Dnat, state: _State
    ) -> Iterator[tuple[_Outcome, Verdict | None, bool]]:
        """After a statement behind which there is nothing."""
        match statement:
            case Verdict():
                yield state, statement, False
            case VerdictMap(keys=keys, map=name):
                found = self._ruleset.elements[name].get(self._key(keys, state, 0))
                yield state, found if isinstance(found, Verdict) else None, False
            case Reject():
                yield _Refused(FateKind.REJECT, state.memory), None, True
            case Masquerade():
                yield state._replace(is_masqueraded=True), None, True
            case Dnat():
                yield from self._dnat(statement, state)

    def _step(self, statement: Statement, state: _State) -> Iterator[_State | None]:
        """The packet after a statement, once for each random choice; None: it goes no further."""
        match statement:
            case SetMark(bits=bits):
                yield state._replace(mark=state.mark | bits)
            case FlipMark(bits=bits):
                yield state._replace(mark=state.mark ^ bits)
            case RewriteDaddr(keys=keys, map=name):
                for found in self._choices(keys, name, state):
                    if isinstance(found, bytes):
                        yield _with_destination(state, unpack_address(found))
                    else:
                        yield None
            case RestoreDaddr():
                yield _with_destination(state, state.original)
            case PutElement():
                yield self._put(statement, state)
            case DropElement(map=name, key=key):
                left = dict(state.memory[name])
                left.pop(self._key(key, state, 0), None)
                yield state._replace(memory={**state.memory, name: left})
            case _:
                yield state if self._matches(statement, state) else None

    def _dnat(
        self, statement: Dnat, state: _State
    ) -> Iterator[tuple[_Outcome, Verdict | None, bool]]:
        for found in self._choices(statement.keys, statement.map, state):
            if not isinstance(found, bytes):
                yield state, None, False
                continue
            address, port = unpack_address(found[:-4]), int.from_bytes(found[-4:-2], "big")
            packet = state.packet._replace(destination=address, port=port)
            yield state._replace(packet=packet, is_translated=True), None, True

    def _put(self, statement: PutElement, state: _State) -> _State | None:
        """With the element, or None where there is no room for it."""
        name = statement.map
        items = state.memory[name]
        key = self._key(statement.key, state, 0)
        if key in items:
            return state
        if len(items) >= self._dynamic[name].size:
            return None
        grown = {**items, key: self._key(statement.data, state, 0)}
        return state._replace(memory={**state.memory, name: grown})

    def _choices(self, keys: tuple[Load, ...], name: str, state: _State) -> Iterator[Data]:
        """What a lookup finds, for each random index."""
        items = state.memory[name] if name in self._dynamic else self._ruleset.elements[name]
        choices = next((k.modulus for k in keys if isinstance(k, Numgen)), 1)
        for choice in range(choices):
            yield items.get(self._key(keys, state, choice))

    def _matches(self, statement: Statement, state: _State) -> bool:
        match statement:
            case Match(key=key, value=value, negate=negate):
                return self._equals(key, value, state) != negate
            case MatchPrefix(key=key, prefix=prefix, negate=negate):
                return prefix.contains(self._address(key, state)) != negate
            case MatchNewConnection():
                return True
            case MatchTranslated():
                return state.is_translated
            case MatchMark(bits=bits):
                return bool(state.mark & bits)
            case InSet(keys=keys, set=name, negate=negate):
                return (self._key(keys, state, 0) in self._ruleset.elements[name]) != negate
            case _:
                raise AssertionError(statement)

    def _equals(self, key: Key, value: int | str, state: _State) -> bool:
        if isinstance(value, str):
            name = state.packet.interface
            return name.startswith(value[:-1]) if value.endswith("*") else name == value
        if key in (Key.SADDR_TYPE, Key.DADDR_TYPE):
            where = Key.SADDR if key is Key.SADDR_TYPE else Key.DADDR
            kind = _LOCAL if self._address(where, state) in self._local else _UNICAST
            return kind == value
        number = state.packet.port if key is Key.DPORT else PROTOCOL_NUMBERS[state.packet.protocol]
        return number == value

    @staticmethod
    def _address(key: Key, state: _State) -> IPAddress:
        return state.packet.source if key is Key.SADDR else state.packet.destination

    def _key(self, keys: tuple[Load, ...], state: _State, choice: int) -> bytes:
        """The concatenation that the kernel would look up."""
        parts = [self._load(key, state, choice) for key in keys]
        if len(keys) == 1:
            return parts[0]
        family: Family = self._ruleset.family
        lengths = [padded(load_bytes(key, family)) for key in keys]
        return b"".join(p.ljust(n, b"\0") for p, n in zip(parts, lengths, strict=True))

    def _load(self, key: Load, state: _State, choice: int) -> bytes:
        packet = state.packet
        match key:
            case Key.SADDR | Key.DADDR:
                return pack_address(self._address(key, state))
            case Key.L4PROTO:
                return bytes([PROTOCOL_NUMBERS[packet.protocol]])
            case Key.DPORT:
                return packet.port.to_bytes(2, "big")
            case Key.SADDR_DADDR_HEAD:
                head = pack_address(packet.destination)[: DADDR_HEAD_BYTES[self._ruleset.family]]
                return pack_address(packet.source) + head
            case Key.ORIGINAL_DADDR:
                return pack_address(state.original)
            case Numgen(offset=offset):
                return pack_index(offset + choice)
            case SourceNetwork(length=length):
                mask = network_mask(length, self._ruleset.family)
                source = pack_address(packet.source)
                return bytes(a & b for a, b in zip(source, mask, strict=True))
            case _:
                raise AssertionError(key)


def _with_destination(state: _State, address: IPAddress) -> _State:
    return state._replace(packet=state.packet._replace(destination=address))
