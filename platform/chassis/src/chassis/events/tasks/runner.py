"""Runs tasks: events whose handler failed, is an `async def`, or may end its process."""

import asyncio
from collections.abc import Callable, Collection, Mapping

import structlog

from chassis.database import Database
from chassis.event_settings import EventSettings
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.pauses import Pauses
from chassis.events.membership.canaries import Canaries
from chassis.events.tasks.claiming import Claimer
from chassis.events.tasks.execution import RunningTasks
from chassis.events.tasks.gate import Gate
from chassis.events.tasks.orphans import Orphans
from chassis.events.tasks.suspects import Suspects
from chassis.events.tasks.unhandled import Unhandled
from chassis.events.waiting import wait_at_most

__all__ = ["POLL_SECONDS", "TaskRunner"]

_log = structlog.get_logger(__name__)
POLL_SECONDS = 1.0
"""Maximum pause between two searches for due tasks while there are any."""
# Each search that finds no task doubles the pause, up to this many times POLL_SECONDS. Tasks that
# this process stores end the pause; the pause delays only those that another replica has left.
_IDLE_FACTOR = 5


class TaskRunner:
    """Claims due tasks and runs a limited number of them concurrently.

    `versions_of` returns the running versions that run a type's tasks that are not a canary's, None
    if they are unknown, and `canaries` those with a weight.
    """

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
        canaries: Callable[[], Canaries] = Canaries,
    ) -> None:
        self._gate = gate
        self._pauses = pauses
        self._versions_of = versions_of
        self._stopped = asyncio.Event()
        self._woken = asyncio.Event()
        self.running = RunningTasks(
            database,
            handlers,
            settings,
            versions_of,
            stopped=self._stopped,
            on_ended=self.wake,
            version=version,
        )
        self.claimer = Claimer(
            database,
            handlers,
            settings,
            member=member,
            version=version,
            pauses=pauses,
            canaries=canaries,
            leases=self.running.leases,
            places=self.running.places,
        )
        self._suspects = Suspects(
            database,
            gate,
            settings,
            member=member,
            version=version,
            canaries=canaries,
            begin=self.running.begin,
            async_attempts=self.running.async_attempts,
            claiming=self.running.claiming,
            stopped=self._stopped,
        )
        self.orphans = Orphans(database, canaries)
        self._unhandled = Unhandled(
            database, handlers, self._versions_unless_paused, settings.task_max_age_seconds
        )

    def wake(self) -> None:
        """Make the runner look for due tasks now. Call on the event loop."""
        self._woken.set()

    def tasks_stored(self, canary: str) -> None:
        """Look for due tasks now that some of a canary, or of none, were stored."""
        self.wake()
        self.orphans.tasks_stored(canary)

    async def run(self) -> None:
        """Run tasks until `stop`, or until cancelled."""
        leases = self.running.leases
        background = [
            asyncio.create_task(work)
            for work in (leases.run(), self._unhandled.run(), self.orphans.run())
        ]
        failing = False
        pause = POLL_SECONDS
        try:
            while not self._stopped.is_set():
                if self._pauses and not self._pauses.loaded.is_set():
                    await wait_at_most(self._pauses.loaded, POLL_SECONDS)
                    continue
                self._woken.clear()
                try:
                    if failing:
                        await leases.renew()
                    await self.claimer.look(suspects=not self._suspects.resting)
                    if not await self._start_due():
                        seconds = min(pause, self.claimer.seconds_until_due())
                        woken = await wait_at_most(self._woken, seconds)
                        idle = self.claimer.found_none and not woken
                        pause = (
                            min(2 * pause, _IDLE_FACTOR * POLL_SECONDS) if idle else POLL_SECONDS
                        )
                    failing = False
                except Exception as error:
                    if not failing:  # A lasting failure is logged once.
                        _log.warning(
                            "claiming tasks failed; retrying",
                            error=repr(error),
                            retry_seconds=POLL_SECONDS,
                        )
                    failing = True
                    leases.pause_takeovers()
                    await wait_at_most(self._stopped, POLL_SECONDS)
            # The leases are renewed until the last task has ended.
            await self.running.wait()
        finally:
            for each in background:
                each.cancel()

    async def stop(self, seconds: float) -> None:
        """Stop claiming, let running tasks finish for `seconds`, then release the others."""
        self._stopped.set()
        self._woken.set()
        await self.running.stop(seconds)

    def _versions_unless_paused(self, type: str) -> Collection[str] | None:
        """Return the versions that handle a type; None if it is paused, so that its tasks wait."""
        if self._pauses and (type in self._pauses.types or not self._pauses.loaded.is_set()):
            return None
        return self._versions_of(type)

    async def _start_due(self) -> bool:
        """Start the due tasks that have a place; return whether anything was claimed or freed."""
        suspects = self.claimer.due_suspects()
        async with self.running.claiming:
            if self._stopped.is_set():
                return False
            claimed, freed = await self.claimer.claim()
            for task in claimed:
                self.running.begin(task, self._gate.shared())
        ran = await self._run_suspects(suspects)
        return bool(claimed or freed) or ran

    async def _run_suspects(self, types: list[str]) -> bool:
        """Run due suspects, one by one; return whether any ran."""
        if not types:
            if self.claimer.looks_for_suspects:
                self._suspects.none_due()
            return False
        running = self.running.start(self._suspects.run(types))
        await asyncio.wait({running})
        return not running.cancelled() and running.result()
