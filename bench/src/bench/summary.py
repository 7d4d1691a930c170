"""The lines of the benchmark's table, as text: for the terminal and for the document."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.comparison import Comparison, Figure, Target
from bench.results import Measured, Results, ratio

__all__ = ["COLUMNS", "Line", "lines_of", "print_summary"]

COLUMNS = ("work", "reached", "target", "ratio", "floor", "own process", "rate", "ours", "other")

_ONLY_IN_DOCUMENT = ("own process", "rate")
_WIDEST = 500


@dataclass(frozen=True)
class Line:
    """A target, and what was measured for it."""

    work: str
    cells: tuple[str, ...]
    """The further columns, in the order of COLUMNS."""
    reached: bool


def lines_of(comparison: Comparison, measured: Measured) -> list[Line]:
    """Return a line for each target of the comparison whose figure was measured."""
    return [
        _line(comparison, target, measured)
        for target in comparison.targets
        if measured.has(target.ours, target.figure)
    ]


def _line(comparison: Comparison, target: Target, measured: Measured) -> Line:
    reached_ratio = ratio(measured, target, target.ours)
    median = reached_ratio.median
    reached = median <= target.reach if target.at_most else median >= target.reach
    floor = ""
    # A record may be older than the contender.
    if target.floor and measured.has(target.floor, target.figure):
        floor = ratio(measured, target, target.floor).text(target.show)
    cells = (
        "yes" if reached else "no",
        f"{'≤' if target.at_most else '≥'} {target.show(target.reach)}",
        reached_ratio.text(target.show),
        floor,
        *_others(comparison, target, measured),
    )
    return Line(target.work, cells, reached)


def _others(
    comparison: Comparison, target: Target, measured: Measured
) -> tuple[str, str, str, str]:
    """Return the ratios of other figures, and the costs that the ratio is made of."""
    if target.against is None:
        return "", "", "", ""
    ratios = (
        ratio(measured, target, target.ours, figure).text(target.show)
        if figure in comparison.figures
        else ""
        for figure in (Figure.OWN, Figure.RATE)
    )
    own, rate = ratios
    return (
        own,
        rate,
        target.figure.show(measured.median(target.ours, target.figure)),
        target.figure.show(measured.median(target.against, target.figure)),
    )


def print_summary(comparisons: Sequence[Comparison], results: Results, output: Console) -> None:
    """Print the table of all comparisons that were measured, in full width."""
    shown = [n for n, column in enumerate(COLUMNS) if column not in _ONLY_IN_DOCUMENT]
    table = Table(box=None, pad_edge=False)
    for column in (COLUMNS[n] for n in shown):
        table.add_column(column, justify="left" if column == "work" else "right", no_wrap=True)
    for comparison in comparisons:
        measured = results.comparisons[comparison.name]
        for line in lines_of(comparison, measured):
            row = (f"{comparison.name}: {line.work}", *line.cells)
            style = "green" if line.reached else "yellow"
            table.add_row(*(row[n] for n in shown), style=style)
    if not table.row_count:
        return
    output.print()
    # A narrow terminal wraps the lines, since figures that are cut off would mean nothing.
    wide = Console(file=output.file, width=_WIDEST, force_terminal=output.is_terminal)
    wide.print(table)
