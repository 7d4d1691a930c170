"""Events that no running version handles: each becomes a dead letter at its maximum age."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from chassis.database import ConnectionLost, Database, DatabaseDown, Transaction
from chassis.database.tables import tasks
from chassis.events.tasks import dead_letter_rows
from chassis.events.tasks.task import Task

__all__ = ["Unhandled", "old_tasks", "waiting_types"]

_log = structlog.get_logger(__name__)
_LOOK_SECONDS = 60.0
# The condition of the index slipway_task_ready.
_IS_UNCLAIMED = (tasks.c.owner.is_(None), tasks.c.due_at >= 0)
_ROWS_AT_ONCE = 100


class Unhandled:
    """Finds tasks of types that neither this version nor another running version handles.

    `versions_of` returns the running versions that handle a type, None while that is unknown.
    """

    def __init__(
        self,
        database: Database,
        types: Collection[str],
        versions_of: Callable[[str], Collection[str] | None],
        max_age_seconds: float,
    ) -> None:
        self._database = database
        self._types = types
        self._versions_of = versions_of
        self._max_age_seconds = max_age_seconds

    async def run(self) -> None:
        """Look once a minute, until cancelled."""
        while True:
            try:
                await self.look()
            except (DatabaseDown, ConnectionLost) as error:  # Readiness reports it.
                _log.debug(
                    "search for unhandled events failed; retrying",
                    error=str(error),
                )
            except Exception:
                _log.exception("search for unhandled events failed; retrying")
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Make dead letters of unhandled tasks that have reached their maximum age."""
        waiting = await self._database.read(lambda tx: waiting_types(tx.session))
        for type in waiting:
            versions = self._versions_of(type)
            if type in self._types or versions is None or versions:
                continue
            bury = partial(self._bury_old, type=type)
            while buried := await self._database.transaction(bury):
                _log.error(
                    "events became dead letters; no running version handles their type",
                    type=type,
                    events=buried,
                )

    def _bury_old(self, tx: Transaction, type: str) -> int:
        """Make dead letters of up to 200 old tasks of a type; return their number."""
        now = time.time()
        old = old_tasks(tx.session, type, now - self._max_age_seconds)
        for task in old:
            reason = (
                f"no running version handles it: it has waited for {now - task.stored_at:.0f} s"
            )
            dead_letter_rows.bury(tx.session, task, tries=0, reason=reason)
        return len(old)


def waiting_types(session: Session) -> list[str]:
    """Return the types that have waiting tasks, reading one index entry for each."""
    return list(session.execute(_WAITING_TYPES).scalars())


def _select_waiting_types() -> Select[Any]:
    first = select(tasks.c.type).where(*_IS_UNCLAIMED).order_by(tasks.c.type).limit(1)
    found = select(first.scalar_subquery().label("type")).cte("found", recursive=True)
    after = select(tasks.c.type).where(tasks.c.type > found.c.type, *_IS_UNCLAIMED)
    following = after.order_by(tasks.c.type).limit(1).scalar_subquery()
    found = found.union_all(select(following).where(found.c.type.is_not(None)))
    return select(found.c.type).where(found.c.type.is_not(None))


# The statement is built once, because building it costs more than running it.
_WAITING_TYPES = _select_waiting_types()


def old_tasks(session: Session, type: str, stored_before: float) -> Sequence[Task]:
    """Lock and return up to 100 tasks of a type, for each way of running.

    They are the first of their keys and have been due since before a time (epoch seconds).
    """
    found: list[Task] = []
    for alone in (False, True):
        rows = session.execute(_select_old(type, alone, stored_before)).all()
        found += [Task.of(row) for row in rows]
    return found


def _select_old(type: str, alone: bool, stored_before: float) -> Select[Any]:
    """Select and lock unclaimed tasks of a type that are due and were stored before a time.

    They are suspects if `alone` is true.
    """
    return (
        select(tasks)
        .where(
            tasks.c.type == type,
            tasks.c.alone == alone,
            # Those of a canary belong to no canary as soon as it has ended.
            tasks.c.canary == "",
            *_IS_UNCLAIMED,
            tasks.c.due_at <= stored_before,
            tasks.c.stored_at <= stored_before,
        )
        .order_by(tasks.c.due_at, tasks.c.id)
        .limit(_ROWS_AT_ONCE)
        .with_for_update(skip_locked=True, of=tasks, key_share=True)
    )
