"""The progress of a step: a bar on a terminal, a few lines in other outputs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

__all__ = ["Show", "step"]

_LINES_PER_STEP = 5
_SECONDS_PER_LINE = 15.0


class Show(Protocol):
    """Function that shows how much is done, and what the step is waiting for."""

    def __call__(self, done: int, waiting_for: str = "") -> None: ...


@contextmanager
def step(output: Console, label: str, total: int) -> Iterator[Show]:
    """Yield a function that shows the progress. On a terminal, the bar is removed at the end."""
    if not output.is_terminal:
        yield _Lines(output, label, total).show
        return
    with _make_bar(output) as bar:
        task = bar.add_task(label, total=total, waiting_for="")

        def show(done: int, waiting_for: str = "") -> None:
            bar.update(task, completed=done, waiting_for=waiting_for)

        yield show


def _make_bar(output: Console) -> Progress:
    """Return a progress bar that fits the width of the terminal."""
    return Progress(
        TextColumn("{task.description}", table_column=Column(min_width=8)),
        BarColumn(bar_width=max(10, min(40, output.width - 42))),
        MofNCompleteColumn(table_column=Column(min_width=11)),
        TimeElapsedColumn(table_column=Column(min_width=7)),
        TextColumn(
            "[dim]{task.fields[waiting_for]}[/dim]",
            # This column gets the remaining width, so that it is cut instead of the others.
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
        console=output,
        transient=True,
        expand=True,
    )


class _Lines:
    def __init__(self, output: Console, label: str, total: int) -> None:
        self._output = output
        self._label = label
        self._total = total
        self._done_per_line = max(total / _LINES_PER_STEP, 1)
        self._next_line_at = self._done_per_line
        self._printed_at = time.monotonic()

    def show(self, done: int, waiting_for: str = "") -> None:
        waited = time.monotonic() - self._printed_at > _SECONDS_PER_LINE
        if done < self._next_line_at and not waited:
            return
        line = f"{self._label:<8} {done:,} of {self._total:,}"
        if waited and waiting_for:
            line += f"; {waiting_for}"
        self._output.print(line, markup=False)
        self._printed_at = time.monotonic()
        self._next_line_at = (done // self._done_per_line + 1) * self._done_per_line
