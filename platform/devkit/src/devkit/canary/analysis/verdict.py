"""The result of an analysis: each figure of both sides, and what follows from all of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Comparison", "Outcome", "Traffic", "Verdict"]


class Outcome(StrEnum):
    """The consequence of a comparison, or of all comparisons of a look."""

    PASS = "pass"
    HOLD = "hold"
    FAIL = "fail"


@dataclass(frozen=True)
class Traffic:
    """The traffic of a canary that is too little for a figure.

    Args:
        seen: what the canary got since the step began.
        needed: what it needs, with stable's in the same proportion as now.
        unit: what is counted.
    """

    seen: float
    needed: float
    unit: str

    @classmethod
    def lacking(cls, outcome: Outcome, seen: float, needed: float, unit: str) -> "Traffic | None":
        """Return the traffic of a figure that holds because that is too little; else None."""
        return cls(seen, needed, unit) if outcome is Outcome.HOLD and seen < needed else None


@dataclass(frozen=True)
class Comparison:
    """A figure of both sides.

    Args:
        gate: the name of the figure.
        kind: the event type, method or path that failed; empty for all kinds together.
        stable: stable's figure with its counts: "0.1 % (2 of 1800 events)".
        canary: the canary's.
        needed: the evidence that the gate needs: "300 events"; empty if it needs none.
        outcome: what follows from this figure alone.
        reason: why, unless it passes.
        probability: the probability of this difference if both sides were equally good.
        traffic: the canary's, if it holds because that is too little.
    """

    gate: str
    kind: str
    stable: str
    canary: str
    needed: str
    outcome: Outcome
    reason: str = ""
    probability: float = 1.0
    traffic: Traffic | None = None


@dataclass(frozen=True)
class Verdict:
    """All comparisons of a look.

    Args:
        comparisons: the figures for which stable has traffic, and those of the pods themselves.
        idle: whether the canary had nothing to do.
    """

    comparisons: tuple[Comparison, ...]
    idle: bool

    @property
    def outcome(self) -> Outcome:
        """FAIL if a figure fails, else HOLD if one holds or the canary was idle, else PASS."""
        outcomes = {comparison.outcome for comparison in self.comparisons}
        if Outcome.FAIL in outcomes:
            return Outcome.FAIL
        return Outcome.HOLD if Outcome.HOLD in outcomes or self.idle else Outcome.PASS

    @property
    def reason(self) -> str:
        """Why the canary fails or holds, a sentence for each figure that does; empty for PASS."""
        reasons = list(_reasons(self.comparisons, self.outcome))
        if self.idle and self.outcome is Outcome.HOLD:
            reasons.insert(0, "the canary has no traffic")
        return "; ".join(reasons)

    def of(self, outcome: Outcome) -> tuple[Comparison, ...]:
        """Return the comparisons with an outcome."""
        return tuple(each for each in self.comparisons if each.outcome is outcome)


def _reasons(comparisons: Iterable[Comparison], outcome: Outcome) -> Iterable[str]:
    if outcome is not Outcome.PASS:
        for each in comparisons:
            if each.outcome is outcome:
                yield f"{each.gate}{f' of {each.kind}' if each.kind else ''}: {each.reason}"
