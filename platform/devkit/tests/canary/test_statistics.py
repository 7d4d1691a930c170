"""The tests of the analysis keep their probabilities."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devkit.canary.analysis.statistics import (
    FALSE_ALARM,
    binomial_quantile,
    level,
    tail_probability,
)

pytestmark = pytest.mark.unit

COUNTS = st.integers(1, 60).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))


def exact(bad: int, of: int, other_bad: int, other_of: int) -> Fraction:
    """Return the tail of the hypergeometric distribution by counting."""
    drawn = bad + other_bad
    ways = sum(comb(of, k) * comb(other_of, drawn - k) for k in range(bad, min(of, drawn) + 1))
    return Fraction(ways, comb(of + other_of, drawn))


@given(COUNTS, COUNTS)
def test_fishers_test_is_exact(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert tail_probability(*one, *other) == pytest.approx(float(exact(*one, *other)), rel=1e-9)


@pytest.mark.parametrize(
    ("bad", "of", "other_bad", "other_of"),
    [(30_400, 600_000, 30_000, 600_000), (10_500, 100_000, 90_000, 900_000)],
)
def test_large_counts_are_judged_nearly_as_exactly(
    bad: int, of: int, other_bad: int, other_of: int
) -> None:
    approximate = tail_probability(bad, of, other_bad, other_of)
    assert approximate == pytest.approx(_summed(bad, of, other_bad, other_of), rel=0.02)


def _summed(bad: int, of: int, other_bad: int, other_of: int) -> float:
    """Return the exact tail of large counts by its ratios of successive terms."""
    drawn = bad + other_bad
    terms, term = [1.0], 1.0
    for k in range(bad, min(of, drawn)):
        term *= (of - k) * (drawn - k) / ((k + 1) * (other_of - drawn + k + 1))
        terms.append(term)
    tail = sum(terms)
    below, term = 0.0, 1.0
    for k in range(bad, max(0, drawn - other_of), -1):
        term *= k * (other_of - drawn + k) / ((of - k + 1) * (drawn - k + 1))
        below += term
    return tail / (tail + below)


def test_the_levels_of_all_looks_add_up_to_the_false_alarms_that_are_allowed() -> None:
    looks = range(1, 10_000)
    assert sum(12 * level(look, 12) for look in looks) == pytest.approx(FALSE_ALARM, rel=1e-3)


@given(st.integers(1, 400), st.floats(0.001, 0.9))
def test_a_quantile_is_exceeded_as_often_as_it_says(of: int, share: float) -> None:
    k = binomial_quantile(of, share, 0.05)
    below = sum(comb(of, i) * share**i * (1 - share) ** (of - i) for i in range(k))
    assert below <= 0.05 + 1e-9
    assert below + comb(of, k) * share**k * (1 - share) ** (of - k) > 0.05 - 1e-9
