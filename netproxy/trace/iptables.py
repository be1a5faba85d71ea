"""Walks a packet through iptables rules on paper: what iptables mode would do with it.

The rules are read as text, so that it judges what the kernel is given, or has, and not what the
compiler meant. A match or target that is not known here is an error, never passed over.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from netproxy.core.packet import Arrival, Fate, FateKind, Packet
from netproxy.ipt.text import Tables
from netproxy.model.ip import Family, IPAddress, Prefix, family_of, parse_prefix

Memory = Mapping[str, frozenset[IPAddress]]
"""Lists of the match ``recent``, by name → sources. A timeout that is over is for the caller."""

_MAX_DEPTH = 64
_EVEN = 1e-6
"""Chances that differ by less are equal: the kernel's are multiples of 2⁻³¹."""


class Journey(NamedTuple):
    """One way that a packet may take."""

    fate: Fate
    memory: Memory
    """What the lists of the match ``recent`` hold afterwards."""
    chance: float
    rules: int
    """How many rules it was held against, in the tables nat and filter."""


class _State(NamedTuple):
    """A packet on its way."""

    packet: Packet
    memory: Memory
    chance: float = 1.0
    rules: int = 0
    mark: int = 0
    is_translated: bool = False
    is_masqueraded: bool = False
    verdict: str = ""
    """The target that ended the walk through a table; empty while it goes on."""


_Match = Callable[[_State, frozenset[IPAddress]], bool]


class _Rule(NamedTuple):
    """One rule, read."""

    matches: tuple[_Match, ...]
    probability: float | None
    """Of the match ``statistic``; None: it has none."""
    recent_set: str
    """The list that remembers the source when all matches hold; empty: none."""
    target: str
    argument: str
    """Of the target: a destination, or a mark."""


def trace(
    packet: Packet,
    tables: Tables,
    local_addresses: Collection[IPAddress],
    memory: Memory | None = None,
) -> Fate:
    """The packet's fate, all possible endpoints included.

    Args:
        packet: The first packet of a connection.
        tables: Of the packet's family.
        local_addresses: The node's own, for the routing decision.
        memory: What the match ``recent`` remembers.

    Raises:
        ValueError: a rule has words that are not known here, or chances that are not equal.
    """
    chances: dict[Fate, float] = {}
    for journey in journeys(packet, tables, local_addresses, memory):
        chances[journey.fate] = chances.get(journey.fate, 0.0) + journey.chance
    kinds = {fate.kind for fate in chances}
    if len(kinds) > 1:
        raise ValueError(f"{packet} fares differently from time to time: {kinds}")
    if max(chances.values()) - min(chances.values()) > _EVEN:
        raise ValueError(f"not with equal chance: {chances}")
    arrivals = frozenset(a for fate in chances for a in fate.arrivals)
    return Fate(kinds.pop(), arrivals)


def journeys(
    packet: Packet,
    tables: Tables,
    local_addresses: Collection[IPAddress],
    memory: Memory | None = None,
) -> Iterator[Journey]:
    """Every way that a packet may take, one for each random choice."""
    local = frozenset(local_addresses)
    walker = _Walker(tables, local)
    for end in walker.walk(_State(packet, memory or {})):
        yield Journey(_fate(end), end.memory, end.chance, end.rules)


def rules_passed(packet: Packet, tables: Tables, local_addresses: Collection[IPAddress]) -> int:
    """How many rules a packet is held against, at most. Arguments as for ``trace``."""
    return max(journey.rules for journey in journeys(packet, tables, local_addresses))


def _fate(end: _State) -> Fate:
    if end.verdict in ("DROP", "REJECT"):
        return Fate(FateKind(end.verdict.lower()))
    if not end.is_translated:
        return Fate(FateKind.ACCEPT)
    after = end.packet
    arrival = Arrival(after.destination, after.port, end.is_masqueraded)
    return Fate(FateKind.FORWARD, frozenset({arrival}))


