"""The analysis of a canary: figures of both sides, statistics, and a verdict. It does no I/O.

`devkit.canary.metrics` reads the samples; `judge` says whether the canary passes, holds or fails.
"""

from devkit.canary.analysis.gates import GATES, Gate, metric_names
from devkit.canary.analysis.judging import judge
from devkit.canary.analysis.laws import read_laws
from devkit.canary.analysis.samples import Pod, Readings, Samples, Series
from devkit.canary.analysis.table import comparison_table
from devkit.canary.analysis.verdict import Comparison, Outcome, Verdict

__all__ = [
    "GATES",
    "Comparison",
    "Gate",
    "Outcome",
    "Pod",
    "Readings",
    "Samples",
    "Series",
    "Verdict",
    "comparison_table",
    "judge",
    "metric_names",
    "read_laws",
]
