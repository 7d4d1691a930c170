"""Attempts of claimed tasks: effect and end in one commit, within a time limit."""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from chassis.database import (
    ConnectionLost,
    Database,
    DatabaseAtFault,
    DatabaseDown,
    Transaction,
)
from chassis.event_settings import EventSettings
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.call import call_one
from chassis.events.handlers.decode import read_stored
from chassis.events.handlers.failures import FAILURES
from chassis.events.handlers.spans import event_span
from chassis.events.tasks import claims
from chassis.events.tasks.task import Task
from chassis.events.wire.context import EventContext
from chassis.telemetry import metrics

__all__ = ["GRACE_SECONDS", "AttemptTimedOut", "Attempts"]

_log = structlog.get_logger(__name__)
GRACE_SECONDS = 1.0
"""Time for a handler to clean up after its commit, or after its cancellation."""


class AttemptTimedOut(Exception):
    """An `async def` handler exceeded its time limit; it was cancelled or abandoned."""


class Attempts:
    """Runs attempts of tasks, with at most one `def` handler per transaction thread at once.

    Other work that needs such a thread then waits for one handler, and not for a queue of them.
    """

    def __init__(
        self, database: Database, handlers: Mapping[str, Handler], settings: EventSettings
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._seconds = settings.task_timeout_seconds
        self._threads = asyncio.Semaphore(database.threads)
        self._abandoned: set[asyncio.Task[Any]] = set()

    async def run(self, task: Task) -> None:
        """Run the handler of a claimed task, and finish the task in the handler's commit.

        Raises:
            ClaimLost: another member has claimed the task in the meantime.
            AttemptTimedOut: the handler exceeded its time limit.
            Exception: what the handler or its commit raised.
        """
        handler = self._handlers[task.type]
        context, message, published = read_stored(task.headers, task.data, handler)
        if handler.kind == "async":
            with event_span(handler.type, context, published):
                await self._run_async(task, handler, context, message)
            return

        def work(tx: Transaction) -> None:
            claims.finish(tx.session, task)
            call_one(handler, tx, message, context, published)

        async with self._threads:
            await self._database.transaction(work)

    async def _run_async(
        self, task: Task, handler: Handler, context: EventContext, message: object
    ) -> None:
        """Run an async handler within its time limit, and finish its task if it did not."""
        transact = _Transact(self._database, task, context)
        started = time.perf_counter()
        # The handler has an asyncio task of its own, so that it can be abandoned if it swallows its
        # cancellation.
        handling = asyncio.create_task(_call_and_return_error(handler, message, context, transact))
        late = True
        try:
            await asyncio.wait({handling}, timeout=self._seconds)
            await transact.idle.wait()  # Time in the database does not count against the limit.
            if transact.finished:
                await asyncio.wait({handling}, timeout=GRACE_SECONDS)
            late = not handling.done()
        finally:
            transact.closed = True
            if not handling.done():
                await self._cancel(handling, handler, context)
        metrics.EVENT_HANDLER_SECONDS.labels(handler.type).observe(time.perf_counter() - started)
        error = None if late else _error_of_call(handling)
        if transact.finished:
            if error is not None:
                _log.error(
                    "handler failed after its commit; the commit stands",
                    event_id=context.id,
                    exc_info=error,
                )
        elif late:
            raise AttemptTimedOut(f"the handler exceeded its time limit of {self._seconds:g} s")
        elif error is not None:
            raise error
        elif transact.lost is not None:
            raise transact.lost  # The handler swallowed the error of its commit.
        else:
            await self._database.transaction(lambda tx: claims.finish(tx.session, task))

    async def _cancel(
        self, handling: asyncio.Task[Any], handler: Handler, context: EventContext
    ) -> None:
        """Cancel a handler, and abandon it if it ignores the cancellation."""
        handling.cancel()
        await asyncio.wait({handling}, timeout=GRACE_SECONDS)
        if not handling.done():
            self._abandoned.add(handling)
            handling.add_done_callback(self._abandoned.discard)
            _log.error(
                "handler ignored its cancellation; abandoning it, it cannot commit",
                handler=handler.name,
                event_id=context.id,
                abandoned_handlers=len(self._abandoned),
            )


class _Transact:
    """The `transact` argument of an async handler: at most one commit, which ends the task too."""

    def __init__(self, database: Database, task: Task, context: EventContext) -> None:
        self._database = database
        self._task = task
        self._context = context
        self.idle = asyncio.Event()
        self.idle.set()
        self.finished = False
        self.closed = False
        self.lost: DatabaseDown | ConnectionLost | DatabaseAtFault | None = None

    async def __call__(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.finished:
            raise RuntimeError("transact is called at most once in a handler")
        if self.closed:
            raise AttemptTimedOut(
                "the time limit of this attempt has passed: it can no longer commit"
            )

        def commit(tx: Transaction) -> Any:
            tx.cause = self._context
            claims.finish(tx.session, self._task)
            return work(tx, *args, **kwargs)

        self.idle.clear()
        try:
            result = await self._database.transaction(commit)
            self.finished = True
        except (DatabaseDown, ConnectionLost, DatabaseAtFault) as error:
            self.lost = error
            raise
        finally:
            self.idle.set()
        return result


async def _call_and_return_error(
    handler: Handler, message: object, context: EventContext, transact: _Transact
) -> BaseException | None:
    """Return what a handler raises, because some errors would end the event loop."""
    try:
        await handler(message, context, transact=transact)
    except (*FAILURES, asyncio.CancelledError) as error:
        return error
    return None


def _error_of_call(handling: asyncio.Task[BaseException | None]) -> BaseException | None:
    """Return what the handler has raised; None if nothing."""
    if handling.cancelled():  # The task was cancelled before the handler began.
        return asyncio.CancelledError()
    return handling.result()
