"""`slipway doctor`."""

import typer
from rich.table import Table
from rich.text import Text

from devkit.console import console
from devkit.doctor import Finding, examine
from devkit.workspace import find_workspace

__all__ = ["doctor"]


def doctor() -> None:
    """Say what is missing or wrong on this machine, and what to do."""
    findings = examine(find_workspace())
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for finding in findings:
        table.add_row(_mark(finding), finding.about, Text(finding.found))
        if finding.advice:
            table.add_row("", "", Text(f"-> {finding.advice}", style="bold"))
    console().print(table)
    if any(finding.needed and not finding.well for finding in findings):
        raise typer.Exit(1)


def _mark(finding: Finding) -> str:
    if finding.well:
        return "[green]ok[/green]"
    return "[red]wrong[/red]" if finding.needed else "[yellow]note[/yellow]"
