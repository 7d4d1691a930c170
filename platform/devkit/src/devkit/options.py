"""Options that several commands have. Nothing is imported that runs anything."""

from collections.abc import Iterable
from enum import StrEnum

from devkit.errors import DevkitError

__all__ = ["DatabaseKind", "parse_numbers"]


class DatabaseKind(StrEnum):
    """What the services keep their data in."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


def parse_numbers(option: str, example: str, values: Iterable[str]) -> dict[str, int]:
    """`["orders=2"]` as a dictionary. Raises DevkitError naming the option and showing its form."""
    parsed = {}
    for value in values:
        name, _, number = value.partition("=")
        if not name or not number.isdecimal() or int(number) == 0:
            raise DevkitError(f"{option} {value} is not understood; write {option} {example}")
        parsed[name] = int(number)
    return parsed
