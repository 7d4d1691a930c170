"""One handler and one event on a scratch database: what it publishes, or why it fails."""

import asyncio
from collections.abc import Callable
from typing import Any

from chassis.database import ConnectionLost, Transaction
from chassis.database.outbox_rows import OutboxRow
from chassis.database.scratch import ScratchDatabase
from chassis.events.consumer.arrival import Arrival
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.call import call_one
from chassis.events.handlers.failures import FAILURES, Reject, reason_of
from chassis.shadow.outside import Outside
from chassis.shadow.results import Outcome
from chassis.telemetry.trace_context import TraceContext

__all__ = ["Handling"]

Rows = list[OutboxRow]


class Handling:
    """Runs handlers one by one; `async def` handlers run on `loop`, for at most `seconds` each."""

    def __init__(
        self, scratch: ScratchDatabase, outside: Outside, loop: asyncio.Runner, seconds: float
    ) -> None:
        self._scratch = scratch
        self._outside = outside
        self._loop = loop
        self._seconds = seconds

    def run(self, handler: Handler, arrival: Arrival) -> tuple[Outcome, str, Rows]:
        """Run a handler for a decoded event; return outcome, reason and the outbox rows it made.

        Raises:
            ConnectionLost: the scratch database has ended.
        """
        reason, outcome, rows = "", _HANDLED, Rows()
        try:
            call = self._run_async if handler.kind == "async" else self._run_def
            rows = call(handler, arrival)
        except ConnectionLost:
            raise
        except Reject as error:
            outcome, reason = "rejected", reason_of(error)
        except (*FAILURES, asyncio.CancelledError) as error:
            outcome, reason = "failed", reason_of(error)
        if refused := self._outside.take_refused():
            return "outside call", f"{refused} (not allowed in a shadow)", rows
        return outcome, reason, rows

    def _run_def(self, handler: Handler, arrival: Arrival) -> Rows:
        """Run a `def` handler in a transaction; an `on_batch` handler gets lists of one."""
        context, message = arrival.context, arrival.message
        assert context is not None

        def work(tx: Transaction) -> None:
            with self._outside.closed():
                call_one(handler, tx, message, context, TraceContext())

        return self._scratch.transact(work)[1]

    def _run_async(self, handler: Handler, arrival: Arrival) -> Rows:
        """Run an `async def` handler, which commits at most once by its `transact`."""
        transact = _Transact(self._scratch, arrival)

        async def call() -> None:
            handling = handler(arrival.message, arrival.context, transact=transact)
            await asyncio.wait_for(handling, self._seconds)

        try:
            self._loop.run(call())
        except (*FAILURES, asyncio.CancelledError):
            if not transact.finished:
                raise
        # As in life, a commit stands whatever the handler does after it.
        return transact.rows


class _Transact:
    """The `transact` argument of an `async def` handler."""

    def __init__(self, scratch: ScratchDatabase, arrival: Arrival) -> None:
        self._scratch = scratch
        self._arrival = arrival
        self.finished = False
        self.rows = Rows()

    async def __call__(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.finished:
            raise RuntimeError("transact is called at most once in a handler")

        def commit(tx: Transaction) -> Any:
            tx.cause = self._arrival.context
            return work(tx, *args, **kwargs)

        result, self.rows = self._scratch.transact(commit)
        self.finished = True
        return result


_HANDLED: Outcome = "handled"
