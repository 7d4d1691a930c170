"""Looks for due tasks and claims those that have a place."""

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from chassis.database import Database
from chassis.event_settings import EventSettings
from chassis.events.handlers.pauses import Pauses
from chassis.events.membership.canaries import Canaries
from chassis.events.tasks import claims, queue
from chassis.events.tasks.leases import Leases
from chassis.events.tasks.places import Places
from chassis.events.tasks.queue import DueTimes, TaskFilter
from chassis.events.tasks.task import Task

__all__ = ["Claimer"]

_CLAIM_WITHOUT_LOOK_SECONDS = 0.1
_MIN_WAIT_SECONDS = 0.005


class Claimer:
    """Claims tasks for one member, and knows when the next ones are due."""

    def __init__(
        self,
        database: Database,
        types: Collection[str],
        settings: EventSettings,
        *,
        member: str,
        version: str,
        pauses: Pauses | None,
        canaries: Callable[[], Canaries],
        leases: Leases,
        places: Places,
    ) -> None:
        self._database = database
        self._types = types
        self._settings = settings
        self._member = member
        self._pauses = pauses
        self._canaries = canaries
        self._leases = leases
        self._places = places
        self._wanted = TaskFilter(list(types), version=version)
        self._due = DueTimes()
        self._look_from = 0.0

    async def look(self, *, suspects: bool) -> None:
        """See when tasks are due, unless a claim has just shown that more are waiting."""
        if time.monotonic() < self._look_from:
            return
        paused = self._pauses.types if self._pauses else frozenset()
        canaries = self._canaries()
        types = self._types if canaries.takes_events else ()
        self._wanted = replace(
            self._wanted,
            types=[type for type in types if type not in paused],
            canary=canaries.own,
            held_ids=[task.id for task in self._leases.held],
            expired=self._leases.may_take_over,
            suspects=suspects,
        )
        self._due = await self._database.read(lambda tx: queue.find_due(tx.session, self._wanted))

    async def claim(self) -> tuple[list[Task], int]:
        """Claim due tasks that have a place; return them and the number of freed expired claims."""
        now = time.time()
        places = self._places.share(self._due.due_types(now))
        expired = self._due.lease_end is not None and self._due.lease_end < now
        if not places and not expired:
            return [], 0
        claimed, freed = await self._database.transaction(
            lambda tx: claims.claim(
                tx.session,
                replace(self._wanted, expired=expired),
                places,
                owner=self._member,
                lease_seconds=self._settings.task_lease_seconds,
            )
        )
        if claimed:
            # If all places were filled more tasks are probably due, so that the next claim needs no
            # look before it.
            filled = len(claimed) == sum(places.values())
            self._look_from = time.monotonic() + _CLAIM_WITHOUT_LOOK_SECONDS if filled else 0.0
        return claimed, freed

    def due_suspects(self) -> list[str]:
        """Return the types with a due task that runs alone."""
        return self._due.due_suspects(time.time())

    @property
    def types(self) -> Sequence[str]:
        """The types that the last look included: those that are not paused."""
        return self._wanted.types

    @property
    def looks_for_suspects(self) -> bool:
        """Whether the last look included tasks that run alone."""
        return self._wanted.suspects

    @property
    def found_none(self) -> bool:
        """Whether the last look was for all tasks, and found none, due or not."""
        due = self._due
        found = due.by_type or due.suspects or due.lease_end is not None
        return self._wanted.suspects and not found

    def seconds_until_due(self) -> float:
        """Return the time until a task is due that has a place; infinite if none is known."""
        due = self._due
        times = [due.by_type[type] for type in self._places.share(due.by_type)]
        times += [*due.suspects.values(), *([due.lease_end] if due.lease_end is not None else [])]
        # The wait is never zero, because a due task may be locked by another claim.
        return max(_MIN_WAIT_SECONDS, min(times, default=math.inf) - time.time())
