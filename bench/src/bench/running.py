"""Runs comparisons: each round measures all contenders in turn."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from bench.comparison import Comparison
from bench.results import Measured, Results, figures_of
from bench.stage import Stage

__all__ = ["run_comparisons"]


def run_comparisons(
    comparisons: Sequence[Comparison],
    rounds: int,
    results: Results,
    output: Console,
    *,
    tiny: bool = False,
) -> None:
    """Measure these comparisons into `results`, and print each sample.

    Raises:
        DevkitError: a contender failed, or did other work than it should.
    """
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
        for comparison in comparisons:
            output.print(f"{comparison.name}: {comparison.title}", markup=False)
            # A folder and servers of its own keep a comparison independent of those before it.
            home = Path(folder) / comparison.name
            home.mkdir()
            with Stage(home, tiny=tiny) as stage:
                output.print("  preparing", markup=False)
                comparison.prepare(stage)
                measured = results.began(comparison, rounds)
                for number in range(1, rounds + 1):
                    _run_round(comparison, stage, measured, f"round {number} of {rounds}", output)


def _run_round(
    comparison: Comparison, stage: Stage, measured: Measured, label: str, output: Console
) -> None:
    """Measure each contender once."""
    measured.load.append(os.getloadavg()[0])
    width = max(len(contender.name) for contender in comparison.contenders)
    for contender in comparison.contenders:
        with output.status(f"{label}: {contender.name}"):
            sample = contender.run(stage)
        measured.add(contender.name, sample)
        figures = figures_of(sample)
        shown = (
            f"{f.title} {f.show(figures[f.value]):>11}"
            for f in comparison.figures
            if f.value in figures
        )
        output.print(f"  {label}  {contender.name:<{width}}  {'   '.join(shown)}", markup=False)
