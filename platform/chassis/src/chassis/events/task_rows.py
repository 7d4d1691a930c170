"""The statements on tasks and dead letters.

Only a key's oldest task may run, and it always has a due time. What is stored behind it has none,
and so costs a claim nothing, until who ends the one before gives it one in the same commit.

A claim writes owner, lease and attempt and commits before the handler starts; what finishes a task
deletes it by id and attempt, or is rolled back.
"""

import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    union_all,
    update,
)
from sqlalchemy.orm import Session, aliased

from chassis.database.tables import dead_letters, tasks

__all__ = [
    "Look",
    "Task",
    "TaskTaken",
    "blocked_keys",
    "bury",
    "claim",
    "claim_alone",
    "count",
    "finish",
    "hold_keys",
    "next_due",
    "postpone",
    "redrive",
    "release",
    "renew",
    "store",
    "store_dead",
    "store_in_line",
    "unhandled",
]


# Not NULL, in a way that SQLite finds by an index.
_HAS_ITS_TIME = tasks.c.due_at >= 0


class TaskTaken(Exception):
    """Another member has claimed the task meanwhile; this commit is refused."""


@dataclass(frozen=True, slots=True)
class Task:
    """A claimed task. One that is `alone` has its running attempt among its tries already."""

    id: int
    source: str
    key: str
    event_id: str
    type: str
    subject: str
    headers: bytes
    data: bytes
    stored_at: float
    tries: int
    attempt: int
    alone: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Look:
    """What a member looks for: types it handles, perhaps what others `left` when their leases ran
    out, and `suspects`; never the tasks it has itself `held` all along (ids)."""

    types: Sequence[str]
    held: Sequence[int] = field(default=())
    left: bool = True
    suspects: bool = True


def blocked_keys(session: Session, keys: Iterable[str]) -> set[tuple[str, str]]:
    """The (source, key) pairs among the keys that have tasks: what follows waits behind them."""
    statement = _firsts(tasks.c.source, tasks.c.key, keys=keys).distinct()
    return {(row.source, row.key) for row in session.execute(statement)}


