"""Runs claimed tasks: each holds a lease and a place until its attempt has ended."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import structlog

from chassis.database import ConnectionLost, Database, DatabaseDown
from chassis.database.faults import database_failure
from chassis.event_settings import EventSettings
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.failures import FAILURES
from chassis.events.tasks.attempts import Attempts
from chassis.events.tasks.leases import Leases
from chassis.events.tasks.outcomes import Outcomes
from chassis.events.tasks.places import Places
from chassis.events.tasks.task import ClaimLost, Task
from chassis.events.waiting import is_being_cancelled

__all__ = ["RunningTasks"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class RunningTasks:
    """The tasks that a member runs at the moment.

    `stopped` is set when the member stops. `on_ended` is called whenever a task has ended.
    `claiming` is held from the begin of a claim until its tasks run, so that a stop knows of
    each claimed task and releases it.
    """

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        settings: EventSettings,
        versions_of: Callable[[str], Collection[str] | None],
        *,
        stopped: asyncio.Event,
        on_ended: Callable[[], None],
        version: str,
    ) -> None:
        self._handlers = handlers
        self._on_ended = on_ended
        self._attempts = Attempts(database, handlers, settings)
        self._outcomes = Outcomes(database, handlers, settings, versions_of, stopped, version)
        self._running: set[asyncio.Task[Any]] = set()
        self.claiming = asyncio.Lock()
        self.async_attempts: set[asyncio.Task[None]] = set()
        """The running attempts of `async def` handlers."""
        self.leases = Leases(database, settings.task_lease_seconds)
        self.places = Places(handlers, settings.task_concurrency)

    @property
    def idle(self) -> bool:
        """Whether nothing runs."""
        return not self._running

    def begin(self, task: Task, gate: AbstractAsyncContextManager[None]) -> asyncio.Task[None]:
        """Start an attempt of a claimed task, which runs within `gate`."""
        self.leases.hold(task)
        self.places.occupy(task.type)
        running = self.start(self._run_attempt(task, gate))
        running.add_done_callback(lambda _: self._on_task_end(task))
        if self._handlers[task.type].kind == "async":
            self.async_attempts.add(running)
            running.add_done_callback(self.async_attempts.discard)
        return running

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start work that `wait` and `stop` include."""
        running = asyncio.create_task(work)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return running

    async def wait(self) -> None:
        """Wait until everything that runs has ended."""
        if self._running:
            await asyncio.wait(self._running)

    async def stop(self, seconds: float) -> None:
        """Wait for at most `seconds`, then cancel what still runs and release its tasks.

        A claim that has begun is waited for, because it may have been committed already.
        """
        async with self.claiming:
            if not self._running:
                return
            _, late = await asyncio.wait(self._running, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _on_task_end(self, task: Task) -> None:
        """Free the task's place for another one of its type."""
        self.places.vacate(task.type)
        self._on_ended()

    async def _run_attempt(self, task: Task, gate: AbstractAsyncContextManager[None]) -> None:
        """Run an attempt and record its outcome."""
        outcomes = self._outcomes
        try:
            if outcomes.is_out_of_tries(task):
                await outcomes.out_of_tries(task)
                return
            async with gate:
                await self._attempts.run(task)
            outcomes.handled(task)
        except asyncio.CancelledError as error:
            if not is_being_cancelled():
                await outcomes.failed(task, error)  # The handler raised it.
                return
            await outcomes.cancelled(task)
            raise
        except ClaimLost:
            _log.info("task taken over by another member", event_id=task.event_id)
        except FAILURES as error:
            # An async handler may have raised another error because of the database's.
            cause = database_failure(error)
            if isinstance(cause, DatabaseDown):
                await outcomes.database_down(task)
            elif isinstance(cause, ConnectionLost):
                await outcomes.connection_lost(task, cause)
            else:
                await outcomes.failed(task, cause or error)
        finally:
            self.leases.drop(task)
