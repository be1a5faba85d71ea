"""loadBalancerSourceRanges: who may use a load balancer's address.

Networks stand in one set for each prefix length in use, and the chain asks one after the other
for the network of that length that the client is in. So the rules depend on how many *different
prefix lengths* are in use on all Services together, never on how many Services or ranges. An
interval set would need one lookup only, but taking a range out of it makes the kernel walk all
others: 20 ms each at 10,000, and 1,000 at a time 19 s, measured on 6.18.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netproxy.backends.nftables import names
from netproxy.core.plan import FrontendKind, ServicePlan
from netproxy.model.ip import Family, pack_address
from netproxy.nft.elements import pack_port
from netproxy.nft.expr import (
    DROP,
    RETURN,
    Field,
    InSet,
    Key,
    Rule,
    SourceNetwork,
    address_bytes,
)
from netproxy.nft.objects import Chain, SetKind, SetSpec

_FRONTEND: tuple[Field, ...] = (Key.DADDR, Key.L4PROTO, Key.DPORT)

LENGTHS = {names.allowed_sources(length): length for length in range(1, 129)}
"""Name of a set of allowed networks → their prefix length. Length 0 lets everybody in, so it is
no limit (``core/resolve.py``)."""

SOURCE_SETS = {name: SetSpec(SetKind.SET, (*_FRONTEND, Key.SADDR)) for name in LENGTHS}
"""Every set of allowed networks that there could be; the table has those in use."""


def source_elements(plan: ServicePlan, suffix: bytes) -> Iterator[tuple[str, bytes]]:
    """(set, key) of a plan with source ranges.

    Args:
        plan: Its load-balancer addresses are limited, its other frontends are not.
        suffix: The packed protocol.
    """
    ranges = [
        (names.allowed_sources(network.length), pack_address(network.address))
        for network in plan.source_ranges
    ]
    for frontend in plan.frontends:
        if frontend.kind is FrontendKind.LOAD_BALANCER_IP:
            key = pack_address(frontend.address) + suffix + pack_port(frontend.port)
            yield names.FIREWALLED_IPS, key
            for name, network in ranges:
                yield name, key + network


def source_chain(lengths: Iterable[int], family: Family) -> Chain:
    """For packets to an address that not everybody may use: comes back if the client may."""
    longest = address_bytes(family) * 8
    asks: list[Rule] = []
    for length in sorted(lengths):
        network = Key.SADDR if length == longest else SourceNetwork(length)
        is_allowed = InSet((*_FRONTEND, network), names.allowed_sources(length))
        asks.append(Rule((is_allowed, RETURN)))
    return Chain((*asks, Rule((DROP,), "not in loadBalancerSourceRanges")))
