"""Session affinity, as players remember it: who was sent where, and must be sent there again."""

from __future__ import annotations

from collections.abc import Iterable

from netproxy.core.config import ProxyMode
from netproxy.core.packet import Arrival, Fate, FateKind
from netproxy.model.events import Delete, Event, Reset
from netproxy.model.ip import IPAddress
from tests.scenarios.story import Play

_Place = tuple[IPAddress, int]


class Stickiness:
    """What the plays of one proxy's life so far imply for the next ones.

    Args:
        mode: iptables mode has a list of clients for each endpoint: who was sent to several, one
            after the other, may be sent to any of them.
    """

    def __init__(self, mode: ProxyMode = ProxyMode.NFTABLES) -> None:
        self._remembers_all = mode is ProxyMode.IPTABLES
        self._places: dict[tuple[str, IPAddress], set[_Place]] = {}
        self._has_forgotten = False

    def hear(self, events: Iterable[Event]) -> None:
        """What happens in the cluster: a Service that goes may take what is remembered with it."""
        for event in events:
            if isinstance(event, Reset) or (
                isinstance(event, Delete) and event.key[0] == "Service"
            ):
                self._places.clear()
                self._has_forgotten = True

    def expected(self, play: Play) -> frozenset[Arrival]:
        """Where a packet may arrive: where its client was, if it still may go there."""
        known = self._places.get((play.affinity, play.packet.source)) if play.affinity else None
        possible = play.expected.arrivals
        return frozenset(a for a in possible if (a.address, a.port) in (known or ())) or possible

    def is_right(self, play: Play, fate: Fate) -> bool:
        """Whether a judge's word about a packet is the one expected."""
        expected = self.expected(play)
        if fate == play.expected._replace(arrivals=expected):
            return True
        # The rules may know better what became of a Service that was gone.
        is_possible = fate.kind is FateKind.FORWARD and fate.arrivals <= expected
        knows_better = self._has_forgotten or self._remembers_all
        return knows_better and bool(play.affinity) and is_possible

    def note(self, play: Play, arrival: Arrival) -> None:
        """A packet has arrived there."""
        known = self._places.setdefault((play.affinity, play.packet.source), set())
        if not self._remembers_all:
            known.clear()
        known.add((arrival.address, arrival.port))
