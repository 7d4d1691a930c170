"""Composes the command line: the devkit's own commands, and those that members plug in."""

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

import typer

from devkit.errors import DevkitError

__all__ = ["command_line"]


def command_line(arguments: Sequence[str]) -> typer.Typer:
    """All commands; members add theirs under the entry-point group `slipway.commands`.

    A plugged-in command is imported only if `arguments` ask for it or for the list of commands.
    """
    from devkit.contracts.command import app as contracts
    from devkit.workspace_command import app as workspace

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
    app.add_typer(workspace, name="workspace")
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    for plugin in entry_points(group="slipway.commands"):
        if asked in (None, plugin.name):
            _plug_in(app, plugin, asked=asked is not None)
    return app


def _plug_in(app: typer.Typer, plugin: EntryPoint, *, asked: bool) -> None:
    try:
        plugged = plugin.load()
    except ImportError as error:
        if not asked:  # the list of commands is still worth printing
            return
        raise DevkitError(
            f"the command {plugin.name} ({plugin.value}) can't be imported: {error}."
            " Run `make setup`, or take it out of the member's pyproject.toml."
        ) from error
    only = plugged.registered_commands
    if len(only) == 1 and not plugged.registered_groups and plugged.registered_callback is None:
        app.command(plugin.name)(only[0].callback)
    else:
        app.add_typer(plugged, name=plugin.name)
