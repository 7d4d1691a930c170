"""What becomes of a task after an attempt: done, tried again, or a dead letter."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
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
from chassis.events.handlers.binding import Handler, Reject
from chassis.events.handlers.failures import failure, log_handled
from chassis.events.tasks import dead_letter_rows
from chassis.events.tasks import rows as task_rows
from chassis.events.tasks.backoff import backoff
from chassis.events.tasks.rows import Task, TaskTaken
from chassis.events.tasks.tries import all_spent
from chassis.events.waiting import wait_at_most
from chassis.events.wire.cloudevents import Undecodable
from chassis.telemetry import metrics

__all__ = ["Outcomes"]

_log = structlog.get_logger(__name__)
_POLL_SECONDS = 1.0


class Outcomes:
    """Writes down what an attempt has led to.

    `versions_of` gives the versions that run and handle a type; None if that is not known.
    `stopped` is set when the member stops: a database that is unavailable is waited for until then.
    """

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        settings: EventSettings,
        versions_of: Callable[[str], Collection[str] | None],
        stopped: asyncio.Event,
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._settings = settings
        self._versions_of = versions_of
        self._stopped = stopped
        self._lost_connection: set[tuple[int, int]] = set()

    def handled(self, task: Task) -> None:
        """It has taken effect, and its task has ended in the same commit."""
        self._lost_connection.discard((task.id, task.tries))
        metrics.EVENTS_HANDLED.labels(task.type).inc()
        if self._settings.log_events:
            log_handled(task.type, task.event_id, task.key, tries=task.tries + 1)

    def is_out_of_tries(self, task: Task) -> bool:
        """Whether this version has made all its tries of the task."""
        return _tries_before(task) >= self._settings.task_tries

    async def out_of_tries(self, task: Task) -> None:
        """Leave the task to another version that runs and has tries left; else bury it."""
        tries = _tries_before(task)
        if self._all_spent(task, tries):
            reason = _ended_its_process(task) if task.alone else task.reason
            await self._bury(task, tries, self._of(task, reason))
        else:
            await self._leave(task, tries, self._of(task, task.reason))

    async def failed(self, task: Task, error: BaseException) -> None:
        """Try the task again later, leave it to another version, or bury it."""
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

    async def given_back(self, task: Task) -> None:
        """Release a task whose attempt was cancelled: another member may run it at once."""
        now = time.time()
        await self._settle(lambda tx: task_rows.release(tx.session, task, due_at=now))

    async def database_down(self, task: Task) -> None:
        """Release a task that met no database, when there is one again. It costs no try."""
        # Not at once: a full disk may have room for the release.
        due_at = time.time() + _POLL_SECONDS
        await self._when_up(lambda tx: task_rows.release(tx.session, task, due_at=due_at))

    async def connection_lost(self, task: Task, error: ConnectionLost) -> None:
        """Release a task whose connection ended. At the second time in one try it has failed: then
        its handler, and not the database, ends its connection."""
        place = task.id, task.tries
        if place in self._lost_connection:
            self._lost_connection.discard(place)
            await self.failed(task, error)
            return
        self._lost_connection.add(place)
        # Soon: a first lost connection is usually the database's fault, not the handler's.
        due_at = time.time() + min(_POLL_SECONDS, backoff(1, self._settings))
        await self._when_up(lambda tx: task_rows.release(tx.session, task, due_at=due_at))

    # --- inside ---------------------------------------------------------------------------------

    def _all_spent(self, task: Task, tries: int) -> bool:
        """Whether this version has made all its tries, and so has each other one that runs."""
        most = self._settings.task_tries
        if tries < most:
            return False
        return all_spent(task.having(tries), self._versions_of(task.type), most)

    async def _leave(self, task: Task, tries: int, said: Mapping[str, Any]) -> None:
        """For another version; soon, since members of this one may be faster to claim it."""
        _log.info(
            "event used up the tries of this version; leaving it to another running version",
            **said,
        )
        await self._store(task, tries, backoff(2, self._settings), said)

    async def _postpone(
        self, task: Task, tries: int, seconds: float, said: Mapping[str, Any]
    ) -> None:
        again = round(seconds, 3)
        _log.warning(
            "event handler failed; retrying the task", **said, tries=tries, retry_seconds=again
        )
        await self._store(task, tries, seconds, said)

    async def _store(self, task: Task, tries: int, seconds: float, said: Mapping[str, Any]) -> None:
        due_at, reason = time.time() + seconds, said["reason"]
        await self._settle(
            lambda tx: task_rows.postpone(
                tx.session, task, tries=tries, due_at=due_at, reason=reason
            )
        )

    async def _bury(self, task: Task, tries: int, said: Mapping[str, Any]) -> None:
        _log.error(
            "event became a dead letter; later events of its key continue", **said, tries=tries
        )
        reason = said["reason"]
        await self._settle(
            lambda tx: dead_letter_rows.bury(tx.session, task, tries=tries, reason=reason)
        )

    async def _settle(self, work: Callable[[Transaction], None]) -> None:
        try:
            await self._database.transaction(work)
        except TaskTaken:
            _log.info("task taken over by another member")
        except (DatabaseDown, ConnectionLost, DatabaseAtFault):
            await self._when_up(work)
        except Exception:  # its lease runs out, and then it runs alone
            _log.exception("task outcome not stored; the task runs again after its lease")

    async def _when_up(self, work: Callable[[Transaction], None]) -> None:
        """No try is spent on a database that is away; the lease outlives a short absence."""
        while not self._stopped.is_set():
            try:
                await self._database.transaction(work)
            except (DatabaseDown, ConnectionLost, DatabaseAtFault):
                await wait_at_most(self._stopped, _POLL_SECONDS)
                continue
            except TaskTaken:
                pass
            return

    def _of(self, task: Task, reason: str) -> Mapping[str, Any]:
        return {
            "event_id": task.event_id,
            "type": task.type,
            "key": task.key,
            "handler": self._handlers[task.type].name,
            "reason": reason,
        }


def _tries_before(task: Task) -> int:
    """The tries before this one. Of a task that runs alone the running one counts already."""
    return task.tries - 1 if task.alone else task.tries


def _ended_its_process(task: Task) -> str:
    said = f"; before that: {task.reason}" if task.reason else ""
    return f"its process ended while it ran alone, in the last of {task.tries - 1} tries{said}"
