"""The output of `slipway canary`: lines, and on a terminal a line that changes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status
from rich.text import Text

from devkit.canary.analysis import Outcome, Verdict
from devkit.canary.analysis.table import comparison_table

__all__ = ["Progress"]

_STYLES = {Outcome.PASS: "green", Outcome.HOLD: "yellow", Outcome.FAIL: "bold red"}
_WIDTH = 10


class Progress:
    """The output of a command. `line` remains; `now` is replaced, and needs a terminal."""

    def __init__(self, output: Console) -> None:
        self._output = output
        self._status: Status | None = None
        self._began = time.monotonic()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the line that changes, on a terminal."""
        if not self._output.is_terminal:
            yield
            return
        with self._output.status("") as self._status:
            try:
                yield
            finally:
                self._status = None

    def line(self, about: str, text: str, style: str = "") -> None:
        """Print a line that remains, after a word that says what it is about."""
        self._output.print(Text.assemble((f"{about:<{_WIDTH}} ", "bold"), (text, style)))

    def now(self, text: str) -> None:
        """Show what is happening at the moment."""
        if self._status is not None:
            self._status.update(Text(text))

    def verdict(self, seconds: float, verdict: Verdict) -> None:
        """Print the result of a look at the canary, `seconds` after its weight was set."""
        reason = f": {_shortened(verdict)}" if verdict.outcome is Outcome.HOLD else ""
        self.line("", f"{seconds:.0f} s: {verdict.outcome}{reason}", _STYLES[verdict.outcome])
        if verdict.outcome is Outcome.FAIL:
            self.figures(verdict)

    def figures(self, verdict: Verdict) -> None:
        """Print the figures of both sides as a table."""
        self._output.print(comparison_table(verdict))


def _shortened(verdict: Verdict) -> str:
    """Return why a step holds, with one figure of those that hold."""
    held = verdict.of(Outcome.HOLD)
    if len(held) < 2:
        return verdict.reason
    first = f"{held[0].gate}{f' of {held[0].kind}' if held[0].kind else ''}: {held[0].reason}"
    return f"{first}; {len(held) - 1} more of {len(verdict.comparisons)} figures hold"
