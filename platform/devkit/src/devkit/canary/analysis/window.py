"""The readings of a step as increases of both sides, in all and in parts of the time."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from devkit.canary.analysis.increase import Increase, increase
from devkit.canary.analysis.samples import Readings, Series

__all__ = ["Window", "make_window"]

_PARTS = 4


@dataclass(frozen=True)
class Window:
    """The increases of both sides during a step.

    Args:
        stable: those of stable, over the whole time.
        canary: those of the canary, over the whole time.
        canary_parts: those of the canary in up to 4 parts of the time, in order.
        readings: the readings that they were made of, for gauges.
    """

    stable: Increase
    canary: Increase
    canary_parts: tuple[Increase, ...]
    readings: Sequence[Readings]


def make_window(readings: Sequence[Readings], baseline: Sequence[Readings] | None = None) -> Window:
    """Return the increases from the first reading to the last.

    Stable's are those of `baseline`, if given: the readings of an earlier step, for a step in which
    stable has no traffic.
    """
    steps = [increase(a.canary, b.canary, a.at) for a, b in pairwise(readings)]
    parts = min(_PARTS, len(steps))
    edges = [len(steps) * part // parts for part in range(parts + 1)] if parts else []
    return Window(
        _sum(increase(a.stable, b.stable, a.at) for a, b in pairwise(baseline or readings)),
        _sum(steps),
        tuple(_sum(steps[low:high]) for low, high in pairwise(edges)),
        readings,
    )


def _sum(increases: Iterable[Increase]) -> Increase:
    total: defaultdict[Series, float] = defaultdict(float)
    for each in increases:
        for series, value in each.items():
            total[series] += value
    return total
