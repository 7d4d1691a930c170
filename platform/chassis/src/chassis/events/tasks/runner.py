"""Runs tasks: events whose handler failed, is an `async def`, or is suspected of killing us."""

import asyncio
import math
import random
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
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
from chassis.event_settings import EventSettings
from chassis.events.handlers.binding import FAILURES, Handler, Reject
from chassis.events.handlers.failures import failure, log_handled
from chassis.events.handlers.pauses import Pauses
from chassis.events.tasks import dead_letter_rows, queue
from chassis.events.tasks import rows as task_rows
from chassis.events.tasks.attempts import Attempts
from chassis.events.tasks.gate import Gate
from chassis.events.tasks.places import Places
from chassis.events.tasks.queue import Look, Seen
from chassis.events.tasks.rows import Task, TaskTaken
from chassis.events.tasks.tries import all_spent
from chassis.events.tasks.unhandled import Unhandled
from chassis.events.waiting import is_being_cancelled, wait_at_most
from chassis.events.wire.cloudevents import Undecodable
from chassis.telemetry import metrics

__all__ = ["TaskRunner", "backoff"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)
_POLL_SECONDS = 1.0
_MORE_SECONDS = 0.1
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
        pauses: Pauses | None = None,
        version: str = "",
        versions_of: Callable[[str], Collection[str] | None] = lambda _type: (),
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._types = list(handlers)
        self._member = member
        self._settings = settings
        self._gate = gate
        self._pauses = pauses
        self._versions_of = versions_of
        self._attempts = Attempts(database, handlers, settings)
        self._version = version
        self._unhandled = Unhandled(
            database, handlers, self._waited_for_by, settings.task_max_age_seconds
        )
        self._places = Places(handlers, settings.task_concurrency)
        self._held: dict[int, Task] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._awaiting: set[asyncio.Task[None]] = set()  # those of async handlers
        self._what = Look(self._types)
        self._more_until = 0.0
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
        beside = [asyncio.create_task(work) for work in (self._renew(), self._unhandled.run())]
        waits = False
        seen = Seen()
        try:
            while not self._stopping:
                if self._pauses and not self._pauses.loaded.is_set():
                    await wait_at_most(self._pauses.loaded, _POLL_SECONDS)
                    continue
                self._woken.clear()
                try:
                    if waits:
                        await self._renew_held()
                    if time.monotonic() >= self._more_until:
                        seen = await self._look()
                    if not await self._start_some(seen):
                        await self._wait(seen)
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

    async def _look(self) -> Seen:
        now = time.monotonic()
        paused = self._pauses.types if self._pauses else frozenset()
        self._what = Look(
            types=[type for type in self._types if type not in paused],
            held=list(self._held),
            left=now >= self._frees_from,
            suspects=now >= self._suspects_rest_until,
            version=self._version,
        )
        return await self._database.read(lambda tx: queue.look(tx.session, self._what))

    def _waited_for_by(self, type: str) -> Collection[str] | None:
        """Versions for which the tasks of a type wait; those of a paused one for the operator."""
        if self._pauses and (type in self._pauses.types or not self._pauses.loaded.is_set()):
            return None
        return self._versions_of(type)

    async def _wait(self, seen: Seen) -> None:
        """Until a task is due that has a place, or somebody says that there may be one."""
        times = [seen.due[type] for type in self._places.share(seen.due)]
        times += [*seen.alone.values(), *([seen.left] if seen.left is not None else [])]
        # Never at once: one that is due may be locked by who claims it.
        until = max(0.005, min(times, default=math.inf) - time.time())
        await wait_at_most(self._woken, min(_POLL_SECONDS, until))

    async def _start_some(self, seen: Seen) -> bool:
        """Claim what is due and has a place; whether anything was claimed or freed."""
        now = time.time()
        places = self._places.share(seen.types_due(now))
        left = seen.left is not None and seen.left < now
        claimed: list[Task] = []
        freed = 0
        if places or left:
            claimed, freed = await self._database.transaction(
                lambda tx: queue.claim(
                    tx.session,
                    replace(self._what, left=left),
                    places,
                    owner=self._member,
                    lease_seconds=self._settings.task_lease_seconds,
                )
            )
        for task in claimed:
            self._begin(task, self._gate.shared())
        if claimed:
            # Where all places were filled there is more: a look before each claim would be in vain.
            more = len(claimed) == sum(places.values())
            self._more_until = time.monotonic() + _MORE_SECONDS if more else 0.0
        suspects = [type for type, due in seen.alone.items() if due <= now]
        if not suspects:
            if self._what.suspects:
                self._delays = 0
            return bool(claimed or freed)
        ran = self._start(self._run_suspects(suspects))
        await asyncio.wait({ran})
        return bool(claimed or freed) or (not ran.cancelled() and ran.result())

    def _begin(self, task: Task, gate: AbstractAsyncContextManager[None]) -> asyncio.Task[None]:
        self._held[task.id] = task
        self._places.take(task.type)
        running = self._start(self._run(task, gate))
        running.add_done_callback(lambda _: self._ended(task))
        if self._handlers[task.type].kind == "async":
            self._awaiting.add(running)
            running.add_done_callback(self._awaiting.discard)
        return running

    def _ended(self, task: Task) -> None:
        self._places.give_back(task.type)
        self._woken.set()

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        running = asyncio.create_task(work)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return running

    async def _run_suspects(self, types: list[str]) -> bool:
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
                return await self._run_alone(types)
        except TimeoutError:
            self._delays += 1
            rest = backoff(self._delays, self._settings)
            self._suspects_rest_until = time.monotonic() + rest
            return False

    async def _run_alone(self, types: list[str]) -> bool:
        ran = False
        lease = self._settings.task_lease_seconds
        until = time.monotonic() + lease
        while (seconds := until - time.monotonic()) > 0 and not self._stopping:
            task = await self._database.transaction(
                lambda tx: queue.claim_alone(
                    tx.session,
                    owner=self._member,
                    types=types,
                    lease_seconds=lease,
                    version=self._version,
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
            if _tries_before(task) >= self._settings.task_tries:
                await self._out_of_tries(task)
                return
            async with gate:
                await self._attempts.run(task)
            self._lost_connection.discard((task.id, task.tries))
            metrics.EVENTS_HANDLED.labels(task.type).inc()
            if self._settings.log_events:
                log_handled(task.type, task.event_id, task.key, tries=task.tries + 1)
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

    # --- failures -------------------------------------------------------------------------------

    async def _failed(self, task: Task, error: BaseException) -> None:
        metrics.EVENTS_FAILED.labels(task.type).inc()
        before = _tries_before(task)
        tries = before + 1
        said = failure(
            error,
            event_id=task.event_id,
            type=task.type,
            key=task.key,
            handler=self._handlers[task.type].name,
            first=before == 0,
        )
        if is_unavailable(error):
            # Costs time, not tries.
            age = time.time() - task.stored_at
            if age > self._settings.task_max_age_seconds:
                said["reason"] = f"unavailable for {age:.0f} s: {said['reason']}"
                await self._bury(task, before, said)
            else:
                await self._postpone(task, before, backoff(3, self._settings), said)
        elif isinstance(error, (Reject, Undecodable)) or self._all_spent(task, tries):
            await self._bury(task, tries, said)
        elif tries >= self._settings.task_tries:
            await self._leave(task, tries, said)
        else:
            await self._postpone(task, tries, backoff(tries, self._settings), said)

    async def _out_of_tries(self, task: Task) -> None:
        """Another version that runs may try it still."""
        tries = _tries_before(task)
        if self._all_spent(task, tries):
            reason = _ended_its_process(task) if task.alone else task.reason
            await self._bury(task, tries, self._of(task, reason))
        else:
            await self._leave(task, tries, self._of(task, task.reason))

    def _all_spent(self, task: Task, tries: int) -> bool:
        """Whether this version has made all its tries, and so has each other one that runs."""
        most = self._settings.task_tries
        if tries < most:
            return False
        return all_spent(task.having(tries), self._versions_of(task.type), most)

    async def _leave(self, task: Task, tries: int, said: Mapping[str, Any]) -> None:
        """For another version; soon, since members of this one may be faster to claim it."""
        _log.info(
            "an event is out of tries of this version, and waits for those of others that run",
            **said,
        )
        due_at, reason = time.time() + backoff(2, self._settings), said["reason"]
        await self._settle(
            lambda tx: task_rows.postpone(
                tx.session, task, tries=tries, due_at=due_at, reason=reason
            )
        )

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

    async def _postpone(
        self, task: Task, tries: int, seconds: float, said: Mapping[str, Any]
    ) -> None:
        again = round(seconds, 3)
        _log.warning("an event failed and is tried again", **said, tries=tries, again_seconds=again)
        due_at, reason = time.time() + seconds, said["reason"]
        await self._settle(
            lambda tx: task_rows.postpone(
                tx.session, task, tries=tries, due_at=due_at, reason=reason
            )
        )

    async def _bury(self, task: Task, tries: int, said: Mapping[str, Any]) -> None:
        _log.error("an event became a dead letter", **said, tries=tries)
        reason = said["reason"]
        await self._settle(
            lambda tx: dead_letter_rows.bury(tx.session, task, tries=tries, reason=reason)
        )

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

    async def _renew_held(self) -> None:
        held = list(self._held.values())
        if held:
            lease = self._settings.task_lease_seconds
            await self._database.transaction(
                lambda tx: task_rows.renew(tx.session, held, lease), urgent=True
            )

    def _free_nobody(self) -> None:
        """The database was away: a lease may have run out though its owner lives and renews it."""
        self._frees_from = time.monotonic() + self._settings.task_lease_seconds

    def _of(self, task: Task, reason: str) -> Mapping[str, Any]:
        return {
            "event_id": task.event_id,
            "type": task.type,
            "key": task.key,
            "handler": self._handlers[task.type].name,
            "reason": reason,
        }


def _ended_its_process(task: Task) -> str:
    said = f"; before that: {task.reason}" if task.reason else ""
    return f"its process ended while it ran alone, in the last of {task.tries - 1} tries{said}"


def _tries_before(task: Task) -> int:
    """The running attempt of one that is alone is among its tries already."""
    return task.tries - 1 if task.alone else task.tries
