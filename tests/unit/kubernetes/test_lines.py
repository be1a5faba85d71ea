"""Lines out of pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netproxy.kubernetes.lines import LineSplitter, LineTooLongError

PIECES = st.lists(st.binary(max_size=5) | st.just(b"\n") | st.just(b"a\nb\n"))


@given(PIECES)
def test_where_a_stream_is_cut_does_not_matter(pieces: list[bytes]) -> None:
    splitter = LineSplitter(limit=1000)
    found = [line for piece in pieces for line in splitter.feed(piece)]
    expected = b"".join(pieces).split(b"\n")[:-1]
    assert found == [line.removesuffix(b"\r") for line in expected]


@given(PIECES)
def test_no_longer_line_comes_through(pieces: list[bytes]) -> None:
    splitter = LineSplitter(limit=3)
    lengths = [len(line) for line in b"".join(pieces).split(b"\n")]
    try:
        for piece in pieces:
            for line in splitter.feed(piece):
                assert len(line) <= 3
        assert max(lengths) <= 3
    except LineTooLongError:
        assert max(lengths) > 3


def test_a_line_that_never_ends_is_not_collected() -> None:
    splitter = LineSplitter(limit=10)
    assert [list(splitter.feed(b"x")) for _ in range(10)] == [[]] * 10
    with pytest.raises(LineTooLongError):
        list(splitter.feed(b"x"))