class _Walker:
    def __init__(self, tables: Tables, local: frozenset[IPAddress]) -> None:
        self._tables = tables
        self._local = local

    def walk(self, start: _State) -> Iterator[_State]:
        """Every possible end."""
        from_node = not start.packet.interface
        for state in self._hook("nat", "OUTPUT" if from_node else "PREROUTING", start):
            is_to_node = state.packet.destination in self._local
            if from_node:
                hooks = ["OUTPUT"]
            else:
                hooks = ["INPUT" if is_to_node else "FORWARD"]
            if from_node and is_to_node:
                hooks.append("INPUT")
            yield from self._filter(hooks, state, leaves=not is_to_node or from_node)

    def _filter(self, hooks: list[str], state: _State, *, leaves: bool) -> Iterator[_State]:
        if state.verdict in ("DROP", "REJECT"):
            yield state
        elif hooks:
            for after in self._hook("filter", hooks[0], state):
                yield from self._filter(hooks[1:], after, leaves=leaves)
        elif leaves:
            yield from self._hook("nat", "POSTROUTING", state)
        else:
            yield state

    def _hook(self, table: str, chain: str, state: _State) -> Iterator[_State]:
        """Through one table at one hook; its verdict is that of this table alone."""
        if table not in self._tables:
            yield state
            return
        has_refusing_policy = chain in self._tables[table].refusing
        for after in self._chain(table, chain, state._replace(verdict=""), 0):
            if has_refusing_policy and not after.verdict:
                yield after._replace(verdict="DROP")
            else:
                yield after

    def _chain(self, table: str, chain: str, state: _State, depth: int) -> Iterator[_State]:
        """All states in which a packet leaves a chain."""
        if depth > _MAX_DEPTH:
            raise ValueError(f"chains lead in circles: {chain}")
        lines = self._tables[table].chains[chain].splitlines()
        yield from self._rules(table, lines, 0, state, depth)

    def _rules(
        self, table: str, lines: list[str], position: int, state: _State, depth: int
    ) -> Iterator[_State]:
        """From one rule of a chain on."""
        for line in lines[position:]:
            rule = _read_rule(line)
            position += 1
            state = state._replace(rules=state.rules + 1)
            if not all(match(state, self._local) for match in rule.matches):
                continue
            chance = 1.0 if rule.probability is None else rule.probability
            taken = state._replace(chance=state.chance * chance)
            for after in self._take(table, rule, taken, depth):
                if after.verdict or rule.target == "RETURN":
                    yield after
                else:
                    yield from self._rules(table, lines, position, after, depth)
            if rule.probability is None:
                return
            state = state._replace(chance=state.chance * (1 - chance))
        yield state

    def _take(self, table: str, rule: _Rule, state: _State, depth: int) -> Iterator[_State]:
        """What a rule does with a packet that it matches."""
        if rule.recent_set:
            known = state.memory.get(rule.recent_set, frozenset())
            remembered = known | {state.packet.source}
            state = state._replace(memory={**state.memory, rule.recent_set: remembered})
        if rule.target in self._tables[table].chains:
            yield from self._chain(table, rule.target, state, depth + 1)
        else:
            yield _apply(rule, state)


def _apply(rule: _Rule, state: _State) -> _State:
    """After a target that is no chain."""
    match rule.target:
        case "" | "RETURN":
            return state
        case "ACCEPT" | "DROP" | "REJECT":
            return state._replace(verdict=rule.target)
        case "MARK":
            value, _, mask = rule.argument.partition("/")
            return state._replace(mark=state.mark & ~int(mask, 16) ^ int(value, 16))
        case "DNAT":
            address, _, port = rule.argument.rpartition(":")
            where = IPAddress(address.strip("[]"))
            packet = state.packet._replace(destination=where, port=int(port))
            return state._replace(packet=packet, is_translated=True, verdict="DNAT")
        case "MASQUERADE":
            return state._replace(is_masqueraded=True, verdict="MASQUERADE")
        case _:
            raise ValueError(f"a target that is not known: {rule.target}")


_NO_ARGUMENT = {"--rcheck", "--set", "--reap", "--rsource", "--random-fully"}
_IGNORED = {
    *("--reap", "--rsource", "--random-fully", "-m", "--comment", "--mode", "--seconds", "--mask"),
    *("--nfacct-name", "--reject-with"),
}
"""Without influence on where the first packet goes."""


