"""Events that no running version handles: each becomes a dead letter at its maximum age."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import structlog
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from chassis.database import ConnectionLost, Database, DatabaseDown, Transaction
from chassis.database.tables import tasks
from chassis.events.tasks import dead_letter_rows
from chassis.events.tasks.rows import Task

__all__ = ["Unhandled", "old_tasks", "waiting_types"]

_log = structlog.get_logger(__name__)
_LOOK_SECONDS = 60.0
# As the index of what may be claimed has it.
_FREE = (tasks.c.owner.is_(None), tasks.c.due_at >= 0)
_MOST = 100


class Unhandled:
    """Looks for tasks of types that neither this version handles nor another that runs.

    `versions_of` tells which running versions handle a type, None while that is not known.
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
        """Look now and again, until cancelled."""
        while True:
            try:
                await self.look()
            except (DatabaseDown, ConnectionLost) as error:  # readiness says so as well
                _log.debug(
                    "search for unhandled events failed; retrying",
                    error=str(error),
                )
            except Exception:
                _log.exception("search for unhandled events failed; retrying")
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Make dead letters of what has waited for its maximum age."""
        waiting = await self._database.read(lambda tx: waiting_types(tx.session))
        for type in waiting:
            versions = self._versions_of(type)
            if type in self._types or versions is None or versions:
                continue
            while buried := await self._database.transaction(lambda tx, t=type: self._bury(tx, t)):  # type: ignore[misc]
                _log.error(
                    "events became dead letters; no running version handles their type",
                    type=type,
                    events=buried,
                )

    def _bury(self, tx: Transaction, type: str) -> int:
        now = time.time()
        old = old_tasks(tx.session, type, now - self._max_age_seconds)
        for task in old:
            reason = (
                f"no running version handles it: it has waited for {now - task.stored_at:.0f} s"
            )
            dead_letter_rows.bury(tx.session, task, tries=0, reason=reason)
        return len(old)


def waiting_types(session: Session) -> list[str]:
    """The types of which tasks wait; as many index entries are read as there are types."""
    first = select(tasks.c.type).where(*_FREE).order_by(tasks.c.type).limit(1).scalar_subquery()
    found = select(first.label("type")).cte("found", recursive=True)
    after = select(tasks.c.type).where(tasks.c.type > found.c.type, *_FREE)
    following = after.order_by(tasks.c.type).limit(1).scalar_subquery()
    found = found.union_all(select(following).where(found.c.type.is_not(None)))
    statement = select(found.c.type).where(found.c.type.is_not(None))
    return list(session.execute(statement).scalars())


def old_tasks(session: Session, type: str, stored_before: float) -> Sequence[Task]:
    """Some of a type's tasks that have been due, each first of its key, since before that time;
    nobody else ends or claims them before this commit."""
    found: list[Task] = []
    for alone in (False, True):
        rows = session.execute(_old(type, alone, stored_before)).all()
        found += [Task.of(row) for row in rows]
    return found


def _old(type: str, alone: bool, stored_before: float) -> Select[Any]:
    return (
        select(tasks)
        .where(
            tasks.c.type == type,
            tasks.c.alone == alone,
            *_FREE,
            tasks.c.due_at <= stored_before,
            tasks.c.stored_at <= stored_before,
        )
        .order_by(tasks.c.due_at, tasks.c.id)
        .limit(_MOST)
        .with_for_update(skip_locked=True, of=tasks, key_share=True)
    )
