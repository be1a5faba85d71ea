"""What chance alone would do, held against published tables and against itself."""

from __future__ import annotations

import pytest

from netproxy.lab.spread import chi_square_tail, measure_spread


@pytest.mark.parametrize(
    ("value", "freedom", "tail"),
    [
        # Critical values of the chi-square distribution, as every table of statistics has them.
        (3.841, 1, 0.05),
        (6.635, 1, 0.01),
        (5.991, 2, 0.05),
        (7.815, 3, 0.05),
        (16.266, 3, 0.001),
        (9.488, 4, 0.05),
        (18.307, 10, 0.05),
        (24.996, 15, 0.05),
        (124.342, 100, 0.05),
        (0.0, 1, 1.0),
        (0.0, 4, 1.0),
    ],
)
def test_tail_agrees_with_the_tables(value: float, freedom: int, tail: float) -> None:
    assert chi_square_tail(value, freedom) == pytest.approx(tail, rel=2e-3)


def test_an_endpoint_that_got_nothing_counts() -> None:
    spread = measure_spread({"a": 100}, ["a", "b"])
    assert spread.counts == {"a": 100, "b": 0}
    assert spread.p_value < 1e-20
    assert spread.deviation("b") == -10.0


def test_a_perfectly_even_spread_is_plausible() -> None:
    spread = measure_spread({"a": 50, "b": 50, "c": 50}, ["a", "b", "c"])
    assert spread.p_value == 1.0
    assert spread.deviation("c") == 0.0


@pytest.mark.parametrize(("counts", "endpoints"), [({}, ["a", "b"]), ({"a": 3}, ["a"]), ({}, [])])
def test_nothing_to_compare_is_not_uneven(counts: dict[str, int], endpoints: list[str]) -> None:
    assert measure_spread(counts, endpoints).p_value == 1.0
