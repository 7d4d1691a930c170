"""Comparisons of histograms: how long requests and handlers take, and what amounts are."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, isinf, log, sqrt
from statistics import NormalDist

from devkit.canary.analysis.gates import DistanceGate
from devkit.canary.analysis.increase import Increase
from devkit.canary.analysis.kinds import kind_of, mix_of
from devkit.canary.analysis.rounding import about
from devkit.canary.analysis.statistics import MISSED, distance_probability
from devkit.canary.analysis.verdict import Comparison, Outcome, Traffic
from devkit.canary.analysis.window import Window

__all__ = ["Distance", "DistanceFigure", "Histogram", "distance_figures"]

_POWER = NormalDist().inv_cdf(1 - MISSED)
"""By how many standard deviations an observed distance may fall short of the real one."""


@dataclass(frozen=True)
class Histogram:
    """A distribution.

    Args:
        of: how many values were observed; for a weighted distribution, how many have its evidence.
        above: the share of the values above each bound, by bound; 0 above infinity.
    """

    of: float
    above: Mapping[float, float]


_NOTHING = Histogram(0.0, {})


@dataclass(frozen=True)
class Distance:
    """Where two distributions differ most.

    Args:
        size: the difference of the shares, positive if the canary's values are larger.
        stable_bound: the bound that stable's share `stable_share` exceeds.
        stable_share: that share.
        canary_bound: the bound that the canary's share `canary_share` exceeds.
        canary_share: that share.
    """

    size: float
    stable_bound: float
    stable_share: float
    canary_bound: float
    canary_share: float


@dataclass(frozen=True)
class DistanceFigure:
    """The distributions of both sides, of one kind or (`kind` empty) of all."""

    gate: DistanceGate
    kind: str
    stable: Histogram
    canary: Histogram
    canary_parts: tuple[Histogram, ...]

    @property
    def compared(self) -> bool:
        """Whether both sides have traffic."""
        return bool(self.stable.of and self.canary.of and self._bounds)

    @cached_property
    def distance(self) -> Distance:
        """The largest distance between both distributions."""
        candidates = [self._at(*pair) for pair in self._pairs()]
        if self.gate.either:
            return max(candidates, key=lambda each: abs(each.size))
        return max(candidates, key=lambda each: each.size)

    @cached_property
    def probability(self) -> float:
        """The probability of such a distance between equal sides."""
        if not self.compared:
            return 1.0
        size = abs(self.distance.size) if self.gate.either else self.distance.size
        directions = 2 if self.gate.either else 1
        return min(1.0, directions * distance_probability(size, self.canary.of, self.stable.of))

    def judge(self, level: float) -> Comparison:
        """Return what follows from the distributions, at this level of the test."""
        least = self._needed(level)
        outcome, reason = self._outcome(level, least)
        return Comparison(
            self.gate.name,
            self.kind,
            self._text(self.stable),
            self._text(self.canary),
            f"{about(least)} {self.gate.unit}",
            outcome,
            reason,
            self.probability,
            Traffic.lacking(outcome, self.canary.of, least, self.gate.unit),
        )

    def _outcome(self, level: float, least: float) -> tuple[Outcome, str]:
        if self.compared and self.probability <= level and self._differs(self.distance.size):
            if not self._lasts:
                return Outcome.HOLD, f"the difference came in one burst: {self._explanation}"
            return Outcome.FAIL, f"{self._explanation}, p = {self.probability:.1g}"
        if self.canary.of and not self._bounds:
            return Outcome.HOLD, "the canary and stable have no bound of a bucket in common"
        if self.canary.of < least:
            return Outcome.HOLD, f"too little traffic: {self.canary.of:.0f} of about {about(least)}"
        return Outcome.PASS, ""

    def _needed(self, level: float) -> float:
        """Return how many values the canary needs, with stable's in the same proportion as now.

        With them, a look misses a distance that matters in `MISSED` of all cases.
        """
        directions = 2 if self.gate.either else 1
        reach = (sqrt(log(directions / level) / 2) + _POWER / 2) / self.gate.margin.matters
        ratio = self.stable.of / self.canary.of if self.stable.of and self.canary.of else 1.0
        return reach**2 * (1 + ratio) / ratio

    def _differs(self, size: float) -> bool:
        """Return whether a distance is large enough to abort."""
        return (abs(size) if self.gate.either else size) >= self.gate.margin.least

    @property
    def _lasts(self) -> bool:
        """Whether the distance remains without the part of the time in which it is largest."""
        if len(self.canary_parts) < 3:
            return True
        found = self.distance
        sign = 1 if found.size > 0 else -1
        beyond = [part.of * part.above.get(found.canary_bound, 0.0) for part in self.canary_parts]
        excess = [
            sign * (number - part.of * found.stable_share)
            for number, part in zip(beyond, self.canary_parts, strict=True)
        ]
        worst = excess.index(max(excess))
        of = sum(part.of for part in self.canary_parts) - self.canary_parts[worst].of
        share = (sum(beyond) - beyond[worst]) / of if of else 0.0
        return bool(of) and self._differs(share - found.stable_share)

    @cached_property
    def _bounds(self) -> Sequence[float]:
        """The bounds that both sides have, without infinity."""
        return sorted(
            bound for bound in self.stable.above if bound in self.canary.above and not isinf(bound)
        )

    def _pairs(self) -> Iterator[tuple[float, float]]:
        """Yield the bounds at which stable and canary are compared."""
        if self.gate.either:
            yield from zip(self._bounds, self._bounds, strict=True)
        else:
            yield from zip(self._bounds, [*self._bounds[1:], self._bounds[-1]], strict=True)

    def _at(self, stable_bound: float, canary_bound: float) -> Distance:
        stable, canary = self.stable.above[stable_bound], self.canary.above[canary_bound]
        return Distance(canary - stable, stable_bound, stable, canary_bound, canary)

    @property
    def _explanation(self) -> str:
        found, unit = self.distance, self.gate.unit
        return (
            f"{found.canary_share:.0%} of the canary's {self.canary.of:.0f} {unit} exceed"
            f" {self._value(found.canary_bound)}, {found.stable_share:.0%} of stable's"
            f" {self.stable.of:.0f} exceed {self._value(found.stable_bound)}"
        )

    def _text(self, histogram: Histogram) -> str:
        """Return the bounds below which half and 99 of 100 values are."""
        if not histogram.of:
            return f"0 {self.gate.unit}"
        half, most = (self._value(_quantile(histogram, share)) for share in (0.5, 0.99))
        return f"p50 ≤ {half}, p99 ≤ {most} ({histogram.of:.0f} {self.gate.unit})"

    def _value(self, bound: float) -> str:
        if not self.gate.seconds:
            return "∞" if isinf(bound) else f"{bound:g}"
        return "∞" if isinf(bound) else f"{bound:g} s" if bound >= 1 else f"{bound * 1000:g} ms"


def distance_figures(gate: DistanceGate, window: Window) -> Iterator[DistanceFigure]:
    """Yield the figure of all kinds together, then one of each kind that both sides have.

    Nothing is yielded if stable has no traffic, because then there is nothing to compare with.
    """
    stable, canary = _histograms(gate, window.stable), _histograms(gate, window.canary)
    parts = [_histograms(gate, part) for part in window.canary_parts]
    mix = mix_of(
        {kind: histogram.of for kind, histogram in stable.items()},
        {kind: histogram.of for kind, histogram in canary.items()},
    )
    if stable:
        yield DistanceFigure(
            gate,
            "",
            _mixed(stable, mix.shares, mix.effective) if mix.shares else _joined(stable, stable),
            _joined(canary, mix.shares),
            tuple(_joined(part, mix.shares) for part in parts),
        )
    for kind in mix.shares if len(mix.shares) > 1 else ():
        yield DistanceFigure(
            gate,
            kind,
            stable[kind],
            canary[kind],
            tuple(part.get(kind, _NOTHING) for part in parts),
        )


def _histograms(gate: DistanceGate, increased: Increase) -> Mapping[str, Histogram]:
    """Return the histogram of each kind that has values."""
    below: defaultdict[str, defaultdict[float, float]] = defaultdict(lambda: defaultdict(float))
    buckets = gate.buckets
    for series, value in increased.items():
        if buckets.matches(series):
            bound = float(dict(series.labels)["le"])
            below[kind_of(series, gate.by)][bound] += value
    return {
        kind: Histogram(of, {bound: 1 - count / of for bound, count in counts.items()})
        for kind, counts in below.items()
        if (of := counts.get(inf, 0.0)) > 0
    }


def _joined(histograms: Mapping[str, Histogram], kinds: Iterable[str]) -> Histogram:
    """Return the histogram of all values of these kinds together."""
    numbers = {kind: histograms[kind].of for kind in kinds if kind in histograms}
    of = sum(numbers.values())
    if not of:
        return _NOTHING
    return _mixed(histograms, {kind: each / of for kind, each in numbers.items()}, of)


def _mixed(
    histograms: Mapping[str, Histogram], shares: Mapping[str, float], of: float
) -> Histogram:
    """Return the distribution of a mix of kinds, at the bounds that all of them have."""
    bounds = set.intersection(*(set(histograms[kind].above) for kind in shares))
    return Histogram(
        of,
        {
            bound: sum(share * histograms[kind].above[bound] for kind, share in shares.items())
            for bound in bounds
        },
    )


def _quantile(histogram: Histogram, share: float) -> float:
    """Return the smallest bound that at most 1 - `share` of the values exceed."""
    # Sums of floating-point numbers are inexact.
    return min(bound for bound, above in histogram.above.items() if above <= 1 - share + 1e-9)
