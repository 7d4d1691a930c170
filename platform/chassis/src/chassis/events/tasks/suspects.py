"""Runs tasks that are suspected of ending their process: one at a time, while no other handler
runs."""

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, nullcontext

from chassis.database import Database
from chassis.event_settings import EventSettings
from chassis.events.tasks import queue
from chassis.events.tasks.backoff import backoff
from chassis.events.tasks.gate import Gate
from chassis.events.tasks.rows import Task

__all__ = ["Suspects"]

_MOMENT_SECONDS = 1.0
# Suspects wait this many times for a moment without async handlers; then those make room.
_PATIENT_DELAYS = 4

Begin = Callable[[Task, AbstractAsyncContextManager[None]], asyncio.Task[None]]


class Suspects:
    """Waits for a moment in which nothing else runs, and rests after a vain wait.

    `begin` starts an attempt. `awaiting` are the running attempts of async handlers.
    """

    def __init__(
        self,
        database: Database,
        gate: Gate,
        settings: EventSettings,
        *,
        member: str,
        version: str,
        begin: Begin,
        awaiting: Collection[asyncio.Task[None]],
        stopped: asyncio.Event,
    ) -> None:
        self._database = database
        self._gate = gate
        self._settings = settings
        self._member = member
        self._version = version
        self._begin = begin
        self._awaiting = awaiting
        self._stopped = stopped
        self._delays = 0
        self._rest_until = 0.0

    @property
    def resting(self) -> bool:
        """Whether they wait for the next time in which a moment is sought."""
        return time.monotonic() < self._rest_until

    def none_due(self) -> None:
        """None waits any more: the next one is patient again."""
        self._delays = 0

    async def run(self, types: list[str]) -> bool:
        """Run those of these types, if there is a moment for it soon; whether any ran.

        Lanes stand still for it no longer than a lease and a moment. It costs async handlers no
        try to make room: they are given back, and run again.
        """
        if self._delays >= _PATIENT_DELAYS and self._awaiting:
            for running in self._awaiting:
                running.cancel()
            await asyncio.wait(self._awaiting, timeout=_MOMENT_SECONDS)
        try:
            async with self._gate.alone(_MOMENT_SECONDS):
                return await self._run_alone(types)
        except TimeoutError:
            self._delays += 1
            self._rest_until = time.monotonic() + backoff(self._delays, self._settings)
            return False

    async def _run_alone(self, types: list[str]) -> bool:
        ran = False
        lease = self._settings.task_lease_seconds
        until = time.monotonic() + lease
        while (seconds := until - time.monotonic()) > 0 and not self._stopped.is_set():
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
