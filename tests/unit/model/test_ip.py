"""Addresses: one canonical text each, whatever form they came in."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netproxy.model.ip import (
    Family,
    IPAddress,
    Prefix,
    family_of,
    pack_address,
    parse_address,
    parse_prefix,
    unpack_address,
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("010.000.00.01", "10.0.0.1"),
        ("255.255.255.255", "255.255.255.255"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::FFFF:a00:1", "10.0.0.1"),
        ("FD00::0001", "fd00::1"),
        ("fd00:0:0:0:0:0:0:1", "fd00::1"),
        ("::", "::"),
        ("1:0:0:2:0:0:0:3", "1:0:0:2::3"),
    ],
)
def test_an_address_has_one_text(text: str, canonical: str) -> None:
    assert parse_address(text) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0",
        "10.0.0.0.1",
        "10.0.0.",
        "10.0.0.+1",
        "10.0.0.1 ",
        "10.0.0.0001",
        "10.0.0.0x1",
        "\u0661.0.0.1",
        "10.0.0.²",
        "fd00::1%eth0",
        "fd00::1/64",
        "1::2::3",
        "g::1",
        "fd00::1\0",
        "\ud800::1",
        "localhost",
        "None",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not an IP address") as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)


def test_a_part_that_is_too_large_is_named() -> None:
    with pytest.raises(ValueError, match=r"^'10\.0\.300\.1' is not an IP address: 300 is above"):
        parse_address("10.0.300.1")


@given(st.ip_addresses())
def test_ipaddress_agrees(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    mapped = getattr(address, "ipv4_mapped", None)
    expected = mapped or address
    ours = parse_address(str(address))
    assert ipaddress.ip_address(ours) == expected
    assert pack_address(ours) == expected.packed
    assert unpack_address(expected.packed) == ours
    assert family_of(ours) == expected.version


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        (" 10.1.2.3/8\t", "10.0.0.0/8"),
        ("010.1.2.3/32", "10.1.2.3/32"),
        ("10.1.2.3/0", "0.0.0.0/0"),
        ("10.255.255.255/9", "10.128.0.0/9"),
        ("fd00:1:2::3/32", "fd00:1::/32"),
        ("fd00::ffff/127", "fd00::fffe/127"),
        ("::1/0", "::/0"),
        ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
        ("::ffff:10.1.2.3/128", "10.1.2.3/32"),
    ],
)
def test_a_prefix_has_its_host_bits_cleared(text: str, canonical: str) -> None:
    assert str(parse_prefix(text)) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10.0.0.0", "'10.0.0.0' is not a prefix such as 10.0.0.0/8"),
        ("10.0.0.0/", "'10.0.0.0/' is not a prefix such as 10.0.0.0/8"),
        ("10.0.0.0/-1", "'10.0.0.0/-1' is not a prefix such as 10.0.0.0/8"),
        ("10.0.0.0/8/8", "'10.0.0.0/8/8' is not a prefix such as 10.0.0.0/8"),
        ("10.0.0.0/255.0.0.0", "'10.0.0.0/255.0.0.0' is not a prefix such as 10.0.0.0/8"),
        ("10.0.0.0/²", "'10.0.0.0/²' is not a prefix such as 10.0.0.0/8"),
        ("10.0.0/8", "'10.0.0' is not an IP address"),
        ("10.0.0.0/33", "'10.0.0.0/33': the prefix length must be between 0 and 32"),
        ("fd00::/129", "'fd00::/129': the prefix length must be between 0 and 128"),
        ("::ffff:10.0.0.0/8", "'::ffff:10.0.0.0/8': the prefix length must be between 0 and 32"),
    ],
)
def test_what_is_no_prefix(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"is not|must be") as caught:
        parse_prefix(text)
    assert str(caught.value) == message


@given(st.ip_addresses(), st.integers(0, 128), st.ip_addresses())
def test_ipaddress_agrees_on_what_is_inside(
    base: ipaddress.IPv4Address | ipaddress.IPv6Address,
    length: int,
    other: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if getattr(base, "ipv4_mapped", None) or getattr(other, "ipv4_mapped", None):
        return
    length = min(length, base.max_prefixlen)
    ours = parse_prefix(f"{base}/{length}")
    theirs = ipaddress.ip_network(f"{base}/{length}", strict=False)
    assert str(ours) == str(theirs)
    assert ours.family == theirs.version
    assert ours.contains(parse_address(str(other))) == (other in theirs)
    assert ours.contains(parse_address(str(theirs.network_address)))
    assert ours.contains(parse_address(str(theirs.broadcast_address)))


@pytest.mark.parametrize(
    ("prefix", "address", "inside"),
    [
        ("10.0.0.0/8", "10.255.255.255", True),
        ("10.0.0.0/8", "11.0.0.0", False),
        ("10.0.0.1/32", "10.0.0.1", True),
        ("10.0.0.1/32", "10.0.0.0", False),
        ("0.0.0.0/0", "fd00::1", False),
        ("::/0", "10.0.0.1", False),
        ("::/0", "fd00::1", True),
        ("fd00::/127", "fd00::2", False),
    ],
)
def test_contains(prefix: str, address: str, inside: bool) -> None:
    assert parse_prefix(prefix).contains(IPAddress(address)) is inside


def test_words_for_families() -> None:
    assert [f.label for f in Family] == ["IPv4", "IPv6"]
    assert Prefix(IPAddress("fd00::"), 8).family is Family.IPV6
    assert Prefix(IPAddress("10.0.0.0"), 8).family is Family.IPV4
