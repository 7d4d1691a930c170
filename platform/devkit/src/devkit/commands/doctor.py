"""`slipway doctor`: the checks of this machine, and of a cluster."""

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
        bool, typer.Option("--cluster", help="Check what images and a Kubernetes cluster need.")
    ] = False,
) -> None:
    """Check this machine: what is missing or wrong, and what to do."""
    if cluster:
        from devkit.deployment_doctor.examination import examine_deployment, ways_to_deploy

        findings = examine_deployment()
        _print_findings(findings)
        _print_ways_to_deploy(ways_to_deploy(findings))
    else:
        findings = examine(find_workspace())
        _print_findings(findings)
    if any(finding.needed and not finding.ok for finding in findings):
        raise typer.Exit(1)


def _print_findings(findings: Iterable[Finding]) -> None:
    table = _table()
    for finding in findings:
        table.add_row(_mark(finding), finding.about, Text(finding.found))
        if finding.advice:
            table.add_row("", "", Text(f"-> {finding.advice}", style="bold"))
    console().print(table)


def _print_ways_to_deploy(ways: Iterable["Way"]) -> None:
    """Print what is missing for each way to deploy."""
    table = _table()
    for way in ways:
        missing = f"missing: {', '.join(way.missing)}" if way.missing else "nothing is missing"
        table.add_row(way.name, missing)
    console().print("\nto deploy by")
    console().print(table)
    console().print("The findings above say how to install what is missing, or how to avoid it.")


def _table() -> Table:
    return Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))


def _mark(finding: Finding) -> str:
    """Return the word that marks a finding as ok, wrong or a note."""
    if finding.ok:
        return "[green]ok[/green]"
    return "[red]wrong[/red]" if finding.needed else "[yellow]note[/yellow]"