def hold_keys(session: Session, blocked: Set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Let nobody end the tasks that block these keys before this commit; the keys still blocked.

    Otherwise one could end, and nothing seen behind it, while this stores something there.
    """
    held: set[tuple[str, str]] = set()
    keys = set(blocked)
    while left := keys - held:
        # One that ended while this waited for it: another may block the key by now.
        statement = _firsts(tasks.c.source, tasks.c.key, keys={key for _, key in left})
        rows = session.execute(statement.with_for_update(read=True, key_share=True))
        held |= {(row.source, row.key) for row in rows}
        keys = held | (left & blocked_keys(session, {key for _, key in left}))
    return held


def _firsts(*columns: ColumnElement[Any], keys: Iterable[str]) -> Select[Any]:
    return select(*columns).where(tasks.c.key.in_(list(keys)), _HAS_ITS_TIME)


def store(session: Session, events: Sequence[Mapping[str, object]]) -> None:
    """Store events as tasks, due at once unless `due_at` says otherwise."""
    now = time.time()
    new: dict[str, object] = {
        "stored_at": now,
        "due_at": now,
        "followed": False,
        "tries": 0,
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
    behind: set[object] = set()
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
                behind.add(event["key"])
        else:
            first[key] = row
        rows.append(row)
    if behind:
        before = tasks.c.key.in_(list(behind)) & _HAS_ITS_TIME
        session.execute(
            update(tasks).where(before, tasks.c.followed.is_(False)).values(followed=True)
        )
    store(session, rows)


def store_dead(session: Session, events: Sequence[Mapping[str, object]]) -> None:
    """Store events as dead letters; each brings its `reason`."""
    now = time.time()
    if events:
        session.execute(
            insert(dead_letters), [{"died_at": now, "tries": 0, **event} for event in events]
        )


def claim(
    session: Session, look: Look, *, owner: str, limit: int, lease_seconds: float
) -> tuple[list[Task], bool]:
    """Claim tasks that are due, each the oldest of its key; and whether one waits to run alone.

    A task whose owner vanished is suspected of having killed it: it is freed to be run alone.
    """
    parts = [_due(look.types, limit).where(tasks.c.alone.is_(False))]
    if look.suspects:
        parts.append(_due(look.types, 1).where(tasks.c.alone.is_(True)))
    if look.left:
        parts.append(_left(look).limit(max(limit, 1)))
    found = [_locked(part).subquery() for part in parts]
    rows = session.execute(union_all(*(select(part) for part in found))).all()
    left = [row.id for row in rows if row.owner is not None]
    if left:
        freed = {"owner": None, "leased_until": None, "alone": True}
        session.execute(update(tasks).where(tasks.c.id.in_(left)).values(freed))
    ours = [row for row in rows if row.owner is None and not row.alone]
    suspects = look.suspects and len(ours) < len(rows)
    return _claim(session, ours, owner, lease_seconds, tries=0), suspects


def claim_alone(
    session: Session, *, owner: str, types: Sequence[str], lease_seconds: float
) -> Task | None:
    """Claim one task that runs alone. The attempt counts as a try before it starts."""
    statement = _locked(_due(types, 1).where(tasks.c.alone.is_(True)))
    claimed = _claim(session, session.execute(statement).all(), owner, lease_seconds, tries=1)
    return claimed[0] if claimed else None


def _due(types: Sequence[str], limit: int) -> Select[Any]:
    """What is due, and nobody's."""
    free = tasks.c.owner.is_(None)
    return (
        select(tasks)
        .where(tasks.c.due_at <= time.time(), free, tasks.c.type.in_(list(types)), _is_first())
        .order_by(tasks.c.due_at, tasks.c.id)
        .limit(limit)
    )


def _left(look: Look) -> Select[Any]:
    """What was claimed and no longer renewed."""
    return select(tasks).where(
        tasks.c.leased_until < time.time(),
        tasks.c.type.in_(list(look.types)),
        tasks.c.id.not_in(list(look.held)),
    )


def _locked(chosen: Select[Any]) -> Select[Any]:
    """Passing over what another claims; not over what is only held."""
    return chosen.with_for_update(skip_locked=True, of=tasks, key_share=True)


def _is_first() -> ColumnElement[bool]:
    """It is the oldest task of its key."""
    older = aliased(tasks)
    same_key = (older.c.source == tasks.c.source) & (older.c.key == tasks.c.key)
    return ~select(older.c.id).where(same_key, older.c.id < tasks.c.id).exists()


def _claim(
    session: Session, rows: Sequence[Any], owner: str, lease_seconds: float, *, tries: int
) -> list[Task]:
    """One statement, however many they are. `tries` is how many this claim counts as."""
    if rows:
        session.execute(
            update(tasks)
            .where(tasks.c.id.in_([row.id for row in rows]))
            .values(
                owner=owner,
                leased_until=time.time() + lease_seconds,
                attempt=tasks.c.attempt + 1,
                tries=tasks.c.tries + tries,
            )
        )
    claimed = [Task(*(getattr(row, name) for name in Task.__slots__)) for row in rows]
    return [replace(t, attempt=t.attempt + 1, tries=t.tries + tries) for t in claimed]


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
    due_at = func.coalesce(tasks.c.due_at, time.time())
    session.execute(
        update(tasks).where(tasks.c.id == following).values(due_at=due_at, followed=True)
    )


def postpone(session: Session, task: Task, *, tries: int, due_at: float, reason: str) -> None:
    """Try again at `due_at` (epoch seconds).

    Raises:
        TaskTaken: it is no longer ours.
    """
    values = {"owner": None, "leased_until": None, "due_at": due_at, "tries": tries}
    _held(session.execute(update(tasks).where(_is(task)).values(**values, reason=reason)))


def release(session: Session, task: Task, *, due_at: float | None = None) -> None:
    """Give a claimed task back, due at another time if one is given; its attempt does not count."""
    values: dict[str, object] = {
        "owner": None,
        "leased_until": None,
        "tries": task.tries - 1 if task.alone else task.tries,
    }
    if due_at is not None:
        values["due_at"] = due_at
    session.execute(update(tasks).where(_is(task)).values(values))


def renew(session: Session, held: Iterable[Task], lease_seconds: float) -> None:
    """Keep claimed tasks for another lease."""
    rows = [{"id_": task.id, "attempt_": task.attempt} for task in held]
    if rows:
        session.execute(
            update(tasks)
            .where(tasks.c.id == bindparam("id_"), tasks.c.attempt == bindparam("attempt_"))
            .values(leased_until=time.time() + lease_seconds),
            rows,
        )


def bury(session: Session, task: Task, *, tries: int, reason: str) -> None:
    """Make the task a dead letter after so many tries; what waits behind it goes on.

    Raises:
        TaskTaken: it is no longer ours.
    """
    finish(session, task)
    store_dead(session, [{**_event_of(task), "tries": tries, "reason": reason}])


def redrive(session: Session, ids: Sequence[int] | None = None) -> int:
    """Put dead letters (all of them for None) at the end of their keys again; how many."""
    chosen = select(dead_letters).order_by(dead_letters.c.id)
    if ids is not None:
        chosen = chosen.where(dead_letters.c.id.in_(list(ids)))
    rows = session.execute(chosen.with_for_update()).all()
    store(session, [_event_of(row) for row in rows])
    session.execute(delete(dead_letters).where(dead_letters.c.id.in_([row.id for row in rows])))
    return len(rows)


def next_due(session: Session, look: Look) -> float | None:
    """When the next task is due, or its lease runs out, that waits behind none (epoch seconds)."""
    free_at = case((tasks.c.owner.is_(None), tasks.c.due_at), else_=tasks.c.leased_until)
    of_types = _HAS_ITS_TIME & tasks.c.type.in_(list(look.types))
    statement = select(func.min(free_at)).where(of_types, _is_first())
    free: ColumnElement[bool] = tasks.c.owner.is_(None)
    if not look.suspects:
        free &= tasks.c.alone.is_(False)
    if look.left:
        free |= tasks.c.owner.is_not(None) & tasks.c.id.not_in(list(look.held))
    return session.execute(statement.where(free)).scalar()


def unhandled(session: Session, types: Sequence[str], stored_before: float) -> dict[str, int]:
    """How many keys are blocked for long by tasks of each type that is none of `types`."""
    first = _HAS_ITS_TIME & (tasks.c.stored_at < stored_before)
    statement = (
        select(tasks.c.type, func.count())
        .where(first, tasks.c.type.not_in(list(types)), _is_first())
        .group_by(tasks.c.type)
    )
    return {row[0]: row[1] for row in session.execute(statement)}


def count(session: Session) -> tuple[int, int]:
    """How many tasks and how many dead letters there are."""
    number = select(func.count())
    return (
        int(session.execute(number.select_from(tasks)).scalar_one()),
        int(session.execute(number.select_from(dead_letters)).scalar_one()),
    )


_EVENT_COLUMNS = ("source", "key", "event_id", "type", "subject", "headers", "data")


def _event_of(row: Any) -> dict[str, object]:
    return {name: getattr(row, name) for name in _EVENT_COLUMNS}


def _is(task: Task) -> Any:
    return (tasks.c.id == task.id) & (tasks.c.attempt == task.attempt)


def _held(result: Any) -> None:
    if result.rowcount != 1:
        raise TaskTaken("the task was claimed by another member")
