"""`slipway contracts …`: generated code, checks and releases of the contracts."""

import typer

from devkit.workspace import find_workspace

__all__ = ["app"]

app = typer.Typer(help="Generate, check and release the contracts.", no_args_is_help=True)


@app.command("generate")
def generate_command() -> None:
    """Generate the code of the .proto files, next to them."""
    from devkit.contracts.generate import generate

    workspace = find_workspace()
    changed = generate(workspace)
    for file in changed:
        typer.echo(f"{'wrote' if file.exists() else 'removed'} {file.relative_to(workspace.root)}")
    if not changed:
        typer.echo("the generated code is up to date")


@app.command("check")
def check_command() -> None:
    """Check style, compatibility with the released contracts, and the generated code."""
    from devkit.contracts.check import check

    check(find_workspace())
    typer.echo("contracts: in style, compatible, generated code up to date")


@app.command("release")
def release_command() -> None:
    """Release the contracts: later changes must not break them."""
    from devkit.contracts.check import release

    workspace = find_workspace()
    typer.echo(f"wrote {release(workspace).relative_to(workspace.root)}")
