"""The commands of `python -m <service>`."""

import sys
from typing import TYPE_CHECKING, NoReturn

from chassis import _imports  # noqa: F401  # it must be the first import
from chassis.exit_codes import CONFIGURATION, OK, SOFTWARE, USAGE
from chassis.settings import ServiceSettings
from chassis.settings_loading import SettingsInvalid, describe, load, unknown_variables

if TYPE_CHECKING:
    from argparse import Namespace

    from chassis.service import Service

__all__ = ["main", "run"]

# The nouns of the operator's verbs; chassis.operations.command_line has a module for each.
_NOUNS = ("dead-letters", "events", "outbox")
_USAGE = """\
usage: python -m {name} [--settings]
       python -m {name} migrate [--wait SECONDS]
       python -m {name} broker apply [--help]
       python -m {name} ({nouns}) [--help]"""


def run(service: "Service") -> NoReturn:
    """Run the process of a service by its arguments, and exit; for `__main__.py`.

    Without arguments the service starts. `--settings` prints its settings. A command such as
    `migrate` runs without the service.
    """
    from chassis.command_output import command_output

    with command_output():
        sys.exit(main(service, sys.argv[1:]))


def main(service: "Service", arguments: list[str]) -> int:
    """Run a command and return the process's exit code."""
    command = _parse(f"python -m {service.name}", arguments)
    if command is None and arguments not in ([], ["--settings"]):
        asks_for_help = arguments in (["-h"], ["--help"])
        usage = _USAGE.format(name=service.name, nouns=" | ".join(_NOUNS))
        print(usage, file=sys.stdout if asks_for_help else sys.stderr)
        return OK if asks_for_help else USAGE
    try:
        settings = load(service.settings_type)
    except SettingsInvalid as error:
        return _refused(error.lines, CONFIGURATION)
    unknown = unknown_variables(service.settings_type)
    if not arguments:
        return _run(service, settings, unknown)
    for line in unknown:
        print(f"warning: {line}", file=sys.stderr)
    if command is None:
        print(describe(settings))
        return OK
    if command.noun == "migrate":
        return _migrate(service, settings, command)
    if command.noun == "broker":
        return _apply(service, settings, command)
    return _operate(service, settings, command)


def _parse(program: str, arguments: list[str]) -> "Namespace | None":
    """Return a command's arguments, None if the first one is not a command."""
    noun = arguments[0] if arguments else ""
    if noun == "migrate":
        return _parse_migrate(program, arguments)
    if noun == "broker":
        from chassis import _broker

        return _broker.parse(program, arguments)
    if noun in _NOUNS:
        from chassis.operations.command_line import parse

        return parse(program, arguments)
    return None


def _parse_migrate(program: str, arguments: list[str]) -> "Namespace":
    """Parse the arguments of `migrate`."""
    from chassis.operations.command_line.arguments import ArgumentParser

    about = "Bring the service's database to its newest revision."
    parser = ArgumentParser(prog=f"{program} migrate", description=about, allow_abbrev=False)
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long to wait for an unavailable database (default: not at all)",
    )
    parser.set_defaults(noun="migrate")
    return parser.parse_args(arguments[1:])


def _operate(service: "Service", settings: ServiceSettings, command: "Namespace") -> int:
    """Run an operator's command such as `events status`; return its exit code."""
    from chassis import checks
    from chassis.operations import command_line

    unset = checks.missing_settings(service, settings)
    if unset:
        return _refused(unset, CONFIGURATION)
    return command_line.main(service, settings, command)


def _apply(service: "Service", settings: ServiceSettings, command: "Namespace") -> int:
    """Run `broker apply`; return its exit code."""
    from chassis import _broker, checks
    from chassis.events.jetstream import nats_settings

    url = settings.database_url.get_secret_value()
    broken = [
        *(checks.wrong_database_url(url) if url else ()),
        *nats_settings.find_problems(settings.nats_url, settings),
    ]
    return _refused(broken, CONFIGURATION) if broken else _broker.main(service, settings, command)


def _migrate(service: "Service", settings: ServiceSettings, command: "Namespace") -> int:
    """Run `migrate`; return its exit code."""
    from chassis import _migrate, checks

    unset = checks.missing_settings(service, settings)
    if unset:
        return _refused(unset, CONFIGURATION)
    return _migrate.migrate(service, settings, command.wait)


def _run(service: "Service", settings: ServiceSettings, warnings: list[str]) -> int:
    """Run the service until it is stopped; return its exit code."""
    from chassis import checks

    broken = checks.find_problems(service, settings)
    if broken:
        return _refused(broken, SOFTWARE)
    unset = checks.missing_settings(service, settings)
    if unset:
        return _refused(unset, CONFIGURATION)

    from chassis import _process

    return _process.run(service, settings, warnings)


def _refused(lines: list[str], code: int) -> int:
    """Print lines to stderr and return the exit code."""
    for line in lines:
        print(line, file=sys.stderr)
    return code
