"""The same scenario in IPv6: every IPv4 address has its place in a prefix of IPv6.

A scenario that speaks of IPv4 alone is told a second time so, rather than written twice.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

from netproxy.core.config import ProxyMode
from netproxy.model.ip import Family, IPAddress, Prefix, parse_address
from tests.scenarios.story import Story, read_stories

_PLACE = "fd00:4::"
"""In the last 32 bits of this prefix are the IPv4 addresses."""
_SPECIAL = {"127.0.0.1": "::1", "0.0.0.0": "::"}

_T = TypeVar("_T")


def all_stories(mode: ProxyMode) -> list[Story]:
    """Each scenario file as it is written, and in IPv6 if it speaks of IPv4 alone."""
    return read_stories(mode) + stories_in_ipv6(mode)


def stories_in_ipv6(mode: ProxyMode) -> list[Story]:
    """Those that speak of IPv4 alone, in IPv6."""
    in_ipv6 = (mirrored(story) for story in read_stories(mode))
    return [story for story in in_ipv6 if story is not None]


def mirrored(story: Story) -> Story | None:
    """The story in IPv6; None when it speaks of IPv6 already."""
    if _speaks_ipv6((story.config, [step[1:] for step in story.steps])):
        return None
    interfaces = tuple(
        each._replace(addresses=tuple(_mirror_cidr(a) for a in each.addresses if ":" not in a))
        for each in story.interfaces
    )
    return story._replace(
        path=story.path.with_stem(f"{story.path.stem}-ipv6"),
        config=_mirror(story.config),
        interfaces=interfaces,
        steps=_mirror(story.steps),
        covers=tuple((row, (Family.IPV6,)) for row, _ in story.covers),
        golden="",
    )


def _speaks_ipv6(value: object) -> bool:
    if isinstance(value, str):
        return _family(value) is Family.IPV6
    if isinstance(value, tuple | list | frozenset):
        return any(_speaks_ipv6(each) for each in value)
    return False


def _mirror(value: _T) -> _T:
    """The same value with all that is IPv4 in IPv6, however deep inside."""
    return cast("_T", _mirror_any(value))


def _mirror_any(value: Any) -> Any:
    if value is Family.IPV4:
        return Family.IPV6
    if isinstance(value, Prefix):
        return _mirror_prefix(value)
    if isinstance(value, str):
        return _mirror_address(value) if _family(value) is Family.IPV4 else value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_mirror_any(each) for each in value))
    if isinstance(value, tuple | frozenset):
        return type(value)(_mirror_any(each) for each in value)
    return value


def _mirror_prefix(prefix: Prefix) -> Prefix:
    if prefix.length == 0:
        return Prefix(IPAddress("::"), 0)
    if prefix.address.startswith("127."):
        return Prefix(IPAddress("::1"), 128)
    return Prefix(_mirror_address(prefix.address), prefix.length + 96)


def _mirror_cidr(text: str) -> str:
    address, _, length = text.partition("/")
    return f"{_mirror_address(address)}/{int(length) + 96}"


def _mirror_address(text: str) -> IPAddress:
    return parse_address(_SPECIAL.get(text, f"{_PLACE}{text}"))


def _family(text: str) -> Family | None:
    try:
        return Family.IPV6 if ":" in parse_address(text) else Family.IPV4
    except ValueError:
        return None
