"""What a newborn process keeps of its predecessor's: indexes, and tickets with those who have them.

A ticket means something to clients for as long as they are remembered, so a service port takes
over the number under which the kernel has its frontends, and its endpoints their seats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from netproxy.backends.nftables import names
from netproxy.backends.nftables.affinity import (
    NOBODY,
    Numbers,
    after_restart,
    number_of,
    seat_of,
)
from netproxy.backends.nftables.compile import Fragment, place_targets, with_tickets
from netproxy.model.ip import Family
from netproxy.model.names import ServiceKey
from netproxy.nft.elements import index_of
from netproxy.nft.expr import address_bytes
from netproxy.nft.objects import Ruleset

_Shown = dict[tuple[str, bytes], dict[int, bytes]]
"""(map, frontend) → index → endpoint or ticket."""


class _Standing(NamedTuple):
    """What the kernel has."""

    family: Family
    shown: _Shown
    holders: dict[bytes, bytes]
    """Ticket → endpoint."""
    seats: dict[int, dict[bytes, int]]
    """Number of a service port → endpoint → seat."""


def adopt_fragments(
    fragments: Mapping[ServiceKey, dict[str, Fragment]], actual: Ruleset, numbers: Numbers
) -> None:
    """Replace fragments by such as differ less from what stands in the kernel.

    Args:
        fragments: By Service, and by port name and protocol; changed in place.
        actual: What the kernel has.
        numbers: The numbers of the fragments; changed with them.
    """
    standing = _look(actual)
    taken: dict[int, Fragment] = {}
    later: list[tuple[dict[str, Fragment], str]] = []
    for ports in fragments.values():
        for port, fragment in ports.items():
            ports[port] = placed = _adopt_indexes(fragment, standing)
            if placed.affinity is None:
                continue
            number = next(_standing_numbers(placed, standing), None)
            if number is None or number in taken:
                later.append((ports, port))
                continue
            before = after_restart(standing.seats.get(number, {}))
            ports[port] = taken[number] = with_tickets(placed, number, before, standing.family)
    numbers.reserve(taken)
    for ports, port in later:
        number = numbers.take()
        assert number is not None, "there were as many before"
        ports[port] = with_tickets(ports[port], number, NOBODY, standing.family)


def _look(actual: Ruleset) -> _Standing:
    shown: _Shown = {}
    for name in (names.ENDPOINTS, names.NODEPORT_ENDPOINTS, names.TICKETS, names.NODEPORT_TICKETS):
        for key, data in actual.elements.get(name, {}).items():
            if isinstance(data, bytes):
                shown.setdefault((name, key[:-4]), {})[index_of(key)] = data
    standing = _Standing(actual.family, shown, {}, {})
    size = address_bytes(actual.family)
    for name in (names.TICKET_ENDPOINTS, names.LOCAL_TICKET_ENDPOINTS):
        for key, endpoint in actual.elements.get(name, {}).items():
            if isinstance(endpoint, bytes):
                ticket = key[:size]
                standing.holders[ticket] = endpoint
                seats = standing.seats.setdefault(number_of(ticket, actual.family), {})
                seats[endpoint] = seat_of(ticket, actual.family)
    return standing


def _adopt_indexes(fragment: Fragment, standing: _Standing) -> Fragment:
    targets, local_targets = fragment.targets, fragment.local_targets
    for placed in fragment.placed:
        there = standing.shown.get((placed.map, placed.prefix), {})
        count = len(fragment.targets_of(placed))
        before = [there.get(placed.first_index + i, b"") for i in range(count)]
        if fragment.affinity is not None:
            before = [standing.holders.get(ticket, b"") for ticket in before]
        if placed.is_local:
            local_targets = place_targets(before, fragment.local_targets)
        else:
            targets = place_targets(before, fragment.targets)
    if (targets, local_targets) == (fragment.targets, fragment.local_targets):
        return fragment
    return fragment._replace(targets=targets, local_targets=local_targets)


def _standing_numbers(fragment: Fragment, standing: _Standing) -> Iterator[int]:
    """Under which numbers the kernel has the fragment's frontends; normally one."""
    for placed in fragment.placed:
        for ticket in standing.shown.get((placed.map, placed.prefix), {}).values():
            yield number_of(ticket, standing.family)
