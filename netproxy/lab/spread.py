"""How evenly connections are spread, and how even chance alone would have made them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """Counts per endpoint, held against an even spread."""

    counts: Mapping[str, int]
    expected: float
    """Connections per endpoint if the spread were perfectly even."""
    sigma: float
    """By how much one endpoint's count strays from that by chance (binomial, one sigma)."""
    chi_square: float
    p_value: float
    """How often chance alone is at least this uneven: near 0 means that it was not chance."""

    def deviation(self, endpoint: str) -> float:
        """Of one endpoint, in sigmas."""
        return (self.counts[endpoint] - self.expected) / self.sigma if self.sigma else 0.0


def measure_spread(counts: Mapping[str, int], endpoints: Sequence[str]) -> Spread:
    """The evenness of the counts; an endpoint without a count counts as 0.

    Example:
        >>> spread = measure_spread({"a": 60, "b": 40}, ["a", "b"])
        >>> spread.expected, spread.sigma, spread.chi_square, round(spread.p_value, 4)
        (50.0, 5.0, 4.0, 0.0455)
    """
    full = {endpoint: counts.get(endpoint, 0) for endpoint in endpoints}
    total, kinds = sum(full.values()), len(full)
    if not total or kinds < 2:
        return Spread(full, float(total), 0.0, 0.0, 1.0)
    expected = total / kinds
    sigma = math.sqrt(total * (1 / kinds) * (1 - 1 / kinds))
    chi_square = sum((count - expected) ** 2 for count in full.values()) / expected
    return Spread(full, expected, sigma, chi_square, chi_square_tail(chi_square, kinds - 1))


def chi_square_tail(value: float, freedom: int) -> float:
    """The probability that a chi-square variable of so many degrees of freedom exceeds a value.

    The closed sums for whole degrees of freedom (Abramowitz and Stegun, 26.4.4 and 26.4.5).

    Example:
        >>> round(chi_square_tail(3.841, 1), 3), round(chi_square_tail(5.991, 2), 3)
        (0.05, 0.05)
    """
    half = value / 2
    if freedom % 2 == 0:
        term = total = math.exp(-half)
        for index in range(1, freedom // 2):
            term *= half / index
            total += term
        return min(1.0, total)
    total = math.erfc(math.sqrt(half))
    term = math.exp(-half) * math.sqrt(half) / math.gamma(1.5)
    for index in range((freedom - 1) // 2):
        total += term
        term *= half / (index + 1.5)
    return min(1.0, total)
