"""The command line, composed of the devkit's commands and those that members plug in."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from devkit.errors import DevkitError, WrongUsage

__all__ = ["command_line"]

# These commands pass unknown arguments, and --help, to the services' own commands.
_OPERATING = {
    "dead-letters": ("devkit.commands.operate", "dead_letters"),
    "events": ("devkit.commands.operate", "events"),
    "outbox": ("devkit.commands.operate", "outbox"),
}
_PASSED_ON: dict[str, Any] = {
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
    "add_help_option": False,
}
# A module is imported only if its command is run, so that each starts in a fraction of a second.
_COMMANDS = {
    "run": ("devkit.commands.run", "run"),
    "ps": ("devkit.commands.ps", "ps"),
    "logs": ("devkit.commands.logs", "logs"),
    **_OPERATING,
    "describe": ("devkit.commands.describe", "describe"),
    "render": ("devkit.commands.render", "render"),
    "canary": ("devkit.canary.command", "app"),
    "broker": ("devkit.broker.command", "app"),
    "doctor": ("devkit.commands.doctor", "doctor"),
    "contracts": ("devkit.contracts.command", "app"),
    "images": ("devkit.images.command", "app"),
    "compose": ("devkit.compose.command", "app"),
    "workspace": ("devkit.commands.workspace", "app"),
}


def command_line(arguments: Sequence[str]) -> typer.Typer:
    """Return the application with the command that `arguments` name, or with all commands.

    Members add commands under the entry-point group `slipway.commands`.

    Raises:
        DevkitError: the named command of a member can't be imported.
    """
    asked = next((argument for argument in arguments if not argument.startswith("-")), None)
    plugins = entry_points(group="slipway.commands")
    if asked not in {*_COMMANDS, *plugins.names}:  # Typer suggests similar names from all commands.
        asked = None

    app = typer.Typer(
        cls=_Commands,
        help="Tools for the developers of this platform.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )

    @app.callback()
    def root() -> None:
        pass

    for name, (module, attribute) in _COMMANDS.items():
        if asked in (None, name):
            _add(app, name, getattr(import_module(module), attribute))
    for plugin in plugins:
        if asked in (None, plugin.name):
            _plug_in(app, plugin, asked=asked is not None)
    return app


class _Commands(TyperGroup):
    """The commands; a mistake in the command line has one exit code, also if typer notices it."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with _wrong_usage():
            return super().make_context(*arguments, **options)

    def invoke(self, context: Any) -> Any:
        with _wrong_usage():
            return super().invoke(context)


@contextmanager
def _wrong_usage() -> Iterator[None]:
    """Give typer's own errors the exit code of a wrong command line; typer shows them."""
    try:
        yield
    except TyperException as error:
        error.exit_code = WrongUsage.exit_code
        raise


def _add(app: typer.Typer, name: str, command: Any) -> None:
    """Add a command, or a group of commands."""
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        options = _PASSED_ON if name in _OPERATING else {}
        app.command(name, **options)(command)


def _plug_in(app: typer.Typer, plugin: EntryPoint, *, asked: bool) -> None:
    """Add a member's command; skip one that cannot be imported unless it was asked for."""
    try:
        plugged = plugin.load()
    except ImportError as error:
        if not asked:  # The list of the other commands is still useful.
            return
        raise DevkitError(
            f"the command {plugin.name} ({plugin.value}) can't be imported: {error}."
            " Run `make setup`, or remove it from the member's pyproject.toml."
        ) from error
    commands = plugged.registered_commands
    plain = not plugged.registered_groups and plugged.registered_callback is None
    if len(commands) == 1 and plain:
        # As in Typer itself, an application with a single command is that command.
        plugged = commands[0].callback
    _add(app, plugin.name, plugged)
