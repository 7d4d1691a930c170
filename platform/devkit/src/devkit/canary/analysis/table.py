"""The comparison of both sides as a table for the terminal."""

from rich.table import Table
from rich.text import Text

from devkit.canary.analysis.verdict import Comparison, Outcome, Verdict

__all__ = ["comparison_table"]

_STYLES = {Outcome.PASS: "green", Outcome.HOLD: "yellow", Outcome.FAIL: "bold red"}


def comparison_table(verdict: Verdict) -> Table:
    """Return a row for each figure: of stable, of the canary, what is needed, and the verdict.

    The reasons of figures that do not pass follow below.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("figure", no_wrap=True)
    for column in ("stable", "canary", "needed"):
        table.add_column(column)
    table.add_column("verdict", no_wrap=True)
    for each in verdict.comparisons:
        outcome = Text(each.outcome.upper(), style=_STYLES[each.outcome])
        table.add_row(_name(each), each.stable, each.canary, each.needed, outcome)
    table.caption = verdict.reason or None
    table.caption_justify = "left"
    return table


def _name(comparison: Comparison) -> str:
    return f"{comparison.gate} ({comparison.kind})" if comparison.kind else comparison.gate
