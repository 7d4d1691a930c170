"""A simulated canary from its first step to its promotion or its abort."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from devkit.canary.analysis import GATES, Gate, Outcome, Readings, judge
from devkit.canary.analysis.laws import read_laws
from devkit.canary.simulation.traffic import Traffic

__all__ = ["LAWS", "Ending", "Plan", "roll_out"]

LAWS = read_laws([{"name": "authorized amounts", "histogram": "payment_amount", "unit": "orders"}])


@dataclass(frozen=True)
class Plan:
    """How a canary is rolled out.

    Args:
        steps: the weights, in percent.
        interval: the seconds of a step, and between two looks while it holds.
        looks: the looks of an interval; a canary may be aborted by each, and promoted by the last.
        readings: the readings of an interval.
        most_looks: the looks after which a canary that holds is given up.
    """

    steps: Sequence[int] = (5, 10, 25, 50, 100)
    interval: int = 64
    looks: int = 2
    readings: int = 8
    most_looks: int = 60
    gates: Sequence[Gate] = field(default=(*GATES, *LAWS))


@dataclass(frozen=True)
class Ending:
    """How a canary ended.

    Args:
        outcome: PASS if it was promoted, FAIL if it was aborted, HOLD if it was given up.
        step: the number of the last step, from 1.
        seconds: how long it took.
        reason: why it was not promoted.
    """

    outcome: Outcome
    step: int
    seconds: int
    reason: str = ""


def roll_out(traffic: Traffic, plan: Plan) -> Ending:
    """Roll out a canary, and return how it ended."""
    seconds = look = 0
    baseline: Sequence[Readings] | None = None
    for step, weight in enumerate(plan.steps, 1):
        readings = [traffic.read()]
        outcome = Outcome.HOLD
        while outcome is Outcome.HOLD:
            for part in range(1, plan.readings + 1):
                traffic.run(plan.interval // plan.readings, weight)
                seconds += plan.interval // plan.readings
                readings.append(traffic.read())
                if part % (plan.readings // plan.looks):
                    continue
                look += 1
                at_once = baseline if weight == 100 else None
                verdict = judge(readings, plan.gates, look=look, baseline=at_once)
                outcome = verdict.outcome
                if outcome is Outcome.FAIL or look == plan.most_looks:
                    return Ending(outcome, step, seconds, verdict.reason)
        baseline = readings
    return Ending(Outcome.PASS, len(plan.steps), seconds)
