"""ClusterIPs: which one a Service gets (kube-apiserver 1.36, ServiceCIDR and IPAddress objects).

An address is taken when there is an IPAddress of its name. These objects are the only memory; they
are written together with the Service, so there is nothing that could be out of step.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from netproxy.apiserver.contract import Dice

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
_SMALLEST_BAND, _LARGEST_BAND = 16, 256
_LARGEST_SPACE = 1 << 62
_TRIES = 64


class AddressRange(NamedTuple):
    """Addresses that can be given out: offsets ``first`` to ``last`` of a network."""

    base: int
    first: int
    last: int
    static: int
    """So many addresses from the first on are given out last: people choose from them."""
    version: int

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def text(self, offset: int) -> str:
        """An address as Kubernetes writes it."""
        number = self.base + offset
        if self.version == 4:
            return str(ipaddress.IPv4Address(number))
        return str(ipaddress.IPv6Address(number))

    def contains(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        """Whether it can be given out."""
        if address.version != self.version:
            return False
        return self.first <= int(address) - self.base <= self.last


def range_of(network: IPNetwork) -> AddressRange:
    """What can be given out of a network: not its first address, nor IPv4's broadcast one."""
    last = min(network.num_addresses - 1, _LARGEST_SPACE)
    if network.version == 4:
        last -= 1
    first = 1
    size = max(0, last - first + 1)
    static = 0
    if size > _SMALLEST_BAND:
        static = min(max(_SMALLEST_BAND, size // 16), _LARGEST_BAND)
    return AddressRange(int(network.network_address), first, last, static, network.version)


def next_free(
    ranges: Iterable[AddressRange], is_taken: Callable[[str], bool], random: Dice
) -> str | None:
    """A free address from the first range that has one; None: all are full.

    From a random place in the upper band on, and only then from the band that people choose from.
    """
    for each in ranges:
        if each.size <= 0:
            continue
        for offset in _order(each, random):
            address = each.text(offset)
            if not is_taken(address):
                return address
    return None


def _order(each: AddressRange, random: Dice) -> Iterator[int]:
    dynamic = each.first + each.static
    if dynamic <= each.last:
        # A few throws of the dice find a place at once, unless the range is nearly full.
        for _ in range(_TRIES):
            yield random.randint(dynamic, each.last)
        start = random.randint(dynamic, each.last)
        yield from range(start, each.last + 1)
        yield from range(dynamic, start)
    yield from range(each.first, min(dynamic, each.last + 1))


def first_address(network: IPNetwork) -> str:
    """The address of Service kubernetes."""
    return range_of(network).text(1)
