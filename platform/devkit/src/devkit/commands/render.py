"""`slipway render`: deployment files, derived from the services' code or checked against it."""

from typing import Annotated

import typer

from devkit.errors import DevkitError
from devkit.workspace import find_workspace

__all__ = ["render"]


def render(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where a file differs.")
    ] = False,
    charts: Annotated[
        bool, typer.Option("--charts", help="The files that helm renders from the charts.")
    ] = False,
) -> None:
    """Derive the deployment's files from the services' code."""
    from devkit.rendering import files, manifests

    workspace = find_workspace()
    if charts:
        if check:
            manifests.check(workspace)
            typer.echo("rendered files: up to date with the charts")
        else:
            for file in manifests.write(workspace):
                typer.echo(f"wrote {file.relative_to(workspace.root)}")
        return
    if check:
        if problems := files.drift(workspace):
            lines = ["Derived files differ from the code; run `make render`:", *problems]
            raise DevkitError("\n  ".join(lines))
        typer.echo("derived files: up to date with the code")
        return
    for file in files.render(workspace):
        verb = "wrote" if file.exists() else "deleted"
        typer.echo(f"{verb} {file.relative_to(workspace.root)}")
