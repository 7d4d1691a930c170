"""Runs tasks: events whose handler failed, is an `async def`, or is suspected of killing us."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeVar

import structlog

from chassis.database import ConnectionLost, Database, DatabaseDown, Transaction
from chassis.errors import is_unavailable
from chassis.events import task_rows
from chassis.events.arrival import read_stored
from chassis.events.batch import call_one
from chassis.events.cloudevents import Undecodable
from chassis.events.context import EventContext
from chassis.events.gate import Gate
from chassis.events.handlers import FAILURES, Handler, Reject
from chassis.events.reasons import reason_of
from chassis.events.settings import EventSettings
from chassis.events.spans import event_span
from chassis.events.task_rows import Task, TaskTaken
from chassis.events.waiting import is_being_cancelled, wait_at_most
from chassis.telemetry import metrics

__all__ = ["TaskRunner", "backoff"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)
_POLL_SECONDS = 1.0


def backoff(tries: int, settings: EventSettings) -> float:
    """Seconds to wait after so many tries: exponential, with full jitter above one half."""
    doubled = settings.task_backoff_seconds * 2.0 ** min(tries - 1, 30)
    longest = min(settings.task_backoff_max_seconds, doubled)
    return longest * random.uniform(0.5, 1)


class TaskRunner:
    """Claims tasks that are due and runs them, a bounded number at once."""

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        *,
        member: str,
        settings: EventSettings,
        gate: Gate,
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._types = list(handlers)
        self._member = member
        self._settings = settings
        self._gate = gate
        self._held: dict[int, Task] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._woken = asyncio.Event()
        self._stopping = False
        self._stopped = asyncio.Event()
        self._lost_connection: tuple[int, int] | None = None

    def wake(self) -> None:
        """There may be something due. Call on the event loop."""
        self._woken.set()

    async def run(self) -> None:
        """Run tasks until `stop`, or until cancelled."""
        renewing = asyncio.create_task(self._renew())
        waits = False
        try:
            while not self._stopping:
                self._woken.clear()
                try:
                    if not await self._start_some():
                        await self._wait()
                    waits = False
                except Exception as error:
                    if not waits:  # said once, however long it lasts
                        _log.warning("tasks wait", error=repr(error))
                    waits = True
                    await wait_at_most(self._stopped, _POLL_SECONDS)
            # What still runs keeps its lease.
            if self._running:
                await asyncio.wait(self._running)
        finally:
            renewing.cancel()

    async def stop(self, seconds: float) -> None:
        """Claim no more, let what runs finish for `seconds`, then give the rest back."""
        self._stopping = True
        self._stopped.set()
        self._woken.set()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _wait(self) -> None:
        """Until a task is due, or somebody says that there may be one."""
        due = None
        while due is None:
            due = await self._database.read(lambda tx: task_rows.next_due(tx.session, self._types))
            seconds = _POLL_SECONDS
            if due is not None:
                # Never at once: one that is due may be locked by who claims it.
                seconds = min(seconds, max(0.005, due - time.time()))
            if await wait_at_most(self._woken, seconds):
                return

    async def _start_some(self) -> bool:
        """Claim what there is room for; whether anything was claimed."""
        room = self._settings.task_concurrency - len(self._running)
        if room <= 0:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            return True
        claimed, alone = await self._database.transaction(
            lambda tx: task_rows.claim(
                tx.session,
                owner=self._member,
                types=self._types,
                limit=room,
                lease_seconds=self._settings.task_lease_seconds,
            )
        )
        for task in claimed:
            self._held[task.id] = task
            self._start(self._run(task, self._gate.shared()))
        if not alone:
            return bool(claimed)
        ran = self._start(self._run_alone())
        await asyncio.wait({ran})
        return not ran.cancelled() and ran.result()

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        running = asyncio.create_task(work)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return running

    async def _run_alone(self) -> bool:
        async with self._gate.alone():
            task = await self._database.transaction(
                lambda tx: task_rows.claim_alone(
                    tx.session,
                    owner=self._member,
                    types=self._types,
                    lease_seconds=self._settings.task_lease_seconds,
                )
            )
            if task is None:
                return False
            self._held[task.id] = task
            await self._run(task, nullcontext())
            return True

    async def _run(self, task: Task, gate: AbstractAsyncContextManager[None]) -> None:
        try:
            if task.tries > self._settings.task_tries:
                await self._bury(task, task.tries - 1, _ended_its_process(task))
                return
            async with gate:
                await self.attempt(task)
            metrics.EVENTS_HANDLED.labels(task.type).inc()
        except asyncio.CancelledError as error:
            if not is_being_cancelled():
                await self._failed(task, error)  # the handler's own
                return
            await self._settle(lambda tx: task_rows.release(tx.session, task))
            raise
        except TaskTaken:
            _log.info("a task was taken over by another member", event_id=task.event_id)
        except DatabaseDown:
            await self._when_up(lambda tx: task_rows.release(tx.session, task))
        except ConnectionLost as error:
            await self._connection_lost(task, error)
        except FAILURES as error:
            await self._failed(task, error)
        finally:
            self._held.pop(task.id, None)
            self._woken.set()

    # --- one attempt ----------------------------------------------------------------------------

    async def attempt(self, task: Task) -> None:
        """Let a claimed task take effect and end, in one commit.

        Raises:
            TaskTaken: another member has claimed it meanwhile.
            Exception: what its handler raised, or its commit.
        """
        handler = self._handlers[task.type]
        context, message, hop = read_stored(task.headers, task.data, handler)
        if handler.kind == "async":
            with event_span(handler.type, context, hop):
                await self._attempt_async(task, handler, context, message)
            return

        def work(tx: Transaction) -> None:
            task_rows.finish(tx.session, task)
            call_one(handler, tx, message, context, hop)

        await self._database.transaction(work)

    async def _attempt_async(
        self, task: Task, handler: Handler, context: EventContext, message: object
    ) -> None:
        finished = False

        async def transact(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            nonlocal finished
            if finished:
                raise RuntimeError("transact is called at most once in a handler")

            def commit(tx: Transaction) -> Any:
                tx.cause = context
                task_rows.finish(tx.session, task)
                return work(tx, *args, **kwargs)

            result = await self._database.transaction(commit)
            finished = True
            return result

        started = time.perf_counter()
        try:
            await handler(message, context, transact=transact)
        except FAILURES:
            if not finished:
                raise
            _log.exception("a handler failed after its transact", event_id=context.id)
        metrics.EVENT_HANDLER_SECONDS.labels(handler.type).observe(time.perf_counter() - started)
        if not finished:
            await self._database.transaction(lambda tx: task_rows.finish(tx.session, task))

    # --- failures -------------------------------------------------------------------------------

    async def _failed(self, task: Task, error: BaseException) -> None:
        metrics.EVENTS_FAILED.labels(task.type).inc()
        reason = reason_of(error)
        # The running attempt of one that is alone is among its tries already.
        before = task.tries - 1 if task.alone else task.tries
        tries = before + 1
        if is_unavailable(error):
            # Costs time, not tries.
            age = time.time() - task.stored_at
            if age > self._settings.task_max_age_seconds:
                await self._bury(task, before, f"unavailable for {age:.0f} s: {reason}")
            else:
                await self._postpone(task, before, backoff(3, self._settings), reason)
        elif isinstance(error, (Reject, Undecodable)) or tries >= self._settings.task_tries:
            await self._bury(task, tries, reason)
        else:
            await self._postpone(task, tries, backoff(tries, self._settings), reason)

    async def _connection_lost(self, task: Task, error: ConnectionLost) -> None:
        """Is the database away, or does the event's handler end its connection each time?"""
        place = task.id, task.tries
        again, self._lost_connection = self._lost_connection == place, place
        if again:
            await self._failed(task, error)
        else:
            await self._when_up(lambda tx: task_rows.release(tx.session, task))

    async def _postpone(self, task: Task, tries: int, seconds: float, reason: str) -> None:
        _log.warning(
            "an event failed and is tried again",
            event_id=task.event_id,
            type=task.type,
            tries=tries,
            again_seconds=round(seconds, 3),
            reason=reason,
        )
        due_at = time.time() + seconds
        await self._settle(
            lambda tx: task_rows.postpone(
                tx.session, task, tries=tries, due_at=due_at, reason=reason
            )
        )

    async def _bury(self, task: Task, tries: int, reason: str) -> None:
        _log.error(
            "an event became a dead letter", event_id=task.event_id, type=task.type, reason=reason
        )
        await self._settle(lambda tx: task_rows.bury(tx.session, task, tries=tries, reason=reason))

    async def _settle(self, work: Callable[[Transaction], None]) -> None:
        try:
            await self._database.transaction(work)
        except TaskTaken:
            _log.info("a task was taken over by another member")
        except (DatabaseDown, ConnectionLost):
            await self._when_up(work)
        except Exception:  # its lease runs out, and then it runs alone
            _log.exception("what became of a task cannot be written down")

    async def _when_up(self, work: Callable[[Transaction], None]) -> None:
        """No try is spent on a database that is away; the lease outlives a short absence."""
        while not self._stopping:
            try:
                await self._database.transaction(work)
            except (DatabaseDown, ConnectionLost):
                await wait_at_most(self._stopped, _POLL_SECONDS)
                continue
            except TaskTaken:
                pass
            return

    async def _renew(self) -> None:
        lease = self._settings.task_lease_seconds
        while True:
            await asyncio.sleep(lease / 3)
            held = list(self._held.values())
            if held:
                try:
                    await self._database.transaction(
                        lambda tx, held=held: task_rows.renew(tx.session, held, lease)  # type: ignore[misc]
                    )
                except Exception as error:
                    _log.warning("leases of tasks were not renewed", error=repr(error))


def _ended_its_process(task: Task) -> str:
    said = f"; before that: {task.reason}" if task.reason else ""
    return f"its process ended while it ran alone, in the last of {task.tries - 1} tries{said}"
