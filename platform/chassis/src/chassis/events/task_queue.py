"""Which tasks may run next, and who claims them.

Only a key's oldest task may run, and it always has a due time. What is stored behind it has none,
and so costs a look nothing. Of each type the look finds the first by an index, and reads no row of
what else waits, of this type or of others.

A claim writes owner, lease and attempt and commits before the handler starts.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    ScalarSelect,
    Select,
    String,
    Values,
    column,
    literal,
    select,
    union_all,
    update,
    values,
)
from sqlalchemy.orm import Session, aliased

from chassis.database.chunks import chunks
from chassis.database.tables import LONGEST_NAME, tasks
from chassis.events.task_rows import Task
from chassis.events.tries import written

__all__ = ["Look", "Seen", "claim", "claim_alone", "look"]


@dataclass(frozen=True, slots=True)
class Look:
    """What a member of a version looks for: types it handles, perhaps what others `left` when their
    leases ran out, and `suspects`; never the tasks it has itself `held` all along (ids)."""

    types: Sequence[str]
    held: Sequence[int] = field(default=())
    left: bool = True
    suspects: bool = True
    version: str = ""


@dataclass(slots=True)
class Seen:
    """When the next tasks are due (epoch seconds): by type, of those that run `alone` by type, and
    when the next lease of somebody else runs out."""

    due: dict[str, float] = field(default_factory=dict)
    alone: dict[str, float] = field(default_factory=dict)
    left: float | None = None

    def types_due(self, now: float) -> list[str]:
        """The types of which something is due, who waits longest first."""
        return [t for t, at in sorted(self.due.items(), key=lambda item: item[1]) if at <= now]


def look(session: Session, what: Look) -> Seen:
    """See what is due and when the next will be; one statement."""
    seen = Seen()
    for types in chunks(what.types, _MOST_TYPES):
        for row in session.execute(_look(types, what)):
            if row.type is None:
                seen.left = row.due
                continue
            if row.due is not None:
                seen.due[row.type] = row.due
            if row.alone is not None:
                seen.alone[row.type] = row.alone
    return seen


def _look(types: Sequence[str], what: Look) -> Any:
    handled = _handled(types)
    nothing = literal(None, Double)
    alone = _first_due(handled.c.type, alone=True) if what.suspects else nothing
    parts = [
        select(
            handled.c.type,
            _first_due(handled.c.type, alone=False).label("due"),
            alone.label("alone"),
        )
    ]
    if what.left:
        left = _claimed(what).order_by(tasks.c.leased_until).limit(1)
        end = left.with_only_columns(tasks.c.leased_until).scalar_subquery()
        parts.append(select(literal(None, String), end, nothing))
    return union_all(*parts)


def _handled(types: Sequence[str]) -> Any:
    rows: Values = values(column("type", String(LONGEST_NAME)), name="handled")
    return rows.data([(type,) for type in types]).cte("handled")


def _first_due(type: ColumnElement[str], *, alone: bool) -> ScalarSelect[Any]:
    first = _free(tasks.c.type == type, alone=alone).limit(1)
    return first.with_only_columns(tasks.c.due_at).scalar_subquery()


def _free(of_type: ColumnElement[bool], *, alone: bool) -> Select[Any]:
    """The tasks that are nobody's and wait behind none, as the index has them."""
    return (
        select(tasks)
        .where(
            of_type,
            tasks.c.alone == alone,
            tasks.c.owner.is_(None),
            tasks.c.due_at >= 0,  # not NULL, in a way that SQLite finds by the index
            _is_first(),
        )
        .order_by(tasks.c.due_at, tasks.c.id)
    )


def _is_first() -> ColumnElement[bool]:
    """It is the oldest task of its key."""
    older = aliased(tasks)
    same_key = (older.c.source == tasks.c.source) & (older.c.key == tasks.c.key)
    return ~select(older.c.id).where(same_key, older.c.id < tasks.c.id).exists()


def _claimed(what: Look) -> Select[Any]:
    """What others have claimed: few, whatever waits."""
    return select(tasks).where(
        tasks.c.leased_until >= 0,
        tasks.c.type.in_(list(what.types)),
        tasks.c.id.not_in(list(what.held)),
    )


def claim(
    session: Session,
    what: Look,
    places: Mapping[str, int],
    *,
    owner: str,
    lease_seconds: float,
) -> tuple[list[Task], int]:
    """Claim so many tasks of each type that are due, each the oldest of its key; and how many of
    those that others left were freed.

    A task whose owner vanished is suspected of having killed it: it is freed to be run alone.
    """
    now = time.time()
    parts = [_due(type, now, alone=False).limit(most) for type, most in places.items()]
    if what.left:
        parts.append(_claimed(what).where(tasks.c.leased_until < now).limit(_MOST_FREED))
    rows = _locked(session, parts)
    left = [row.id for row in rows if row.owner is not None]
    for ids in chunks(left):
        freed = {"owner": None, "leased_until": None, "alone": True}
        session.execute(update(tasks).where(tasks.c.id.in_(ids)).values(freed))
    mine = [Task.of(row, what.version) for row in rows if row.owner is None]
    return _claim(session, mine, owner, lease_seconds), len(left)


def claim_alone(
    session: Session, *, owner: str, types: Sequence[str], lease_seconds: float, version: str = ""
) -> Task | None:
    """Claim one task that runs alone. The attempt counts as a try before it starts."""
    now = time.time()
    rows = _locked(session, [_due(type, now, alone=True).limit(1) for type in types])
    first = sorted(rows, key=lambda row: (row.due_at, row.id))[:1]
    if not first:
        return None
    task = Task.of(first[0], version)
    task = replace(task, tried=task.having(task.tries + 1))
    return _claim(session, [task], owner, lease_seconds, written(task.tried))[0]


def _due(type: str, now: float, *, alone: bool) -> Select[Any]:
    return _free(tasks.c.type == type, alone=alone).where(tasks.c.due_at <= now)


def _locked(session: Session, parts: Sequence[Select[Any]]) -> list[Any]:
    """The rows of all parts, passing over what another claims; not over what is only held."""
    rows: list[Any] = []
    for some in chunks(parts, _MOST_TYPES):
        locked = [
            part.with_for_update(skip_locked=True, of=tasks, key_share=True).subquery()
            for part in some
        ]
        rows += session.execute(union_all(*(select(part) for part in locked))).all()
    return rows


def _claim(
    session: Session,
    chosen: Sequence[Task],
    owner: str,
    lease_seconds: float,
    values: Mapping[str, object] = MappingProxyType({}),
) -> list[Task]:
    """One statement, however many they are; it writes the `values` as well."""
    leased_until = time.time() + lease_seconds
    claimed = {"owner": owner, "leased_until": leased_until, "attempt": tasks.c.attempt + 1}
    for ids in chunks([task.id for task in chosen]):
        session.execute(update(tasks).where(tasks.c.id.in_(ids)).values({**claimed, **values}))
    return [replace(task, attempt=task.attempt + 1) for task in chosen]


# SQLite joins at most 500 SELECTs into one statement.
_MOST_TYPES = 100
_MOST_FREED = 100
