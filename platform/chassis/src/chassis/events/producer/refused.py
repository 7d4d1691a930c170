"""Events that the stream refuses for what they are: set apart, so that those behind them go on.

Each gives its number back, and so do all that were numbered behind it: numbers stay without gaps.
It has lost its place: if it is sent again, it comes after what its key has had in the meantime.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, literal, select
from sqlalchemy.orm import Session

from chassis.database.chunks import chunks
from chassis.database.tables import outbox, refused

__all__ = ["Refused", "count", "drop", "known", "listed", "send_again", "set_apart", "take_back"]

_COLUMNS = ("event_id", "subject", "headers", "data", "created_at")


@dataclass(frozen=True, slots=True)
class Refused:
    """An event set apart: `bytes` of headers and data, `reason` in the server's words."""

    id: int
    event_id: str
    type: str
    bytes: int
    reason: str
    created_at: float
    refused_at: float


def set_apart(session: Session, row: int, reason: str) -> None:
    """Move an event out of the outbox, where `row` is its id. Its number has been taken back."""
    names = ["id", *_COLUMNS, "reason", "refused_at"]
    values = (outbox.c.id, *(outbox.c[name] for name in _COLUMNS))
    moved = select(*values, literal(reason), literal(time.time())).where(outbox.c.id == row)
    session.execute(insert(refused).from_select(names, moved))
    session.execute(delete(outbox).where(outbox.c.id == row))


def count(session: Session) -> int:
    """How many are set apart."""
    return int(session.execute(select(func.count()).select_from(refused)).scalar_one())


def known(session: Session) -> set[str]:
    """The events' ids."""
    return set(session.execute(select(refused.c.event_id)).scalars())


def listed(session: Session) -> list[Refused]:
    """All of them, in the order in which they were published."""
    size = func.length(refused.c.headers) + func.length(refused.c.data)
    statement = select(
        refused.c.id,
        refused.c.event_id,
        refused.c.subject,
        size,
        refused.c.reason,
        refused.c.created_at,
        refused.c.refused_at,
    ).order_by(refused.c.id)
    return [
        Refused(id, event_id, subject.rpartition(".")[0], bytes, reason, made, at)
        for id, event_id, subject, bytes, reason, made, at in session.execute(statement)
    ]


def send_again(session: Session, ids: Sequence[int]) -> int:
    """Put them at the end of the outbox, in order; how many there were."""
    sent = 0
    for some in chunks(sorted(ids)):
        # Of two who do it at once the second finds none any more.
        chosen = select(refused.c.id).where(refused.c.id.in_(some)).order_by(refused.c.id)
        there = session.execute(chosen.with_for_update()).scalars().all()
        rows = select(*(refused.c[name] for name in _COLUMNS)).where(refused.c.id.in_(there))
        session.execute(insert(outbox).from_select(list(_COLUMNS), rows.order_by(refused.c.id)))
        sent += _delete(session, there)
    return sent


def drop(session: Session, ids: Sequence[int]) -> int:
    """Delete them for good; how many there were."""
    return sum(_delete(session, some) for some in chunks(ids))


def take_back(session: Session, held: Mapping[str, tuple[int, int]]) -> None:
    """The stream holds these after all, under this number and rank: they are in the outbox again,
    as what was sent."""
    for event_id, (number, rank) in held.items():
        event = refused.c.event_id == event_id
        values = [*(refused.c[name] for name in _COLUMNS), literal(number), literal(rank)]
        taken = select(outbox.c.id).where(outbox.c.rank == rank).exists()
        rows = select(*values).where(event, ~taken)
        session.execute(insert(outbox).from_select([*_COLUMNS, "number", "rank"], rows))
        session.execute(delete(refused).where(event))


def _delete(session: Session, ids: Sequence[int]) -> int:
    deleted = session.execute(delete(refused).where(refused.c.id.in_(ids)))
    return int(deleted.rowcount)  # type: ignore[attr-defined]
