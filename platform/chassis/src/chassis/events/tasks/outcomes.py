"""Records the outcome of an attempt: the task is done, tried again, or becomes a dead letter."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import structlog

from chassis.database import (
    ConnectionLost,
    Database,
    DatabaseAtFault,
    DatabaseDown,
    Transaction,
)
from chassis.errors import is_unavailable
from chassis.event_settings import EventSettings
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.failures import Reject, failure_values, log_handled
from chassis.events.tasks import claims, dead_letter_rows
from chassis.events.tasks.backoff import backoff
from chassis.events.tasks.task import ClaimLost, Task
from chassis.events.tasks.tries import all_spent
from chassis.events.waiting import wait_at_most
from chassis.events.wire.attributes import Undecodable
from chassis.telemetry import metrics

__all__ = ["Outcomes"]

_log = structlog.get_logger(__name__)
_RETRY_SECONDS = 1.0


class Outcomes:
    """Records the outcomes of a member's attempts.

    `versions_of` returns the running versions that run a type's tasks that are not a canary's, None
    if they are unknown. An unavailable database is waited for until `stopped` is set. Dead letters
    name `version`, that of this member.
    """

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        settings: EventSettings,
        versions_of: Callable[[str], Collection[str] | None],
        stopped: asyncio.Event,
        version: str,
    ) -> None:
        self._version = version
        self._database = database
        self._handlers = handlers
        self._settings = settings
        self._versions_of = versions_of
        self._stopped = stopped
        self._lost_connection: set[tuple[int, int]] = set()

    def handled(self, task: Task) -> None:
        """Count and log a task that has taken effect and was finished in the same commit."""
        self._lost_connection.discard((task.id, task.tries))
        metrics.EVENTS_HANDLED.labels(task.type).inc()
        if self._settings.log_events:
            log_handled(task.type, task.event_id, task.key, tries=task.tries + 1)

    def is_out_of_tries(self, task: Task) -> bool:
        """Whether this version has made all its tries of the task."""
        return _tries_before(task) >= self._settings.task_tries

    async def out_of_tries(self, task: Task) -> None:
        """Leave the task to another running version that has tries left, or bury it."""
        tries = _tries_before(task)
        if self._all_spent(task, tries):
            reason = _explain_process_end(task) if task.alone else task.reason
            await self._bury(task, tries, self._details(task, reason))
        else:
            await self._leave_to_others(task, tries, self._details(task, task.reason))

    async def failed(self, task: Task, error: BaseException) -> None:
        """Try the task again later, leave it to another version, or bury it."""
        metrics.EVENTS_FAILED.labels(task.type).inc()
        if not task.reason:
            metrics.EVENTS_FAILED_AT_FIRST.labels(task.type).inc()
        before = _tries_before(task)
        tries = before + 1
        details = failure_values(
            error,
            event_id=task.event_id,
            type=task.type,
            key=task.key,
            handler=self._handlers[task.type].name,
            first=before == 0,
        )
        if is_unavailable(error):
            # It does not count as a try, but the task's age is limited.
            age = time.time() - task.stored_at
            if age > self._settings.task_max_age_seconds and not self._may_leave(task):
                details["reason"] = f"unavailable for {age:.0f} s: {details['reason']}"
                await self._bury(task, before, details)
            elif age > self._settings.task_max_age_seconds:
                await self._leave_to_others(task, before, details)
            else:
                await self._postpone(task, before, backoff(3, self._settings), details)
        elif isinstance(error, (Reject, Undecodable)) or self._all_spent(task, tries):
            await self._bury(task, tries, details)
        elif tries >= self._settings.task_tries:
            await self._leave_to_others(task, tries, details)
        else:
            await self._postpone(task, tries, backoff(tries, self._settings), details)

    async def cancelled(self, task: Task) -> None:
        """Release a task whose attempt was cancelled, so that another member may run it now."""
        now = time.time()
        await self._commit(lambda tx: claims.release(tx.session, task, due_at=now))

    async def database_down(self, task: Task) -> None:
        """Release a task that met an unavailable database, once it is back. It costs no try."""
        # The task is due later, because a full disk may have space for the release only.
        due_at = time.time() + _RETRY_SECONDS
        await self._commit_when_up(lambda tx: claims.release(tx.session, task, due_at=due_at))

    async def connection_lost(self, task: Task, error: ConnectionLost) -> None:
        """Release a task whose connection ended.

        A second lost connection in one try counts as a failure, because then the handler, and not
        the database, ends its connection.
        """
        attempt = task.id, task.tries
        if attempt in self._lost_connection:
            self._lost_connection.discard(attempt)
            await self.failed(task, error)
            return
        self._lost_connection.add(attempt)
        # Retry soon: a first lost connection is usually the database's fault, not the handler's.
        due_at = time.time() + min(_RETRY_SECONDS, backoff(1, self._settings))
        await self._commit_when_up(lambda tx: claims.release(tx.session, task, due_at=due_at))

    def _all_spent(self, task: Task, tries: int) -> bool:
        """Whether this version and each other running version have made all their tries."""
        most = self._settings.task_tries
        if tries < most or self._may_leave(task):
            return False
        return all_spent(task.with_tries(tries), self._versions_of(task.type), most)

    def _may_leave(self, task: Task) -> bool:
        """Whether a canary's task has other versions to run it, so that this one need not."""
        if not task.canary:
            return False
        versions = self._versions_of(task.type)
        return versions is None or bool(versions)

    async def _leave_to_others(self, task: Task, tries: int, details: Mapping[str, Any]) -> None:
        """Leave the task to other versions, due soon: this version may claim it first again."""
        # The version without a weight may have the same name, and none of its tries is spent.
        tries = 0 if task.canary else tries
        seconds = backoff(2, self._settings)
        if await self._store_failure(task, tries, seconds, details, canary=""):
            metrics.EVENTS_GIVEN_UP.labels(task.type, "another_version").inc()
            _log.warning(
                "event used up the tries of this version; leaving it to another running version",
                **details,
            )

    async def _postpone(
        self, task: Task, tries: int, seconds: float, details: Mapping[str, Any]
    ) -> None:
        """Log a failure, and store when the task is tried again."""
        again = round(seconds, 3)
        _log.warning(
            "event handler failed; retrying the task", **details, tries=tries, retry_seconds=again
        )
        await self._store_failure(task, tries, seconds, details)

    async def _store_failure(
        self,
        task: Task,
        tries: int,
        seconds: float,
        details: Mapping[str, Any],
        *,
        canary: str | None = None,
    ) -> bool:
        """Store tries, reason and due time of a task, and release it, to `canary` if given.

        Return whether that was committed.
        """
        due_at, reason = time.time() + seconds, details["reason"]
        return await self._commit(
            lambda tx: claims.postpone(
                tx.session, task, tries=tries, due_at=due_at, reason=reason, canary=canary
            )
        )

    async def _bury(self, task: Task, tries: int, details: Mapping[str, Any]) -> None:
        """Store an event as a dead letter, then count and log it."""
        reason = details["reason"]
        bury = partial(
            dead_letter_rows.bury, task=task, tries=tries, reason=reason, version=self._version
        )
        if await self._commit(lambda tx: bury(tx.session)):
            metrics.EVENTS_GIVEN_UP.labels(task.type, "dead_letters").inc()
            _log.error(
                "event became a dead letter; later events of its key continue",
                **details,
                tries=tries,
            )

    async def _commit(self, work: Callable[[Transaction], None]) -> bool:
        """Commit the end of an attempt, unless the task was claimed by another member.

        Return whether it was committed.
        """
        try:
            await self._database.transaction(work)
        except ClaimLost:
            _log.info("task taken over by another member")
            return False
        except (DatabaseDown, ConnectionLost, DatabaseAtFault):
            return await self._commit_when_up(work)
        except Exception:
            _log.exception("task outcome not stored; the task runs again after its lease")
            return False
        return True

    async def _commit_when_up(self, work: Callable[[Transaction], None]) -> bool:
        """Repeat a commit until the database is available, or this member stops.

        The lease outlives a short outage, so that the outage costs no try. Return whether it was
        committed.
        """
        while not self._stopped.is_set():
            try:
                await self._database.transaction(work)
            except (DatabaseDown, ConnectionLost, DatabaseAtFault):
                await wait_at_most(self._stopped, _RETRY_SECONDS)
                continue
            except ClaimLost:
                return False
            return True
        return False

    def _details(self, task: Task, reason: str) -> Mapping[str, Any]:
        """Return what a log line or a dead letter says about a task."""
        return {
            "event_id": task.event_id,
            "type": task.type,
            "key": task.key,
            "handler": self._handlers[task.type].name,
            "reason": reason,
        }


def _tries_before(task: Task) -> int:
    """Return the tries before this one: those of a task that runs alone include the running one."""
    return task.tries - 1 if task.alone else task.tries


def _explain_process_end(task: Task) -> str:
    """Return the reason of a task that ended its process."""
    before = f"; before that: {task.reason}" if task.reason else ""
    return f"its process ended while it ran alone, in the last of {task.tries - 1} tries{before}"
