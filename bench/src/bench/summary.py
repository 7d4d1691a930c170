"""The lines of the benchmark's table, as text: for the terminal and for the document."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.comparison import Comparison, Figure, Target
from bench.results import Measured, Results, ratio

__all__ = ["COLUMNS", "Line", "lines_of", "print_summary"]

COLUMNS = (
    "work",
    "ratio of CPU",
    "target",
    "reached",
    "floor",
    "own process",
    "rate",
    "µs ours",
    "µs other",
)


@dataclass(frozen=True)
class Line:
    """A target, and what was measured for it."""

    work: str
    cells: tuple[str, ...]
    """The further columns, in the order of COLUMNS."""
    reached: bool


def lines_of(comparison: Comparison, measured: Measured) -> list[Line]:
    """Return a line for each target of the comparison."""
    return [_line(target, measured) for target in comparison.targets]


def _line(target: Target, measured: Measured) -> Line:
    cpu = ratio(measured, target, target.ours)
    reached = cpu.median <= target.reach if target.at_most else cpu.median >= target.reach
    floor = str(ratio(measured, target, target.floor)) if target.floor else ""
    cells = (
        str(cpu),
        f"{'≤' if target.at_most else '≥'} {target.reach:g}",
        "yes" if reached else "no",
        floor,
        str(ratio(measured, target, target.ours, Figure.OWN)),
        str(ratio(measured, target, target.ours, Figure.RATE)),
        f"{measured.median(target.ours, Figure.CPU):,.1f}",
        f"{measured.median(target.against, Figure.CPU):,.1f}",
    )
    return Line(target.work, cells, reached)


def print_summary(comparisons: Sequence[Comparison], results: Results, output: Console) -> None:
    """Print the table of all comparisons that were measured."""
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "work" else "right", no_wrap=True)
    for comparison in comparisons:
        measured = results.comparisons[comparison.name]
        for line in lines_of(comparison, measured):
            style = "green" if line.reached else "yellow"
            table.add_row(f"{comparison.name}: {line.work}", *line.cells, style=style)
    output.print()
    output.print(table)
