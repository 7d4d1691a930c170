"""Shows how far a step has come: a bar on a terminal, elsewhere a line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["step"]

_LINES_A_STEP = 5
_SECONDS_A_LINE = 15.0


@contextmanager
def step(output: Console, label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with how much is done. On a terminal nothing is left behind."""
    if output.is_terminal:
        with _bar(output) as bar:
            task = bar.add_task(label, total=total)
            yield lambda done: bar.update(task, completed=done)
    else:
        yield _Lines(output, label, total).show


def _bar(output: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<8}"),
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=output,
        transient=True,
    )


class _Lines:
    def __init__(self, output: Console, label: str, total: int) -> None:
        self._output = output
        self._label = label
        self._total = total
        self._part = max(total / _LINES_A_STEP, 1)
        self._next = self._part
        self._printed_at = time.monotonic()
        self._last = -1

    def show(self, done: int) -> None:
        waited = time.monotonic() - self._printed_at > _SECONDS_A_LINE
        if done == self._last or not (waited or done >= self._next):
            return
        self._last = done
        self._output.print(f"{self._label:<8} {done:,} of {self._total:,}")
        self._printed_at = time.monotonic()
        self._next = (done // self._part + 1) * self._part
