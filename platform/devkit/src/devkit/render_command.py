"""`slipway render`: the derived files of the deployment, written or checked."""

from typing import Annotated

import typer

from devkit.errors import DevkitError
from devkit.workspace import find_workspace

__all__ = ["render"]


def render(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where a file differs.")
    ] = False,
) -> None:
    """Derive the files of the deployment from the services' code."""
    from devkit.rendering import files

    workspace = find_workspace()
    if check:
        if problems := files.drift(workspace):
            lines = ["Derived files are not what the code says; run `make render`:", *problems]
            raise DevkitError("\n  ".join(lines))
        typer.echo("derived files: each is what the code says")
        return
    for file in files.render(workspace):
        verb = "wrote" if file.exists() else "deleted"
        typer.echo(f"{verb} {file.relative_to(workspace.root)}")
