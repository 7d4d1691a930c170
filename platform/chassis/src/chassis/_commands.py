"""What `python -m <service>` does, by its arguments."""

import sys
from typing import TYPE_CHECKING

from chassis.settings import ServiceSettings, SettingsInvalid, describe, load, unknown_variables

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["main"]

OK = 0
USAGE = 64
SOFTWARE = 70
CONFIGURATION = 78

_USAGE = "usage: python -m {name} [migrate | --settings]"


def main(service: "Service", arguments: list[str]) -> int:
    """Run a command and return the process's exit code."""
    if arguments not in ([], ["migrate"], ["--settings"]):
        wanted = arguments in (["-h"], ["--help"])
        print(_USAGE.format(name=service.name), file=sys.stdout if wanted else sys.stderr)
        return OK if wanted else USAGE
    try:
        settings = load(service.settings_type)
    except SettingsInvalid as error:
        return _refused(error.lines, CONFIGURATION)
    unknown = unknown_variables(service.settings_type)
    if not arguments:
        return _run(service, settings, unknown)
    for line in unknown:
        print(f"warning: {line}", file=sys.stderr)
    if arguments == ["--settings"]:
        print(describe(settings))
        return OK
    return _migrate(service, settings)


def _migrate(service: "Service", settings: ServiceSettings) -> int:
    from chassis import _lifecycle, definition

    unset = definition.unset(service, settings)
    if unset:
        return _refused(unset, CONFIGURATION)
    return _lifecycle.migrate(service, settings)


def _run(service: "Service", settings: ServiceSettings, warnings: list[str]) -> int:
    from chassis import definition

    broken = definition.problems(service, settings)
    if broken:
        return _refused(broken, SOFTWARE)
    unset = definition.unset(service, settings)
    if unset:
        return _refused(unset, CONFIGURATION)

    from chassis import _lifecycle

    return _lifecycle.run(service, settings, warnings)


def _refused(lines: list[str], code: int) -> int:
    for line in lines:
        print(line, file=sys.stderr)
    return code
