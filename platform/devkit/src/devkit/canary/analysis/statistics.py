"""Two exact tests that hold for little traffic, and the level at which they fail a canary.

Shares (errors of requests, failures of events) are compared by Fisher's exact test. It knows the
probability of the counts that were seen, for two sides that do not differ, and needs no number of
requests from which an approximation would hold.

Histograms (times, amounts) are compared by the largest distance of the two distributions, at any
bound of the buckets (Kolmogorov, Smirnov). The probability of a distance has a limit that holds for
every distribution and every number of values (Dvoretzky, Kiefer, Wolfowitz, Massart). It needs
neither a mean nor a variance, which buckets do not have, and a few extreme times do not move it.

The level of a test is the whole canary's probability of a false alarm, spent over its looks and
tests: look i gets 1 / (i * (i + 1)) of it, which adds up to 1 for any number of looks. The tests of
a look share its part equally (Bonferroni), because they depend on one another in unknown ways.

A step is taken only with enough traffic: a look must be able to see the difference that matters,
and miss it in at most 1 of 100 cases.
"""

from math import erfc, exp, lgamma, log, pi, sqrt

__all__ = [
    "FALSE_ALARM",
    "MISSED",
    "binomial_quantile",
    "distance_probability",
    "level",
    "tail_probability",
]

FALSE_ALARM = 0.05
"""The largest probability that a whole canary of a version as good as stable is aborted."""
MISSED = 0.01
"""The probability that a look with enough traffic misses a difference that matters."""
_EXACT_DEVIATION = 60.0


def level(look: int, tests: int) -> float:
    """Return the level of each of the tests of a look; looks are counted from 1 over all steps."""
    return FALSE_ALARM / (look * (look + 1)) / max(1, tests)


def tail_probability(bad: int, of: int, other_bad: int, other_of: int) -> float:
    """Return how probable `bad` or more of a side's `of` are if both sides have the same share.

    This is Fisher's exact test, one-sided. With a standard deviation above 60 the sum is replaced
    by the normal distribution with a correction for the skewness.
    """
    every, drawn = of + other_of, bad + other_bad
    low, high = max(0, drawn - other_of), min(drawn, of)
    if bad <= low:
        return 1.0
    mean = drawn * of / every
    variance = mean * (every - drawn) * other_of / (every * max(1, every - 1))
    if variance > _EXACT_DEVIATION**2:
        skewness = (
            (every - 2 * drawn) * (every - 2 * of) / (every * max(1, every - 2)) / sqrt(variance)
        )
        return _normal_tail((bad - 0.5 - mean) / sqrt(variance), skewness)
    last = int(mean + 40 * sqrt(variance)) + 40
    terms = (_hypergeometric(k, of, other_of, drawn) for k in range(bad, min(high, last) + 1))
    return min(1.0, sum(terms))


def distance_probability(distance: float, of: float, other_of: float) -> float:
    """Return how probable this distance or a larger one is, in one direction, for equal sides."""
    if distance <= 0 or not of or not other_of:
        return 1.0
    return exp(-2 * distance**2 * of * other_of / (of + other_of))


def binomial_quantile(of: int, share: float, probability: float) -> int:
    """Return the largest k that is met or exceeded with a probability of 1 - `probability`.

    Each of `of` requests is bad with the probability `share`.
    """
    if share <= 0 or not of:
        return 0
    if share >= 1:
        return of
    below, k = 0.0, 0
    while k < of:
        below += exp(_log_choose(of, k) + k * log(share) + (of - k) * log(1 - share))
        if below > probability:
            return k
        k += 1
    return of


def _hypergeometric(k: int, of: int, other_of: int, drawn: int) -> float:
    """Return the probability that k of `drawn` fall on the side that has `of`."""
    return exp(
        _log_choose(of, k) + _log_choose(other_of, drawn - k) - _log_choose(of + other_of, drawn)
    )


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _normal_tail(z: float, skewness: float) -> float:
    """Return the upper tail of a nearly normal distribution (Edgeworth's first term)."""
    tail = erfc(z / sqrt(2)) / 2
    correction = skewness / 6 * (z**2 - 1) * exp(-(z**2) / 2) / sqrt(2 * pi)
    return min(1.0, max(0.0, tail + correction))
