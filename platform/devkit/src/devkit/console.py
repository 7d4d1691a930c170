"""Output to the terminal: aligned, and coloured unless it is redirected."""

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

__all__ = ["LinePrinter", "console"]

_NO_TERMINAL_WIDTH = 200
# Services write to a file without colors, so levels that need attention are colored here.
_LEVELS = {"warning": "yellow", "error": "red", "critical": "bold red"}
_COLORS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan")


def console() -> Console:
    """Return standard output; without colours and wrapping unless it is a terminal."""
    wide = None if sys.stdout.isatty() else _NO_TERMINAL_WIDTH
    return Console(highlight=False, soft_wrap=True, width=wide)


class LinePrinter:
    """A printer that puts a process's name before each of its lines, in a colour of its own."""

    def __init__(self, names: Iterable[str], output: Console) -> None:
        self._output = output
        self._colors: dict[str, str] = {}
        self._width = 0
        self.expect(names)

    def expect(self, names: Iterable[str]) -> None:
        """Make the column wide enough for these names, so that it does not grow later."""
        for name in names:
            self._add(name)

    def line(self, name: str, text: str) -> None:
        """Print a line that a process wrote."""
        line = Text.from_ansi(text)
        for level, style in _LEVELS.items():
            line.highlight_words([f"[{level}]"], style)
        self._print(name, line)

    def event(self, name: str, text: str) -> None:
        """Print what the runner did to a process."""
        self._print(name, Text(text, style="bold"))

    def _print(self, name: str, text: Text) -> None:
        """Print a line after the name of its process, in that process' color."""
        self._add(name)
        prefix = (f"{name:<{self._width}} | ", self._colors[name])
        self._output.print(Text.assemble(prefix, text))

    def _add(self, name: str) -> None:
        """Assign a color to a process that has none yet."""
        if name in self._colors:
            return
        self._colors[name] = _COLORS[len(self._colors) % len(_COLORS)]
        self._width = max(self._width, len(name))
