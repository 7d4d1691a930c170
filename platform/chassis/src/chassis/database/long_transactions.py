"""Warnings of transactions that occupy their thread for long.

A `def` handler, RPC method or job that never returns occupies one of few threads, on SQLite the
only one. Python cannot stop a thread, and work that waits for it logs nothing.
"""

import asyncio
import sys
import traceback
from pathlib import Path

import structlog

from chassis.database.database import Database
from chassis.telemetry import metrics

__all__ = ["LongTransactions"]

_log = structlog.get_logger(__name__)
_CHASSIS = str(Path(__file__).parents[1])


class LongTransactions:
    """A watch for transactions of a database that run for longer than `seconds`."""

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self._next_warning: dict[tuple[int, float], float] = {}

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await asyncio.sleep(self._seconds / 2)
            self.check()

    def check(self) -> None:
        """Log each long transaction, and again whenever its time has doubled."""
        running = self._database.running()
        metrics.TRANSACTION_LONGEST_SECONDS.set(max((r.seconds for r in running), default=0))
        next_warning = self._next_warning
        self._next_warning = {}
        for each in running:
            transaction = each.thread, each.begun
            warn_after = next_warning.get(transaction, self._seconds)
            if each.seconds >= warn_after:
                _log.error(
                    "transaction is still running; work that needs its thread waits",
                    seconds=round(each.seconds, 1),
                    where=_where(each.thread),
                    busy_threads=len(running),
                    threads=self._database.threads,
                )
                warn_after = 2 * each.seconds
            self._next_warning[transaction] = warn_after


def _where(thread: int) -> str:
    """Return the innermost line of the service's code that a thread runs, else of any code."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 (Python documents it)
    if frame is None:
        return ""
    stack = traceback.extract_stack(frame)
    libraries = (_CHASSIS, sys.prefix, sys.base_prefix)
    of_service = [line for line in stack if not line.filename.startswith(libraries)]
    line = of_service[-1] if of_service else stack[-1]
    return f"{line.filename}:{line.lineno} in {line.name}"
