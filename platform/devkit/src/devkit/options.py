"""Options of several commands. It imports little, so that commands start fast."""

from collections.abc import Iterable
from enum import StrEnum

from devkit.errors import WrongUsage

__all__ = ["DatabaseKind", "parse_numbers", "split_pairs"]


class DatabaseKind(StrEnum):
    """The kind of the services' databases."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


def parse_numbers(option: str, example: str, values: Iterable[str]) -> dict[str, int]:
    """Parse values such as `orders=2` into a dictionary.

    Raises:
        WrongUsage: a value has another form; the message names the option and shows an example.
    """
    parsed = {}
    for name, number in split_pairs(option, example, values).items():
        if not number.isdecimal() or int(number) == 0:
            raise _wrong(option, f"{name}={number}", example)
        parsed[name] = int(number)
    return parsed


def split_pairs(option: str, example: str, values: Iterable[str]) -> dict[str, str]:
    """Split values such as `orders=2` at the first `=` into a dictionary.

    Raises:
        WrongUsage: a value has another form; the message names the option and shows an example.
    """
    pairs = {}
    for pair in values:
        name, _, value = pair.partition("=")
        if not name or not value:
            raise _wrong(option, pair, example)
        pairs[name] = value
    return pairs


def _wrong(option: str, value: str, example: str) -> WrongUsage:
    return WrongUsage(f"{option} {value} is not valid; write {option} {example}")
