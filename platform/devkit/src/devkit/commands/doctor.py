"""`slipway doctor`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from devkit.console import console
from devkit.doctor import Finding, examine
from devkit.workspace import find_workspace

if TYPE_CHECKING:
    from devkit.deployment_doctor.examination import Way

__all__ = ["doctor"]


def doctor(
    cluster: Annotated[
        bool, typer.Option("--cluster", help="What images and a Kubernetes cluster need instead.")
    ] = False,
) -> None:
    """Say what is missing or wrong on this machine, and what to do."""
    if cluster:
        from devkit.deployment_doctor.examination import examine_deployment, ways_to_deploy

        findings = examine_deployment()
        _print(findings)
        _print_ways(ways_to_deploy(findings))
    else:
        findings = examine(find_workspace())
        _print(findings)
    if any(finding.needed and not finding.well for finding in findings):
        raise typer.Exit(1)


def _print(findings: Iterable[Finding]) -> None:
    table = _table()
    for finding in findings:
        table.add_row(_mark(finding), finding.about, Text(finding.found))
        if finding.advice:
            table.add_row("", "", Text(f"-> {finding.advice}", style="bold"))
    console().print(table)


def _print_ways(ways: Iterable["Way"]) -> None:
    table = _table()
    for way in ways:
        missing = f"missing: {', '.join(way.missing)}" if way.missing else "nothing is missing"
        table.add_row(way.name, missing)
    console().print("\nto deploy by")
    console().print(table)
    console().print("the lines above say how to get what is missing, or how to do without it")


def _table() -> Table:
    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


def _mark(finding: Finding) -> str:
    if finding.well:
        return "[green]ok[/green]"
    return "[red]wrong[/red]" if finding.needed else "[yellow]note[/yellow]"
