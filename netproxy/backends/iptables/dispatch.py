"""Long lists cut into a tree, so that a packet passes few rules.

kube-proxy's KUBE-SERVICES has a rule for each address of each service, and every first packet of a
connection goes through all of them, whether or not it is for a service at all. Here a list of
more than ``LEAF`` rules becomes a tree: up to sixteen jumps by the next four bits of the address,
or of the port, until what is left is short. Nothing else about the rules changes.

The tree is a function of the rules alone, so it does not depend on the order in which they came.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from netproxy.model.ip import Family, IPAddress, pack_address, unpack_address

LEAF = 64
"""A list of at most so many rules stays as it is."""
_STEP = 4
"""Bits of the address that one level looks at: up to sixteen jumps."""


class _Item(NamedTuple):
    key: int
    rule: str


class _Space(NamedTuple):
    """What a tree divides: addresses, or the ports of one protocol."""

    bits: int
    match: Callable[[int, int], str]
    """(first key, length of prefix) → the match on all keys that begin so, and a blank."""
    name: Callable[[int, int], str]
    """The same → the chain for them."""


def dispatch(chain: str, rules: Iterable[str], family: Family, prefix: str) -> dict[str, str]:
    """The chains that one shared list becomes.

    Args:
        chain: The list's own name, where packets come in.
        rules: What follows ``-A CHAIN``, in any order.
        family: The IP family.
        prefix: How the names of dispatch chains begin.

    Returns:
        Chain → its rules as whole lines; ``chain`` itself is always among them.
    """
    addresses: list[_Item] = []
    ports: dict[str, list[_Item]] = {}
    for rule in rules:
        key = _address_key(rule)
        if key is not None:
            addresses.append(_Item(key, rule))
        else:
            protocol, port = _port_key(rule)
            ports.setdefault(protocol, []).append(_Item(port, rule))
    out: dict[str, list[str]] = {chain: []}
    _grow(out, chain, sorted(addresses), _address_space(family, prefix), 0)
    for protocol, items in sorted(ports.items()):
        _grow(out, chain, sorted(items), _port_space(protocol, prefix), 0)
    return {name: "".join(f"-A {name} {rule}\n" for rule in lines) for name, lines in out.items()}


def _grow(
    out: dict[str, list[str]], chain: str, items: list[_Item], space: _Space, length: int
) -> None:
    """Put items, which have their first ``length`` bits in common, into a chain."""
    if len(items) <= LEAF or items[0].key == items[-1].key:
        out[chain] += [item.rule for item in items]
        return
    # As many whole steps as all have in common need no level of their own.
    common = space.bits - (items[0].key ^ items[-1].key).bit_length()
    length = max(length, common // _STEP * _STEP) + _STEP
    for first, part in _parts(items, space.bits - length):
        branch = space.name(first, length)
        out[chain].append(f"{space.match(first, length)}-j {branch}")
        out[branch] = []
        _grow(out, branch, part, space, length)


def _parts(items: list[_Item], shift: int) -> Iterator[tuple[int, list[_Item]]]:
    start = 0
    for end in range(1, len(items) + 1):
        if end == len(items) or items[end].key >> shift != items[start].key >> shift:
            yield items[start].key >> shift << shift, items[start:end]
            start = end


def _address_space(family: Family, prefix: str) -> _Space:
    size = 4 if family is Family.IPV4 else 16

    def network(first: int, length: int) -> str:
        return f"{unpack_address(first.to_bytes(size, 'big'))}/{length}"

    def name(first: int, length: int) -> str:
        text = network(first, length)
        if family is Family.IPV6:  # too long for a chain's name, which has 28 characters at most
            text = base64.b32encode(hashlib.sha256(text.encode()).digest()[:10]).decode()
        return prefix + text

    return _Space(size * 8, lambda first, length: f"-d {network(first, length)} ", name)


def _port_space(protocol: str, prefix: str) -> _Space:
    def ports(first: int, length: int, between: str) -> str:
        return f"{first}{between}{first + (1 << (16 - length)) - 1}"

    def match(first: int, length: int) -> str:
        return f"-p {protocol} -m {protocol} --dport {ports(first, length, ':')} "

    def name(first: int, length: int) -> str:
        return f"{prefix}{protocol.upper()}:{ports(first, length, '-')}"

    return _Space(16, match, name)


def _address_key(rule: str) -> int | None:
    """The destination that a rule begins with, as a number."""
    if not rule.startswith("-d "):
        return None
    address = rule[3 : rule.index("/")]
    return int.from_bytes(pack_address(IPAddress(address)), "big")


def _port_key(rule: str) -> tuple[str, int]:
    protocol = rule.split(" ", 2)[1]
    port = rule.rpartition(" --dport ")[2].partition(" ")[0]
    return protocol, int(port)
