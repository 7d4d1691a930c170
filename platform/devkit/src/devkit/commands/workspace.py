"""`slipway workspace …`: facts and checks for the Makefile, which names no member."""

from pathlib import Path
from typing import Annotated

import typer

from devkit.workspace import find_workspace

__all__ = ["app"]

app = typer.Typer(help="Facts and checks of the workspace's members.", no_args_is_help=True)


@app.command()
def sources() -> None:
    """Print the paths that are type-checked."""
    from devkit.type_check import source_paths

    _print(source_paths(find_workspace()))


@app.command()
def tests() -> None:
    """Print the folders of tests that exist."""
    _print(find_workspace().tests)


@app.command()
def types(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Files or folders. Default: all.")
    ] = None,
) -> None:
    """Type-check all members at once (mypy)."""
    from devkit.type_check import check_types

    raise typer.Exit(check_types(find_workspace(), paths or []))


@app.command()
def imports() -> None:
    """Check that imports keep the rules of the layers."""
    from devkit.import_rules import check_imports

    check_imports(find_workspace())
    typer.echo("imports: all rules are kept")


@app.command()
def migrations() -> None:
    """Check that each migration works with the previous version of its service."""
    from devkit.migration_rules import check_migrations

    check_migrations(find_workspace())
    typer.echo("migrations: each works with the previous version")


@app.command()
def lock(
    upgrade: Annotated[bool, typer.Option(help="Lock the newest versions.")] = False,
) -> None:
    """Write both lock files from the members' pyproject.toml."""
    from devkit.locks import lock as make_locks

    make_locks(find_workspace(), upgrade=upgrade)


def _print(paths: tuple[Path, ...] | list[Path]) -> None:
    """Print paths on one line, relative to the current folder where possible."""
    here = Path.cwd()
    shown = (path.relative_to(here) if path.is_relative_to(here) else path for path in paths)
    typer.echo(" ".join(str(path) for path in shown))
