"""Finds the tasks that may run next.

The oldest task of each key may run, and no other has a due time, so that the tasks behind it cost
a look nothing. A look finds the first task of each type by an index and reads no other rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    ScalarSelect,
    Select,
    String,
    Text,
    bindparam,
    cast,
    literal,
    null,
    select,
    union_all,
)
from sqlalchemy.orm import Session, aliased

from chassis.database.chunks import chunks
from chassis.database.tables import tasks

__all__ = [
    "MAX_TYPES",
    "DueTimes",
    "TaskFilter",
    "find_due",
    "select_claimed_by_others",
    "select_unclaimed",
]

MAX_TYPES = 100
"""Types in one statement: SQLite joins at most 500 SELECTs."""


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """The tasks that a member of a version looks for.

    They are of `types` and belong to `canary`, which is empty for a version without a weight.
    `suspects` and expired claims of other members (`expired`) are included where these are set.
    `held_ids` are the member's own claims, which are never expired for it.
    """

    types: Sequence[str]
    held_ids: Sequence[int] = field(default=())
    expired: bool = True
    suspects: bool = True
    version: str = ""
    canary: str = ""


@dataclass(slots=True)
class DueTimes:
    """When the next tasks are due, in epoch seconds.

    `by_type` are those that run concurrently with others, `suspects` those that run alone.
    `lease_end` is when the next lease of another member ends.
    """

    by_type: dict[str, float] = field(default_factory=dict)
    suspects: dict[str, float] = field(default_factory=dict)
    lease_end: float | None = None

    def due_types(self, now: float) -> list[str]:
        """Return the types with a due task, the one that has waited longest first."""
        ordered = sorted(self.by_type.items(), key=lambda item: item[1])
        return [type for type, due in ordered if due <= now]

    def due_suspects(self, now: float) -> list[str]:
        """Return the types with a due task that runs alone."""
        return [type for type, due in self.suspects.items() if due <= now]


def find_due(session: Session, wanted: TaskFilter) -> DueTimes:
    """Return when tasks are due, by one statement per `MAX_TYPES` types."""
    found = DueTimes()
    for types in chunks(wanted.types, MAX_TYPES):
        statement = _select_due_times(tuple(types), wanted.suspects, wanted.expired)
        values: dict[str, Any] = {"canary": wanted.canary}
        if wanted.expired:
            values["held"] = list(wanted.held_ids)
        for row in session.execute(statement, values):
            if row.type is None:
                found.lease_end = row.due
                continue
            if row.due is not None:
                found.by_type[row.type] = row.due
            if row.alone is not None:
                found.suspects[row.type] = row.alone
    return found


# Statements are cached because building one costs more than running it.
@lru_cache(maxsize=128)
def _select_due_times(types: tuple[str, ...], suspects: bool, expired: bool) -> Any:
    """Select when the first task of each type is due, and when the first lease ends."""
    # Without the cast PostgreSQL takes a column that is NULL in every part for text.
    nothing = cast(null(), Double)
    parts = [
        select(
            literal(type, String).label("type"),
            _select_first_due(type, alone=False).label("due"),
            (_select_first_due(type, alone=True) if suspects else nothing).label("alone"),
        )
        for type in types
    ]
    if expired:
        first = select_claimed_by_others(types).order_by(tasks.c.leased_until).limit(1)
        lease_end = first.with_only_columns(tasks.c.leased_until).scalar_subquery()
        parts.append(select(literal(None, String), lease_end, nothing))
    return union_all(*parts)


def _select_first_due(type: str, *, alone: bool) -> ScalarSelect[Any]:
    """Select the due time of a type's first unclaimed task: a suspect if `alone`."""
    first = select_unclaimed(type, alone=alone).limit(1)
    return first.with_only_columns(tasks.c.due_at).scalar_subquery()


def select_unclaimed(type: str, *, alone: bool) -> Select[Any]:
    """Select the tasks that have no owner and are the first of their key, in the index's order.

    They are suspects, which run alone, if `alone` is true. They belong to the parameter `canary`.
    """
    return (
        select(tasks)
        .where(
            tasks.c.type == type,
            tasks.c.alone == alone,
            tasks.c.canary == bindparam("canary", type_=Text),
            tasks.c.owner.is_(None),
            # This means NOT NULL, and SQLite uses the index only for a comparison.
            tasks.c.due_at >= 0,
            _is_first_of_key(),
        )
        .order_by(tasks.c.due_at, tasks.c.id)
    )


def _is_first_of_key() -> ColumnElement[bool]:
    """Whether no older task of the key exists."""
    older = aliased(tasks)
    same_key = (older.c.source == tasks.c.source) & (older.c.key == tasks.c.key)
    return ~select(older.c.id).where(same_key, older.c.id < tasks.c.id).exists()


def select_claimed_by_others(types: tuple[str, ...]) -> Select[Any]:
    """Select the claimed tasks whose ids are not in the parameter `held`. There are few of them."""
    return select(tasks).where(
        tasks.c.leased_until >= 0,
        tasks.c.owner.is_not(None),
        tasks.c.type.in_(types),
        tasks.c.id.not_in(bindparam("held", expanding=True)),
    )
