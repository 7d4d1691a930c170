"""Runs tasks: events whose handler failed, is an `async def`, or is suspected of killing us."""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from chassis.database import ConnectionLost, Database, DatabaseDown
from chassis.database.faults import away
from chassis.event_settings import EventSettings
from chassis.events.handlers.binding import FAILURES, Handler
from chassis.events.handlers.pauses import Pauses
from chassis.events.tasks import queue
from chassis.events.tasks.attempts import Attempts
from chassis.events.tasks.gate import Gate
from chassis.events.tasks.leases import Leases
from chassis.events.tasks.outcomes import Outcomes
from chassis.events.tasks.places import Places
from chassis.events.tasks.queue import Look, Seen
from chassis.events.tasks.rows import Task, TaskTaken
from chassis.events.tasks.suspects import Suspects
from chassis.events.tasks.unhandled import Unhandled
from chassis.events.waiting import is_being_cancelled, wait_at_most

__all__ = ["TaskRunner"]

T = TypeVar("T")

_log = structlog.get_logger(__name__)
_POLL_SECONDS = 1.0
_MORE_SECONDS = 0.1


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
        self._member = member
        self._settings = settings
        self._gate = gate
        self._pauses = pauses
        self._versions_of = versions_of
        self._stopped = asyncio.Event()
        self._woken = asyncio.Event()
        self._attempts = Attempts(database, handlers, settings)
        self._outcomes = Outcomes(database, handlers, settings, versions_of, self._stopped)
        self._leases = Leases(database, settings.task_lease_seconds)
        self._places = Places(handlers, settings.task_concurrency)
        self._running: set[asyncio.Task[Any]] = set()
        self._awaiting: set[asyncio.Task[None]] = set()  # those of async handlers
        self._suspects = Suspects(
            database,
            gate,
            settings,
            member=member,
            version=version,
            begin=self._begin,
            awaiting=self._awaiting,
            stopped=self._stopped,
        )
        self._unhandled = Unhandled(
            database, handlers, self._waited_for_by, settings.task_max_age_seconds
        )
        self._what = Look(list(handlers), version=version)
        self._more_until = 0.0

    def wake(self) -> None:
        """There may be something due. Call on the event loop."""
        self._woken.set()

    async def run(self) -> None:
        """Run tasks until `stop`, or until cancelled."""
        beside = [asyncio.create_task(work) for work in (self._leases.run(), self._unhandled.run())]
        waits = False
        seen = Seen()
        try:
            while not self._stopped.is_set():
                if self._pauses and not self._pauses.loaded.is_set():
                    await wait_at_most(self._pauses.loaded, _POLL_SECONDS)
                    continue
                self._woken.clear()
                try:
                    if waits:
                        await self._leases.renew()
                    if time.monotonic() >= self._more_until:
                        seen = await self._look()
                    if not await self._start_some(seen):
                        await self._wait(seen)
                    waits = False
                except Exception as error:
                    if not waits:  # said once, however long it lasts
                        _log.warning(
                            "claiming tasks failed; retrying",
                            error=repr(error),
                            retry_seconds=_POLL_SECONDS,
                        )
                    waits = True
                    self._leases.pause_takeovers()
                    await wait_at_most(self._stopped, _POLL_SECONDS)
            # What still runs keeps its lease.
            if self._running:
                await asyncio.wait(self._running)
        finally:
            for each in beside:
                each.cancel()

    async def stop(self, seconds: float) -> None:
        """Claim no more, let what runs finish for `seconds`, then give the rest back."""
        self._stopped.set()
        self._woken.set()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    # --- what is due ----------------------------------------------------------------------------

    async def _look(self) -> Seen:
        paused = self._pauses.types if self._pauses else frozenset()
        self._what = replace(
            self._what,
            types=[type for type in self._handlers if type not in paused],
            held=self._leases.held,
            left=self._leases.may_take_over,
            suspects=not self._suspects.resting,
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
        ran = await self._run_suspects([type for type, due in seen.alone.items() if due <= now])
        return bool(claimed or freed) or ran

    async def _run_suspects(self, types: list[str]) -> bool:
        if not types:
            if self._what.suspects:
                self._suspects.none_due()
            return False
        ran = self._start(self._suspects.run(types))
        await asyncio.wait({ran})
        return not ran.cancelled() and ran.result()

    # --- attempts -------------------------------------------------------------------------------

    def _begin(self, task: Task, gate: AbstractAsyncContextManager[None]) -> asyncio.Task[None]:
        self._leases.hold(task)
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

    async def _run(self, task: Task, gate: AbstractAsyncContextManager[None]) -> None:
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
                await outcomes.failed(task, error)  # the handler's own
                return
            await outcomes.given_back(task)
            raise
        except TaskTaken:
            _log.info("task taken over by another member", event_id=task.event_id)
        except FAILURES as error:
            said = away(error)  # an async handler may have made another error of it
            if isinstance(said, DatabaseDown):
                await outcomes.database_down(task)
            elif isinstance(said, ConnectionLost):
                await outcomes.connection_lost(task, said)
            else:
                await outcomes.failed(task, said or error)
        finally:
            self._leases.drop(task)
