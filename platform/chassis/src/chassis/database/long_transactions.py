"""Says when a transaction holds its thread for long: nobody can take a thread from what runs on it.

A `def` handler, RPC method or job that never returns holds one of few threads, on SQLite the only
one, and what waits behind it says nothing.
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
    """Looks at the transactions of a database that run for longer than `seconds`."""

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self._told_at: dict[tuple[int, float], float] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._seconds / 2)
            self.look()

    def look(self) -> None:
        """Log each that is long, and again whenever it has lasted twice as long."""
        running = self._database.running()
        metrics.TRANSACTION_LONGEST_SECONDS.set(max((r.seconds for r in running), default=0))
        told_at = self._told_at
        self._told_at = {}
        for each in running:
            place = each.thread, each.begun
            at = told_at.get(place, self._seconds)
            if each.seconds >= at:
                _log.error(
                    "transaction is still running; work that needs its thread waits",
                    seconds=round(each.seconds, 1),
                    where=_where(each.thread),
                    busy_threads=len(running),
                    threads=self._database.threads,
                )
                at = 2 * each.seconds
            self._told_at[place] = at


def _where(thread: int) -> str:
    """The line of a service's own code at which a thread is, or whichever it is at."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return ""
    stack = traceback.extract_stack(frame)
    own = [s for s in stack if not s.filename.startswith((_CHASSIS, sys.prefix, sys.base_prefix))]
    at = own[-1] if own else stack[-1]
    return f"{at.filename}:{at.lineno} in {at.name}"
