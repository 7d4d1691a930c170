"""A simulated side of a canary, which counts as the chassis does."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import inf

from devkit.canary.analysis import Pod, Series
from devkit.canary.analysis.increase import START_TIME

__all__ = ["FAST", "LATE", "SideCounts"]

FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LATE = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class SideCounts:
    """The counters, histograms and gauges of one side."""

    def __init__(self) -> None:
        self._counters: defaultdict[Series, int] = defaultdict(int)
        self._histograms: dict[Series, tuple[Sequence[float], list[int]]] = {}
        self.lag = 0.0
        self.lanes = 0

    def count(self, series: Series) -> None:
        """Count one more."""
        self._counters[series] += 1

    def observe(self, series: Series, value: float, bounds: Sequence[float]) -> None:
        """Add a value to a histogram."""
        if series not in self._histograms:
            self._histograms[series] = bounds, [0] * (len(bounds) + 1)
        self._histograms[series][1][bisect_left(bounds, value)] += 1

    def read(self) -> Pod:
        """Return all samples as of now."""
        samples = {START_TIME: 0.0, **self._counters, **dict(self._buckets())}
        if self.lanes:
            samples[Series("event_lanes")] = self.lanes
            samples[Series("event_lag")] = self.lag
        return Pod(samples)

    def _buckets(self) -> Iterable[tuple[Series, int]]:
        for (name, labels), (bounds, numbers) in self._histograms.items():
            for bound, number in zip((*bounds, inf), accumulate(numbers), strict=True):
                yield Series(f"{name}_bucket", labels | {("le", str(bound))}), number
