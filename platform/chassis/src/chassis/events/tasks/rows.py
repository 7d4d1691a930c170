"""The statements on tasks that are stored, claimed or done; which is next is in `task_queue`.

Only a key's oldest task may run, and it always has a due time. What is stored behind it has none,
until who ends the one before gives it one in the same commit.

What finishes a task deletes it by id and attempt, or is rolled back.
"""

import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import ColumnElement, Select, delete, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from chassis.database.chunks import chunks
from chassis.database.tables import dead_letters, tasks
from chassis.events.tasks.tries import tries_in, written

__all__ = [
    "Task",
    "TaskTaken",
    "blocked_keys",
    "count",
    "event_of",
    "finish",
    "hold_keys",
    "postpone",
    "release",
    "renew",
    "store",
    "store_in_line",
]


# Not NULL, in a way that SQLite finds by an index.
_HAS_ITS_TIME = tasks.c.due_at >= 0


class TaskTaken(Exception):
    """Another member has claimed the task meanwhile; this commit is refused."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task claimed by a member of a version. One that is `alone` has its running attempt among
    its tries already."""

    id: int
    source: str
    key: str
    event_id: str
    type: str
    subject: str
    headers: bytes
    data: bytes
    stored_at: float
    attempt: int
    alone: bool
    reason: str
    tried: Mapping[str, int]
    version: str

    @classmethod
    def of(cls, row: Any, version: str = "") -> Self:
        """From a row as it was before the claim."""
        columns = {name: getattr(row, name) for name in cls.__slots__ if name != "version"}
        return cls(**{**columns, "tried": tries_in(row.tried), "version": version})

    @property
    def tries(self) -> int:
        """Those of this version."""
        return self.tried.get(self.version, 0)

    def having(self, tries: int) -> Mapping[str, int]:
        """The tries of all versions, with so many of this one."""
        return {**self.tried, self.version: tries}


def blocked_keys(session: Session, keys: Iterable[str]) -> set[tuple[str, str]]:
    """The (source, key) pairs among the keys that have tasks: what follows waits behind them."""
    found: set[tuple[str, str]] = set()
    for some in chunks(list(keys)):
        statement = _firsts(tasks.c.source, tasks.c.key, keys=some).distinct()
        found |= {(row.source, row.key) for row in session.execute(statement)}
    return found


