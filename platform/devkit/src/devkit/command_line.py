"""Composes the command line: the devkit's own commands, and those that members plug in."""

from importlib.metadata import entry_points

import typer

__all__ = ["command_line"]


def command_line() -> typer.Typer:
    """All commands. Members add theirs under the entry-point group `slipway.commands`."""
    from devkit.contracts.command import app as contracts

    app = typer.Typer(
        help="The developer's tools of this platform.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )

    @app.callback()
    def root() -> None:
        pass

    app.add_typer(contracts, name="contracts")
    return app
