"""Runs tasks: events whose handler failed, is an `async def`, or is suspected of killing us."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import Any, TypeVar

import structlog

from chassis.database import (
    ConnectionLost,
    Database,
    DatabaseAtFault,
    DatabaseDown,
    Transaction,
)
from chassis.database.faults import away
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
from chassis.events.task_rows import Look, Task, TaskTaken
from chassis.events.waiting import is_being_cancelled, wait_at_most
from chassis.telemetry import metrics

__all__ = ["TaskRunner", "backoff"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)
_POLL_SECONDS = 1.0
_UNHANDLED_SECONDS = 60.0
# So often a suspect waits for a moment without async handlers; then they make room.
_PATIENT_DELAYS = 4


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
        self._awaiting: set[asyncio.Task[None]] = set()  # those of async handlers
        self._delays = 0
        self._suspects_rest_until = 0.0
        self._frees_from = 0.0
        self._woken = asyncio.Event()
        self._stopping = False
        self._stopped = asyncio.Event()
        self._lost_connection: set[tuple[int, int]] = set()

    def wake(self) -> None:
        """There may be something due. Call on the event loop."""
        self._woken.set()

    async def run(self) -> None:
        """Run tasks until `stop`, or until cancelled."""
        beside = [asyncio.create_task(work) for work in (self._renew(), self._tell_unhandled())]
        waits = False
        try:
            while not self._stopping:
                self._woken.clear()
                try:
                    if waits:
                        await self._renew_held()
                    if not await self._start_some():
                        await self._wait()
                    waits = False
                except Exception as error:
                    if not waits:  # said once, however long it lasts
                        _log.warning("tasks wait", error=repr(error))
                    waits = True
                    self._free_nobody()
                    await wait_at_most(self._stopped, _POLL_SECONDS)
            # What still runs keeps its lease.
            if self._running:
                await asyncio.wait(self._running)
        finally:
            for each in beside:
                each.cancel()

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
            due = await self._next_due()
            seconds = _POLL_SECONDS
            if due is not None:
                # Never at once: one that is due may be locked by who claims it.
                seconds = min(seconds, max(0.005, due - time.time()))
            if await wait_at_most(self._woken, seconds):
                return

    async def _next_due(self) -> float | None:
        look = self._look()
        return await self._database.read(lambda tx: task_rows.next_due(tx.session, look))

    def _look(self) -> Look:
        now = time.monotonic()
        return Look(
            types=self._types,
            held=list(self._held),
            left=now >= self._frees_from,
            suspects=now >= self._suspects_rest_until,
        )

    async def _start_some(self) -> bool:
        """Claim what there is room for; whether anything was claimed."""
        if self._room() <= 0:
            # Those that hang keep no suspect waiting.
            await asyncio.wait(
                self._running, timeout=_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
        look = self._look()
        claimed, suspects = await self._database.transaction(
            lambda tx: task_rows.claim(
                tx.session,
                look,
                owner=self._member,
                limit=max(0, self._room()),
                lease_seconds=self._settings.task_lease_seconds,
            )
        )
        for task in claimed:
            self._begin(task, self._gate.shared())
        if not suspects:
            if look.suspects:
                self._delays = 0
            return bool(claimed)
        ran = self._start(self._run_suspects())
        await asyncio.wait({ran})
        return bool(claimed) or (not ran.cancelled() and ran.result())

    def _room(self) -> int:
        return self._settings.task_concurrency - len(self._running)

    def _begin(self, task: Task, gate: AbstractAsyncContextManager[None]) -> asyncio.Task[None]:
        self._held[task.id] = task
        running = self._start(self._run(task, gate))
        if self._handlers[task.type].kind == "async":
            self._awaiting.add(running)
            running.add_done_callback(self._awaiting.discard)
        return running

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        running = asyncio.create_task(work)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return running

    async def _run_suspects(self) -> bool:
        """Run what runs alone, if there is a moment for it soon; whether anything ran.

        Lanes stand still for it no longer than a lease and a moment. It costs async handlers no
        try to make room: they are given back, and run again.
        """
        if self._delays >= _PATIENT_DELAYS and self._awaiting:
            for running in self._awaiting:
                running.cancel()
            await asyncio.wait(self._awaiting, timeout=_POLL_SECONDS)
        try:
            async with self._gate.alone(_POLL_SECONDS):
                return await self._run_alone()
        except TimeoutError:
            self._delays += 1
            rest = backoff(self._delays, self._settings)
            self._suspects_rest_until = time.monotonic() + rest
            return False

    async def _run_alone(self) -> bool:
        ran = False
        lease = self._settings.task_lease_seconds
        until = time.monotonic() + lease
        while (seconds := until - time.monotonic()) > 0 and not self._stopping:
            task = await self._database.transaction(
                lambda tx: task_rows.claim_alone(
                    tx.session, owner=self._member, types=self._types, lease_seconds=lease
                )
            )
            if task is None:
                break
            ran = True
            running = self._begin(task, nullcontext())
            await asyncio.wait({running}, timeout=seconds)
            if not running.done():
                # It lives; that its process may end by it counts as a try still.
                self._gate.stay(running)
                break
        return ran

    async def _run(self, task: Task, gate: AbstractAsyncContextManager[None]) -> None:
        try:
            if task.tries > self._settings.task_tries:
                await self._bury(task, task.tries - 1, _ended_its_process(task))
                return
            async with gate:
                await self.attempt(task)
            self._lost_connection.discard((task.id, task.tries))
            metrics.EVENTS_HANDLED.labels(task.type).inc()
        except asyncio.CancelledError as error:
            if not is_being_cancelled():
                await self._failed(task, error)  # the handler's own
                return
            now = time.time()
            await self._settle(lambda tx: task_rows.release(tx.session, task, due_at=now))
            raise
        except TaskTaken:
            _log.info("a task was taken over by another member", event_id=task.event_id)
        except FAILURES as error:
            said = away(error)  # an async handler may have made another error of it
            if isinstance(said, DatabaseDown):
                # Not at once: a full disk may have room for the release.
                due_at = time.time() + _POLL_SECONDS
                await self._when_up(lambda tx: task_rows.release(tx.session, task, due_at=due_at))
            elif isinstance(said, ConnectionLost):
                await self._connection_lost(task, said)
            else:
                await self._failed(task, said or error)
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
        lost: DatabaseDown | ConnectionLost | None = None

        async def transact(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            nonlocal finished, lost
            if finished:
                raise RuntimeError("transact is called at most once in a handler")

            def commit(tx: Transaction) -> Any:
                tx.cause = context
                task_rows.finish(tx.session, task)
                return work(tx, *args, **kwargs)

            try:
                result = await self._database.transaction(commit)
            except (DatabaseDown, ConnectionLost) as error:
                lost = error
                raise
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
            if lost is not None:
                raise lost  # the handler made nothing of it, but wanted to commit
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
        if place in self._lost_connection:
            self._lost_connection.discard(place)
            await self._failed(task, error)
            return
        self._lost_connection.add(place)
        # Soon: it was the database's own doing, most likely.
        due_at = time.time() + min(_POLL_SECONDS, backoff(1, self._settings))
        await self._when_up(lambda tx: task_rows.release(tx.session, task, due_at=due_at))

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
        except (DatabaseDown, ConnectionLost, DatabaseAtFault):
            await self._when_up(work)
        except Exception:  # its lease runs out, and then it runs alone
            _log.exception("what became of a task cannot be written down")

    async def _when_up(self, work: Callable[[Transaction], None]) -> None:
        """No try is spent on a database that is away; the lease outlives a short absence."""
        while not self._stopping:
            try:
                await self._database.transaction(work)
            except (DatabaseDown, ConnectionLost, DatabaseAtFault):
                await wait_at_most(self._stopped, _POLL_SECONDS)
                continue
            except TaskTaken:
                pass
            return

    async def _renew(self) -> None:
        every = self._settings.task_lease_seconds / 3
        seconds = every
        while True:
            await asyncio.sleep(seconds)
            seconds = every
            try:
                await self._renew_held()
            except Exception as error:
                _log.warning("leases of tasks were not renewed", error=repr(error))
                self._free_nobody()
                seconds = min(every, _POLL_SECONDS)

    async def _tell_unhandled(self) -> None:
        """Say, once for each type, that tasks wait for a version that handles it."""
        told: set[str] = set()
        while True:
            before = time.time() - self._settings.task_max_age_seconds
            found: dict[str, int] = {}
            with suppress(Exception):  # that the database is away is said elsewhere
                found = await self._database.read(
                    lambda tx, before=before: task_rows.unhandled(tx.session, self._types, before)  # type: ignore[misc]
                )
            for type in found.keys() - told:
                _log.error(
                    "events wait for a version that handles them", type=type, keys=found[type]
                )
            told |= found.keys()
            await asyncio.sleep(_UNHANDLED_SECONDS)

    async def _renew_held(self) -> None:
        held = list(self._held.values())
        if held:
            lease = self._settings.task_lease_seconds
            await self._database.transaction(lambda tx: task_rows.renew(tx.session, held, lease))

    def _free_nobody(self) -> None:
        """The database was away: a lease may have run out though its owner lives and renews it."""
        self._frees_from = time.monotonic() + self._settings.task_lease_seconds


def _ended_its_process(task: Task) -> str:
    said = f"; before that: {task.reason}" if task.reason else ""
    return f"its process ended while it ran alone, in the last of {task.tries - 1} tries{said}"
