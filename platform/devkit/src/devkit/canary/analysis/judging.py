"""The decision of a look: every gate is compared, and the canary passes, holds or fails."""

from collections.abc import Iterator, Sequence

from devkit.canary.analysis.distances import DistanceFigure, distance_figures
from devkit.canary.analysis.gates import (
    GATES,
    DistanceGate,
    Gate,
    LagGate,
    RestartGate,
    ShareGate,
)
from devkit.canary.analysis.pods import compare_lag, compare_restarts
from devkit.canary.analysis.samples import Readings
from devkit.canary.analysis.shares import ShareFigure, share_figures
from devkit.canary.analysis.statistics import level
from devkit.canary.analysis.verdict import Comparison, Outcome, Verdict
from devkit.canary.analysis.window import Window, make_window

__all__ = ["judge"]

_Figure = ShareFigure | DistanceFigure


def judge(
    readings: Sequence[Readings],
    gates: Sequence[Gate] = GATES,
    *,
    look: int,
    baseline: Sequence[Readings] | None = None,
) -> Verdict:
    """Return the verdict of one look at a canary.

    Args:
        readings: those of the running step, at least two; five or more tell a burst from a lasting
            difference. While a step holds, its readings are continued and judged again.
        gates: the figures to compare: GATES and the service's laws.
        look: the number of this call, counted from 1 over the whole canary, because each look has a
            share of the probability of a false alarm.
        baseline: the readings of the last step in which stable had traffic, for the step at 100 %.
            Times are not compared with them, because they depend on the machine's load at the time.

    Raises:
        ValueError: there are less than two readings.
    """
    if len(readings) < 2:
        raise ValueError("an analysis needs at least two readings: counters count since a start")
    window = make_window(readings, baseline)
    if baseline is not None:
        gates = [gate for gate in gates if not _is_of_times(gate)]
    figures = {gate: list(_figures(gate, window)) for gate in gates}
    tests = sum(figure.compared for each in figures.values() for figure in each)
    each_level = level(look, tests)
    return Verdict(
        tuple(
            comparison
            for gate in gates
            for comparison in _compare(gate, figures[gate], window, each_level)
        ),
        idle=tests == 0,
    )


def _is_of_times(gate: Gate) -> bool:
    return isinstance(gate, DistanceGate) and gate.seconds


def _figures(gate: Gate, window: Window) -> Iterator[_Figure]:
    """Yield the figures of a gate that is a test."""
    if isinstance(gate, ShareGate):
        yield from share_figures(gate, window)
    elif isinstance(gate, DistanceGate):
        yield from distance_figures(gate, window)


def _compare(
    gate: Gate, figures: Sequence[_Figure], window: Window, each_level: float
) -> Iterator[Comparison]:
    """Yield the gate's comparison, and those of single kinds that keep the canary from passing."""
    if isinstance(gate, LagGate):
        yield from compare_lag(gate, window)
    elif isinstance(gate, RestartGate):
        yield from compare_restarts(gate, window)
    for figure in figures:
        if not figure.kind:
            yield figure.judge(each_level)
        elif figure.compared and figure.probability <= each_level:
            # A kind alone need not have enough traffic: the gate has it for all kinds together.
            comparison = figure.judge(each_level)
            if comparison.outcome is not Outcome.PASS and comparison.probability <= each_level:
                yield comparison
