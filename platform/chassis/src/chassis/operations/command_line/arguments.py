"""Arguments of the operator's verbs."""

import argparse
import re
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn

from chassis.exit_codes import USAGE
from chassis.operations.command_line.operator import Operator

__all__ = ["ArgumentParser", "Verbs", "duration"]

Run = Callable[[Operator], Awaitable[int]]
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class ArgumentParser(argparse.ArgumentParser):
    """A parser that ends with the exit code USAGE of `python -m <service>` on wrong arguments."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


class Verbs:
    """The verbs of one noun; the help of each ends with the note."""

    def __init__(self, parser: argparse.ArgumentParser, note: str = "") -> None:
        self._note = note
        self._parsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def add(
        self, name: str, run: Run, about: str, *, changes: bool = False, rows: bool = True
    ) -> argparse.ArgumentParser:
        """Add a verb and return its parser.

        A verb that prints `rows` has --json. A verb that `changes` something has --dry-run, and
        asks for confirmation without --yes.
        """
        parser: argparse.ArgumentParser = self._parsers.add_parser(
            name, help=about, description=about, epilog=self._note, allow_abbrev=False
        )
        if rows:
            parser.add_argument("--json", action="store_true", help="print a JSON array of objects")
        if changes:
            parser.add_argument(
                "--dry-run",
                action="store_true",
                help="show the change without making it",
            )
            parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
            parser.add_argument(
                "--by", metavar="NAME", help="name of the operator in the log (default: user@host)"
            )
        parser.set_defaults(run=run, refuse=parser.error)
        return parser


def duration(text: str) -> float:
    """Return the seconds of a duration such as `90s`, `15m`, `2h` or `7d`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration: 90s, 15m, 2h or 7d")
    return float(found[1]) * _UNITS[found[2]]