def hold_keys(session: Session, blocked: Set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Let nobody end the tasks that block these keys before this commit; the keys still blocked.

    Otherwise one could end, and nothing seen behind it, while this stores something there.
    """
    held: set[tuple[str, str]] = set()
    keys = set(blocked)
    while left := keys - held:
        # One that ended while this waited for it: another may block the key by now.
        names = sorted({key for _, key in left})
        for some in chunks(names):
            statement = _firsts(tasks.c.source, tasks.c.key, keys=some)
            rows = session.execute(statement.with_for_update(read=True, key_share=True))
            held |= {(row.source, row.key) for row in rows}
        keys = held | (left & blocked_keys(session, names))
    return held


def _firsts(*columns: ColumnElement[Any], keys: Sequence[str]) -> Select[Any]:
    return select(*columns).where(tasks.c.key.in_(keys), _HAS_ITS_TIME)


def store(session: Session, events: Sequence[Mapping[str, object]]) -> None:
    """Store events as tasks, due at once unless `due_at` says otherwise."""
    now = time.time()
    new: dict[str, object] = {
        "stored_at": now,
        "due_at": now,
        "followed": False,
        "tries": 0,
        "tried": "{}",
        "attempt": 0,
        "alone": False,
        "reason": "",
    }
    if events:
        session.execute(insert(tasks), [{**new, **event} for event in events])


def store_in_line(
    session: Session, events: Sequence[Mapping[str, object]], blocked: Set[tuple[str, str]]
) -> None:
    """Store events as tasks: of keys that are `blocked` (and held), or later ones of their key,
    behind what is there."""
    rows: list[dict[str, object]] = []
    first: dict[object, dict[str, object]] = {}
    behind: set[str] = set()
    for event in events:
        row, key = (
            {"due_at": time.time(), "followed": False, **event},
            (event["source"], event["key"]),
        )
        if key in blocked or key in first:
            row["due_at"] = None
            if key in first:
                first[key]["followed"] = True
            else:
                behind.add(str(event["key"]))
        else:
            first[key] = row
        rows.append(row)
    for keys in chunks(sorted(behind)):
        before = tasks.c.key.in_(keys) & _HAS_ITS_TIME
        session.execute(
            update(tasks).where(before, tasks.c.followed.is_(False)).values(followed=True)
        )
    store(session, rows)


def finish(session: Session, task: Task) -> None:
    """The task has taken effect, in this commit.

    Raises:
        TaskTaken: it is no longer ours; roll back.
    """
    ended = session.execute(delete(tasks).where(_is(task)).returning(tasks.c.followed)).first()
    if ended is None:
        raise TaskTaken("the task was claimed by another member")
    if not ended.followed:
        return
    # A statement of its own, which sees what the first one had to wait for.
    same_key = (tasks.c.source == task.source) & (tasks.c.key == task.key)
    following = select(func.min(tasks.c.id)).where(same_key).scalar_subquery()
    # Due since it was stored: who has waited longest is next.
    due_at = func.coalesce(tasks.c.due_at, tasks.c.stored_at)
    session.execute(
        update(tasks).where(tasks.c.id == following).values(due_at=due_at, followed=True)
    )


def postpone(session: Session, task: Task, *, tries: int, due_at: float, reason: str) -> None:
    """Try again at `due_at` (epoch seconds), after so many tries of this version.

    Raises:
        TaskTaken: it is no longer ours.
    """
    free = {"owner": None, "leased_until": None, "due_at": due_at, "reason": reason}
    values = {**free, **written(task.having(tries))}
    _held(session.execute(update(tasks).where(_is(task)).values(values)))


def release(session: Session, task: Task, *, due_at: float | None = None) -> None:
    """Give a claimed task back, due at another time if one is given; its attempt does not count."""
    values: dict[str, object] = {"owner": None, "leased_until": None}
    if task.alone:
        values |= written(task.having(task.tries - 1))
    if due_at is not None:
        values["due_at"] = due_at
    session.execute(update(tasks).where(_is(task)).values(values))


def renew(session: Session, held: Iterable[Task], lease_seconds: float) -> None:
    """Keep claimed tasks for another lease.

    One whose commit is under way is locked by it: nobody takes it, and nobody waits for it here.
    """
    for some in chunks(list(held)):
        ours = tuple_(tasks.c.id, tasks.c.attempt).in_([(t.id, t.attempt) for t in some])
        # What was given back while this was on its way has no lease any more.
        claimed = select(tasks.c.id).where(ours, tasks.c.owner.is_not(None))
        free = claimed.with_for_update(skip_locked=True, key_share=True)
        session.execute(
            update(tasks)
            .where(tasks.c.id.in_(free))
            .values(leased_until=time.time() + lease_seconds)
        )


def count(session: Session) -> tuple[int, int]:
    """How many tasks and how many dead letters there are."""
    number = select(func.count())
    return (
        int(session.execute(number.select_from(tasks)).scalar_one()),
        int(session.execute(number.select_from(dead_letters)).scalar_one()),
    )


_EVENT_COLUMNS = ("source", "key", "event_id", "type", "subject", "headers", "data")


def event_of(row: Any) -> dict[str, object]:
    """The event in a row of a task or of a dead letter."""
    return {name: getattr(row, name) for name in _EVENT_COLUMNS}


def _is(task: Task) -> Any:
    return (tasks.c.id == task.id) & (tasks.c.attempt == task.attempt)


def _held(result: Any) -> None:
    if result.rowcount != 1:
        raise TaskTaken("the task was claimed by another member")
