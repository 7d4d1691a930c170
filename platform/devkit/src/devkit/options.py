"""Options of several commands. It imports little, so that commands start fast."""

from collections.abc import Iterable
from enum import StrEnum

from devkit.errors import DevkitError

__all__ = ["DatabaseKind", "parse_numbers"]


class DatabaseKind(StrEnum):
    """The kind of the services' databases."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


def parse_numbers(option: str, example: str, values: Iterable[str]) -> dict[str, int]:
    """Parse values such as `orders=2` into a dictionary.

    Raises:
        DevkitError: a value has another form; the message names the option and shows an example.
    """
    parsed = {}
    for value in values:
        name, _, number = value.partition("=")
        if not name or not number.isdecimal() or int(number) == 0:
            raise DevkitError(f"{option} {value} is not valid; write {option} {example}")
        parsed[name] = int(number)
    return parsed
