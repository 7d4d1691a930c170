"""`slipway contracts …`."""

import typer

from devkit.workspace import find_workspace

__all__ = ["app"]

app = typer.Typer(help="Generate, check and release the contracts.", no_args_is_help=True)


@app.command("generate")
def generate_command() -> None:
    """Generate the code beside the .proto files."""
    from devkit.contracts.generate import generate

    workspace = find_workspace()
    changed = generate(workspace)
    for file in changed:
        typer.echo(f"{'wrote' if file.exists() else 'removed'} {file.relative_to(workspace.root)}")
    if not changed:
        typer.echo("the generated code is up to date")
