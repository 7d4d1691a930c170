"""Runs tasks that are suspected of ending their process: one at a time, while no other handler
runs."""

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, nullcontext

from chassis.database import Database
from chassis.event_settings import EventSettings
from chassis.events.membership.canaries import Canaries
from chassis.events.tasks import claims
from chassis.events.tasks.backoff import backoff
from chassis.events.tasks.gate import Gate
from chassis.events.tasks.task import Task

__all__ = ["Suspects"]

_GATE_SECONDS = 1.0
# After this number of failed attempts to run a suspect, async attempts are cancelled to make room.
_PATIENT_DELAYS = 4

Begin = Callable[[Task, AbstractAsyncContextManager[None]], asyncio.Task[None]]


class Suspects:
    """Runs suspects when the gate can be held exclusively, and rests after each attempt in vain.

    `begin` starts an attempt. `async_attempts` are the running attempts of async handlers.
    """

    def __init__(
        self,
        database: Database,
        gate: Gate,
        settings: EventSettings,
        *,
        member: str,
        version: str,
        canaries: Callable[[], Canaries],
        begin: Begin,
        async_attempts: Collection[asyncio.Task[None]],
        claiming: asyncio.Lock,
        stopped: asyncio.Event,
    ) -> None:
        self._database = database
        self._gate = gate
        self._settings = settings
        self._member = member
        self._version = version
        self._canaries = canaries
        self._begin = begin
        self._async_attempts = async_attempts
        self._claiming = claiming
        self._stopped = stopped
        self._delays = 0
        self._rest_until = 0.0

    @property
    def resting(self) -> bool:
        """Whether the gate was busy lately, so that no suspect is looked for at the moment."""
        return time.monotonic() < self._rest_until

    def none_due(self) -> None:
        """Be patient again with the next suspect, because none waits any more."""
        self._delays = 0

    async def run(self, types: list[str]) -> bool:
        """Run due suspects of these types if the gate becomes free soon; return whether any ran.

        Lanes wait for at most a lease and `_GATE_SECONDS`. An async attempt that is
        cancelled to make room is released and loses no try.
        """
        if self._delays >= _PATIENT_DELAYS and self._async_attempts:
            for running in self._async_attempts:
                running.cancel()
            await asyncio.wait(self._async_attempts, timeout=_GATE_SECONDS)
        try:
            async with self._gate.exclusive(_GATE_SECONDS):
                return await self._run_one_by_one(types)
        except TimeoutError:
            self._delays += 1
            self._rest_until = time.monotonic() + backoff(self._delays, self._settings)
            return False

    async def _run_one_by_one(self, types: list[str]) -> bool:
        """Claim and run suspects for at most the time of a lease; return whether any ran."""
        ran = False
        lease = self._settings.task_lease_seconds
        until = time.monotonic() + lease
        while (seconds := until - time.monotonic()) > 0 and not self._stopped.is_set():
            running = await self._claim_and_begin(types)
            if running is None:
                break
            ran = True
            await asyncio.wait({running}, timeout=seconds)
            if not running.done():
                # Other work resumes. If the process ends by this task it still counts as a try.
                self._gate.share_until_done(running)
                break
        return ran

    async def _claim_and_begin(self, types: list[str]) -> asyncio.Task[None] | None:
        """Claim a suspect and start its attempt; return None if none is due."""
        canary = self._canaries().own
        async with self._claiming:
            task = await self._database.transaction(
                lambda tx: claims.claim_suspect(
                    tx.session,
                    owner=self._member,
                    types=types,
                    lease_seconds=self._settings.task_lease_seconds,
                    version=self._version,
                    canary=canary,
                )
            )
            return None if task is None else self._begin(task, nullcontext())
