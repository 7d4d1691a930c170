"""Composes the command line: the devkit's own commands, and those that members plug in."""

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer

from devkit.errors import DevkitError

__all__ = ["command_line"]

# What is not known here is passed on to the services' own commands, whose help it is too.
_OPERATING = {
    "dead-letters": ("devkit.commands.operate", "dead_letters"),
    "events": ("devkit.commands.operate", "events"),
    "outbox": ("devkit.commands.operate", "outbox"),
}
_PASSED_ON: dict[str, Any] = {
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
    "add_help_option": False,
}
# Imported only when asked for: most commands run in a fraction of a second.
_OWN = {
    "run": ("devkit.commands.run", "run"),
    "ps": ("devkit.commands.ps", "ps"),
    "logs": ("devkit.commands.logs", "logs"),
    **_OPERATING,
    "describe": ("devkit.commands.describe", "describe"),
    "render": ("devkit.commands.render", "render"),
    "broker": ("devkit.broker.command", "app"),
    "doctor": ("devkit.commands.doctor", "doctor"),
    "contracts": ("devkit.contracts.command", "app"),
    "images": ("devkit.images.command", "app"),
    "compose": ("devkit.compose.command", "app"),
    "workspace": ("devkit.commands.workspace", "app"),
}


def command_line(arguments: Sequence[str]) -> typer.Typer:
    """All commands; members add theirs under the entry-point group `slipway.commands`.

    A command is imported only if `arguments` ask for it or for the list of commands.
    """
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    plugins = entry_points(group="slipway.commands")
    if asked not in {*_OWN, *plugins.names}:  # of all commands, the nearest is suggested
        asked = None

    app = typer.Typer(
        help="The developer's tools of this platform.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )

    @app.callback()
    def root() -> None:
        pass

    for name, (module, attribute) in _OWN.items():
        if asked in (None, name):
            _add(app, name, getattr(import_module(module), attribute))
    for plugin in plugins:
        if asked in (None, plugin.name):
            _plug_in(app, plugin, asked=asked is not None)
    return app


def _add(app: typer.Typer, name: str, command: Any) -> None:
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        options = _PASSED_ON if name in _OPERATING else {}
        app.command(name, **options)(command)


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
        # A Typer with one command and nothing else is meant to be that command.
        plugged = only[0].callback
    _add(app, plugin.name, plugged)
