"""The increase of counters between two readings, added up over the pods of a side."""

from collections import defaultdict
from collections.abc import Mapping

from devkit.canary.analysis.samples import Pod, Samples, Series

__all__ = ["START_TIME", "Increase", "increase"]

START_TIME = Series("process_start_time_seconds")
"""When a process began, in epoch seconds; prometheus_client reports it for every process."""

Increase = Mapping[Series, float]
"""By how much each counter of a side grew."""


def increase(before: Mapping[str, Pod], after: Mapping[str, Pod], since: float) -> Increase:
    """Return by how much each series grew from one reading to the next, over all pods.

    The counters of a process begin at 0: a process that began after `since`, the time of the first
    reading in epoch seconds, has grown by its whole values. The growth of a pod that one of the
    readings lacks is otherwise unknown and left out.
    """
    grown: defaultdict[Series, float] = defaultdict(float)
    for name, pod in after.items():
        started = pod.samples.get(START_TIME)
        earlier: Samples | None = before[name].samples if name in before else None
        is_new = earlier is None and started is not None and started >= since
        if is_new or (earlier is not None and earlier.get(START_TIME) != started):
            earlier = {}
        if earlier is not None:
            for series, value in pod.samples.items():
                grown[series] += _growth(earlier.get(series, 0.0), value)
    return grown


def _growth(earlier: float, value: float) -> float:
    """Return the growth of a counter; a value below the earlier one began at 0 again."""
    return value - earlier if value >= earlier else value
