"""A packet and what may become of it: the language of scenarios, oracle and tracers."""

from __future__ import annotations

import enum
from typing import NamedTuple

from netproxy.model.ip import IPAddress


class Packet(NamedTuple):
    """The first packet of a connection, as it reaches this node or leaves one of its processes."""

    source: IPAddress
    destination: IPAddress
    protocol: str
    """``TCP``, ``UDP`` or ``SCTP``."""
    port: int
    """Destination port."""
    interface: str = ""
    """Where it comes in; empty when it comes from a process on the node itself."""


class FateKind(enum.Enum):
    """The value is the word in scenario files."""

    FORWARD = "forward"
    """Its destination is rewritten to an endpoint."""
    ACCEPT = "accept"
    """It goes on as if there were no proxy."""
    REJECT = "reject"
    DROP = "drop"


class Arrival(NamedTuple):
    """Where a forwarded packet may arrive, and as whose."""

    address: IPAddress
    port: int
    is_masqueraded: bool
    """The endpoint sees an address of this node as the source."""


class Fate(NamedTuple):
    """What becomes of a packet."""

    kind: FateKind
    arrivals: frozenset[Arrival] = frozenset()
    """All that are possible, each with equal chance; empty unless forwarded."""

    def __str__(self) -> str:
        if self.kind is not FateKind.FORWARD:
            return str(self.kind.value)
        return ", ".join(
            f"{a.address}:{a.port}{' masqueraded' if a.is_masqueraded else ''}"
            for a in sorted(self.arrivals)
        )
