"""How long a step that has too little traffic will hold."""

from dataclasses import dataclass

from devkit.canary.analysis.verdict import Outcome, Verdict

__all__ = ["Pace", "pace_of"]


@dataclass(frozen=True)
class Pace:
    """The time until a step has enough traffic, if that stays as it is.

    Args:
        seconds_left: the time until the figure that needs the longest has enough.
        per_second: how many of its `unit` the canary gets in a second.
    """

    seconds_left: float
    per_second: float
    unit: str

    def __str__(self) -> str:
        left = self.seconds_left
        time = f"{left:.0f} s" if left < 120 else f"{left / 60:.0f} min"
        return f"about {time} more at {self.per_second:.1f} {self.unit}/s"


def pace_of(verdict: Verdict, seconds: float) -> Pace | None:
    """Return the pace of a step that holds after `seconds`; None without traffic or if none lacks.

    The evidence that is needed grows slowly with each look, so that it is a lower bound.
    """
    lacking = [each.traffic for each in verdict.of(Outcome.HOLD) if each.traffic]
    if not lacking or not all(traffic.seen for traffic in lacking):
        return None
    paces = (
        Pace((each.needed - each.seen) * seconds / each.seen, each.seen / seconds, each.unit)
        for each in lacking
    )
    return max(paces, key=lambda pace: pace.seconds_left)
