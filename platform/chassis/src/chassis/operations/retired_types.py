"""Rows of an event type that no version of the service handles any more."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from chassis.database.tables import positions, tasks
from chassis.events.tasks import dead_letter_rows, storage
from chassis.events.tasks.task import Task
from chassis.events.wire.contracts import subject_of
from chassis.events.wire.lanes import LANES

__all__ = ["RetiredType", "bury_tasks_of", "forget_positions_of", "retired_type"]

_REASON = "its type was retired: no version handles it"


@dataclass(frozen=True, slots=True)
class RetiredType:
    """The numbers of rows of a type."""

    type: str
    positions: int
    tasks: int


def retired_type(session: Session, type: str) -> RetiredType:
    """Count the positions and tasks of a type."""
    handled = select(func.count()).where(positions.c.subject.in_(_subjects(type)))
    waiting = select(func.count()).where(tasks.c.type == type)
    return RetiredType(
        type, session.execute(handled).scalar_one(), session.execute(waiting).scalar_one()
    )


def bury_tasks_of(session: Session, type: str, *, limit: int = 500) -> int:
    """Make dead letters of at most `limit` tasks of a type; return how many.

    Tasks that wait behind them may run then. Call it again until it returns 0, each time in a
    commit of its own.
    """
    first = select(tasks.c.id, tasks.c.key).where(tasks.c.type == type, tasks.c.owner.is_(None))
    chosen = session.execute(first.order_by(tasks.c.id).limit(limit)).all()
    # The keys are locked, because a task that is finished now would set `due_at` on the next one of
    # its key, which may be deleted here.
    storage.lock_keys(session, storage.blocked_keys(session, {row.key for row in chosen}))
    ids = [row.id for row in chosen]
    again = select(tasks).where(tasks.c.id.in_(ids), tasks.c.owner.is_(None)).order_by(tasks.c.id)
    rows = session.execute(again.with_for_update()).all()
    for row in rows:
        dead_letter_rows.bury(session, Task.of(row), tries=0, reason=_REASON)
    return len(rows)


def forget_positions_of(session: Session, type: str) -> int:
    """Delete the positions of a type; return how many.

    A version that handles the type again starts as with a new type.
    """
    deleted = session.execute(delete(positions).where(positions.c.subject.in_(_subjects(type))))
    count: int = deleted.rowcount  # type: ignore[attr-defined]
    return count


def _subjects(type: str) -> Sequence[str]:
    """Return the subjects of all lanes of a type."""
    return [subject_of(type, lane) for lane in range(LANES)]
