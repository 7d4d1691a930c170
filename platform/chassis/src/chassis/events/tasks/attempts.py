"""One attempt of a claimed task: its effect and its end in one commit, and its time."""

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
from chassis.events.handlers.binding import FAILURES, Handler
from chassis.events.handlers.call import call_one
from chassis.events.handlers.decode import read_stored
from chassis.events.handlers.spans import event_span
from chassis.events.tasks import rows as task_rows
from chassis.events.tasks.rows import Task
from chassis.events.wire.context import EventContext
from chassis.telemetry import metrics

__all__ = ["AttemptTimedOut", "Attempts"]

_log = structlog.get_logger(__name__)
# So long a handler may clean up after its time is over, or after its commit when it is cancelled.
_GRACE_SECONDS = 1.0


class AttemptTimedOut(Exception):
    """An `async def` handler did not end in its time; it was cancelled, or given up on."""


class Attempts:
    """Runs attempts of tasks, `def` handlers no more at once than there are transaction threads:
    what else needs those threads waits for one handler, and not for a queue of them."""

    def __init__(
        self, database: Database, handlers: Mapping[str, Handler], settings: EventSettings
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._seconds = settings.task_timeout_seconds
        self._threads = asyncio.Semaphore(database.threads)
        self._given_up: set[asyncio.Task[Any]] = set()

    async def run(self, task: Task) -> None:
        """Let a claimed task take effect and end, in one commit.

        Raises:
            TaskTaken: another member has claimed it meanwhile.
            AttemptTimedOut: its handler did not end in its time.
            Exception: what its handler raised, or its commit.
        """
        handler = self._handlers[task.type]
        context, message, published = read_stored(task.headers, task.data, handler)
        if handler.kind == "async":
            with event_span(handler.type, context, published):
                await self._run_async(task, handler, context, message)
            return

        def work(tx: Transaction) -> None:
            task_rows.finish(tx.session, task)
            call_one(handler, tx, message, context, published)

        async with self._threads:
            await self._database.transaction(work)

    async def _run_async(
        self, task: Task, handler: Handler, context: EventContext, message: object
    ) -> None:
        transact = _Transact(self._database, task, context)
        started = time.perf_counter()
        # A task of its own: a handler that swallows its cancellation is left behind.
        handling = asyncio.create_task(_outcome(handler, message, context, transact))
        late = True
        try:
            await asyncio.wait({handling}, timeout=self._seconds)
            await transact.idle.wait()  # the database's time is not the handler's
            if transact.finished:
                await asyncio.wait({handling}, timeout=_GRACE_SECONDS)
            late = not handling.done()
        finally:
            transact.closed = True
            if not handling.done():
                await self._end(handling, handler, context)
        metrics.EVENT_HANDLER_SECONDS.labels(handler.type).observe(time.perf_counter() - started)
        error = None if late else _error_of(handling)
        if transact.finished:
            if error is not None:
                _log.error(
                    "handler failed after its commit; the commit stands",
                    event_id=context.id,
                    exc_info=error,
                )
        elif late:
            raise AttemptTimedOut(f"its handler took longer than {self._seconds:g} s")
        elif error is not None:
            raise error
        elif transact.lost is not None:
            raise transact.lost  # the handler made nothing of it, but wanted to commit
        else:
            await self._database.transaction(lambda tx: task_rows.finish(tx.session, task))

    async def _end(
        self, handling: asyncio.Task[Any], handler: Handler, context: EventContext
    ) -> None:
        handling.cancel()
        await asyncio.wait({handling}, timeout=_GRACE_SECONDS)
        if not handling.done():
            self._given_up.add(handling)
            handling.add_done_callback(self._given_up.discard)
            _log.error(
                "handler ignored its cancellation; abandoning it, it cannot commit",
                handler=handler.name,
                event_id=context.id,
                abandoned_handlers=len(self._given_up),
            )


class _Transact:
    """What `Transact` promises a handler: at most one commit, in which its task ends as well."""

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
            task_rows.finish(tx.session, self._task)
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


async def _outcome(
    handler: Handler, message: object, context: EventContext, transact: _Transact
) -> BaseException | None:
    """What a handler raised: given back, since some errors would end the event loop."""
    try:
        await handler(message, context, transact=transact)
    except (*FAILURES, asyncio.CancelledError) as error:
        return error
    return None


def _error_of(handling: asyncio.Task[BaseException | None]) -> BaseException | None:
    if handling.cancelled():  # before it had begun
        return asyncio.CancelledError()
    return handling.result()
