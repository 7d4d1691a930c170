"""Comparisons of shares: of all requests or events, those that failed."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil

from devkit.canary.analysis.gates import ShareGate
from devkit.canary.analysis.increase import Increase
from devkit.canary.analysis.kinds import Mix, kind_of, mix_of
from devkit.canary.analysis.rounding import about
from devkit.canary.analysis.selectors import Selector
from devkit.canary.analysis.statistics import MISSED, binomial_quantile, tail_probability
from devkit.canary.analysis.verdict import Comparison, Outcome, Traffic
from devkit.canary.analysis.window import Window

__all__ = ["Count", "ShareFigure", "needed", "share_figures"]

# A client or a key whose request fails repeats it, so that few failures may have one cause.
_FEWEST = 5
_ENDLESS = 100_000_000


@dataclass(frozen=True)
class Count:
    """A number of requests or events, and how many of them are bad."""

    bad: int = 0
    of: int = 0

    @property
    def share(self) -> float:
        """The share of the bad ones, 0 without any."""
        return self.bad / self.of if self.of else 0.0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.bad + other.bad, self.of + other.of)

    def mirrored(self) -> "Count":
        """Return the count of those that are not bad."""
        return Count(self.of - self.bad, self.of)


@dataclass(frozen=True)
class ShareFigure:
    """The counts of both sides, of one kind or (`kind` empty) of all."""

    gate: ShareGate
    kind: str
    stable: Count
    canary: Count
    canary_parts: tuple[Count, ...]

    @property
    def compared(self) -> bool:
        """Whether both sides have traffic."""
        return bool(self.stable.of and self.canary.of)

    @cached_property
    def probability(self) -> float:
        """The probability of such a difference between equal sides."""
        larger = tail_probability(self.canary.bad, self.canary.of, self.stable.bad, self.stable.of)
        if not self.gate.either:
            return larger
        stable, canary = self.stable.mirrored(), self.canary.mirrored()
        smaller = tail_probability(canary.bad, canary.of, stable.bad, stable.of)
        return min(1.0, 2 * min(larger, smaller))

    def judge(self, level: float) -> Comparison:
        """Return what follows from the counts, at this level of the test."""
        enough = needed(self.gate, self.stable, self.canary, level)
        outcome, reason = self._outcome(level, enough)
        return Comparison(
            self.gate.name,
            self.kind,
            self._text(self.stable),
            self._text(self.canary),
            f"{about(enough)} {self.gate.unit}",
            outcome,
            reason,
            self.probability,
            Traffic.lacking(outcome, self.canary.of, enough, self.gate.unit),
        )

    def _outcome(self, level: float, enough: int) -> tuple[Outcome, str]:
        if self._enough and self.probability <= level and self._differs(self.canary):
            both = f"canary {self._text(self.canary)}, stable {self._text(self.stable)}"
            if not self._lasts:
                return Outcome.HOLD, f"the difference came in one burst: {both}"
            return Outcome.FAIL, f"{both}, p = {self.probability:.1g}"
        if self.canary.of < enough:
            return Outcome.HOLD, f"too little traffic: {self.canary.of} of about {about(enough)}"
        return Outcome.PASS, ""

    @property
    def _enough(self) -> bool:
        """Whether both sides have traffic, and more than a few requests are bad."""
        bad = self.stable.bad + self.canary.bad if self.gate.either else self.canary.bad
        return self.compared and bad >= _FEWEST

    def _differs(self, canary: Count) -> bool:
        """Return whether the difference is large enough to abort."""
        rises = canary.share - self.stable.share >= self.gate.margin.least
        falls = self.gate.either and self.stable.share - canary.share >= self.gate.margin.least
        return rises or falls

    @property
    def _lasts(self) -> bool:
        """Whether the difference remains without the part of the time in which it is largest."""
        if len(self.canary_parts) < 3:
            return True
        rises = self.canary.share > self.stable.share
        worst = max(self.canary_parts, key=lambda part: part.bad if rises else part.of - part.bad)
        rest = Count(self.canary.bad - worst.bad, self.canary.of - worst.of)
        return bool(rest.of) and self._differs(rest)

    def _text(self, count: Count) -> str:
        return f"{count.share:.1%} ({count.bad} of {count.of} {self.gate.unit})"


def share_figures(gate: ShareGate, window: Window) -> Iterator[ShareFigure]:
    """Yield the figure of all kinds together, then one of each kind that both sides have.

    Nothing is yielded if stable has no traffic, because then there is nothing to compare with.
    """
    stable, canary = _counts(gate, window.stable), _counts(gate, window.canary)
    parts = [_counts(gate, part) for part in window.canary_parts]
    mix = mix_of(
        {kind: count.of for kind, count in stable.items()},
        {kind: count.of for kind, count in canary.items()},
    )
    if stable:
        yield ShareFigure(
            gate,
            "",
            _weighted(stable, mix) if mix.shares else _total(stable, stable),
            _total(canary, mix.shares),
            tuple(_total(part, mix.shares) for part in parts),
        )
    for kind in mix.shares if len(mix.shares) > 1 else ():
        yield ShareFigure(
            gate,
            kind,
            stable[kind],
            canary[kind],
            tuple(part.get(kind, Count()) for part in parts),
        )


def needed(gate: ShareGate, stable: Count, canary: Count, level: float) -> int:
    """Return how many requests the canary needs, with stable's in the same proportion as now.

    With them, a look misses a canary whose share is larger by `matters` in `MISSED` of all cases.
    """
    base = min(stable.share, 1 - gate.margin.matters)
    ratio = stable.of / canary.of if stable.of and canary.of else 1.0

    def suffices(of: int) -> bool:
        bad = binomial_quantile(of, base + gate.margin.matters, MISSED)
        other = round(of * ratio)
        found = tail_probability(bad, of, _round_up(other * base), other) <= level
        return found and bad >= _FEWEST and bad / of - base >= gate.margin.least

    high = 8
    while not suffices(high) and high < _ENDLESS:
        high *= 2
    low = high // 2
    while high - low > max(1, high // 50):
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def _counts(gate: ShareGate, increased: Increase) -> Mapping[str, Count]:
    """Return the counts of each kind."""
    bad = _by_kind(gate.bad, gate.by, increased)
    of = _by_kind(gate.of, gate.by, increased)
    # Two counters are not read at one instant, so that the bad ones may exceed all by some.
    return {kind: Count(min(bad.get(kind, 0), all_), all_) for kind, all_ in of.items() if all_}


def _by_kind(
    selectors: Iterable[Selector], by: tuple[str, ...], increased: Increase
) -> Mapping[str, int]:
    sums: defaultdict[str, float] = defaultdict(float)
    for series, value in increased.items():
        if any(selector.matches(series) for selector in selectors):
            sums[kind_of(series, by)] += value
    return {kind: round(value) for kind, value in sums.items()}


def _weighted(counts: Mapping[str, Count], mix: Mix) -> Count:
    """Return the counts as they would be with the canary's mix of kinds, rounded up."""
    share = sum(weight * counts[kind].share for kind, weight in mix.shares.items())
    return Count(_round_up(mix.effective * share), round(mix.effective))


def _round_up(number: float) -> int:
    """Return the next integer; a sum of floating-point numbers is inexact."""
    return ceil(round(number, 6))


def _total(counts: Mapping[str, Count], kinds: Iterable[str]) -> Count:
    return sum((counts.get(kind, Count()) for kind in kinds), Count())