@lru_cache(maxsize=1 << 16)
def _read_rule(line: str) -> _Rule:
    """Read a line of iptables-save.

    Raises:
        ValueError: it has a word that is not known here.
    """
    matches: list[_Match] = []
    probability: float | None = None
    recent = recent_set = target = argument = ""
    for word, value, is_negated in _options(line):
        if word in ("--rcheck", "--set"):
            recent = word
        elif word == "--probability":
            probability = float(value)
        elif word == "--name" and recent == "--set":
            recent_set = value
        elif word == "-j":
            target = value
        elif word in ("--set-xmark", "--to-destination"):
            argument = value
        elif word not in _IGNORED:
            matches.append(_read_match(word, value, is_negated=is_negated))
    return _Rule(tuple(matches), probability, recent_set, target, argument)


def _options(line: str) -> Iterator[tuple[str, str, bool]]:
    """Each option of a rule with its argument, and whether it is negated."""
    words = iter(shlex.split(line)[2:])
    for first in words:
        is_negated = first == "!"
        word = next(words, "") if is_negated else first
        if is_negated and word not in _MATCHES:
            raise ValueError(f"a negation that is not known: ! {word}")
        yield word, "" if word in _NO_ARGUMENT else next(words, ""), is_negated


def _read_match(word: str, value: str, *, is_negated: bool) -> _Match:
    found = _MATCHES.get(word)
    if found is None:
        raise ValueError(f"a match that is not known: {word} {value}")
    test = found(value)
    if is_negated:
        return lambda state, local: not test(state, local)
    return test


def _source(value: str) -> _Match:
    prefix = parse_prefix(value)
    return lambda state, _: _contains(prefix, state.packet.source)


def _destination(value: str) -> _Match:
    prefix = parse_prefix(value)
    return lambda state, _: _contains(prefix, state.packet.destination)


def _contains(prefix: Prefix, address: IPAddress) -> bool:
    assert family_of(address) is prefix.family, "a rule of the other family"
    return prefix.contains(address)


def _interface(value: str) -> _Match:
    if value.endswith("+"):
        beginning = value[:-1]
        return lambda state, _: (
            bool(state.packet.interface) and (state.packet.interface.startswith(beginning))
        )
    return lambda state, _: state.packet.interface == value


def _ports(value: str) -> _Match:
    first, _, last = value.partition(":")
    ports = range(int(first), int(last or first) + 1)
    return lambda state, _: state.packet.port in ports


def _mark(value: str) -> _Match:
    number, _, mask = value.partition("/")
    return lambda state, _: state.mark & int(mask, 16) == int(number, 16)


def _connection_state(value: str) -> _Match:
    """The first packet of a connection is new, and translated or not."""
    words = set(value.split(","))
    unknown = words - {"NEW", "DNAT", "INVALID", "RELATED", "ESTABLISHED"}
    if unknown:
        raise ValueError(f"a state that is not known: {unknown}")
    return lambda state, _: "NEW" in words or ("DNAT" in words and state.is_translated)


def _recent(value: str) -> _Match:
    return lambda state, _: state.packet.source in state.memory.get(value, frozenset())


def _local_type(of: Callable[[Packet], IPAddress]) -> Callable[[str], _Match]:
    def read(value: str) -> _Match:
        if value != "LOCAL":
            raise ValueError(f"an address type that is not known: {value}")
        return lambda state, local: _is_local(of(state.packet), local)

    return read


def _is_local(address: IPAddress, local: frozenset[IPAddress]) -> bool:
    is_loopback = family_of(address) is Family.IPV4 and address.startswith("127.")
    return address in local or is_loopback


_MATCHES: dict[str, Callable[[str], _Match]] = {
    "-s": _source,
    "-d": _destination,
    "-i": _interface,
    "-p": lambda value: lambda state, _: state.packet.protocol.lower() == value,
    "--dport": _ports,
    "--mark": _mark,
    "--ctstate": _connection_state,
    "--name": _recent,
    "--dst-type": _local_type(lambda packet: packet.destination),
    "--src-type": _local_type(lambda packet: packet.source),
}
