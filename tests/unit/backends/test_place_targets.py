"""Which endpoint stands at which index: as few as possible move."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netproxy.backends.nftables.compile import place_targets

CASES = {
    "from nothing": ("", "abc", "abc"),
    "the same": ("abc", "abc", "abc"),
    "the same in another order": ("cab", "abc", "cab"),
    "one more": ("abc", "abcd", "abcd"),
    "one more that sorts first": ("bcd", "abcd", "bcda"),
    "the last one goes": ("abc", "ab", "ab"),
    "the first one goes": ("abc", "bc", "cb"),
    "one in the middle goes": ("abcd", "acd", "adc"),
    "one is replaced": ("abc", "acd", "adc"),
    "all are replaced": ("abc", "def", "def"),
    "all go": ("abc", "", ""),
    "only one stays": ("abcd", "d", "d"),
}


def _split(text: str) -> tuple[bytes, ...]:
    return tuple(letter.encode() for letter in text)


@pytest.mark.parametrize(("before", "wanted", "placed"), CASES.values(), ids=CASES.keys())
def test_places(before: str, wanted: str, placed: str) -> None:
    assert place_targets(_split(before), _split(wanted)) == _split(placed)


endpoints = st.lists(st.sampled_from(_split("abcdefgh")), unique=True).map(tuple)


@given(endpoints, endpoints)
def test_everybody_has_one_place_and_whoever_can_stay_stays(
    before: tuple[bytes, ...], wanted: tuple[bytes, ...]
) -> None:
    placed = place_targets(before, wanted)
    assert Counter(placed) == Counter(wanted)
    for index, target in enumerate(before[: len(wanted)]):
        if target in wanted:
            assert placed[index] == target
    assert place_targets(placed, wanted) == placed


@pytest.mark.parametrize("count", [5, 100, 1000])
def test_one_endpoint_more_or_less_moves_at_most_one(count: int) -> None:
    many = tuple(b"%05d" % number for number in range(count))
    for gone in (0, count // 2, count - 1):
        fewer = tuple(sorted({*many} - {many[gone]}))
        placed = place_targets(many, fewer)
        assert sum(a != b for a, b in zip(many, placed, strict=False)) == (gone < count - 1)
        again = place_targets(placed, many)
        assert again[:-1] == placed
        assert again[-1] == many[gone]
