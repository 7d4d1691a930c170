"""Statements that change given numbers: lifted above what a stream holds, or revoked."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from chassis.database.chunks import chunks
from chassis.database.tables import outbox, relay, subjects
from chassis.events.producer import refused, sent_marks
from chassis.events.producer.counters import Counters

__all__ = ["HeldEvent", "lift_counters", "revoke_unsent"]


@dataclass(frozen=True, slots=True)
class HeldEvent:
    """An event of the outbox with the number and rank under which the stream holds it.

    `row` is its id in the outbox.
    """

    row: int
    number: int
    rank: int


def lift_counters(
    session: Session,
    counters: Counters,
    *,
    generation: str,
    lineage: str,
    numbers: Mapping[str, int],
    held: Sequence[HeldEvent],
    held_refused: Mapping[str, tuple[int, int]],
    sequence: int,
    rank: int,
) -> Counters:
    """Lift the counters above what the stream holds, for a database that is older than the stream.

    `numbers` are the stream's last numbers by subject, `rank` and `sequence` its last. Unsent
    events that the stream holds (`held`) get its number and rank; all others lose theirs and are
    numbered again. Events set apart that it holds (`held_refused`: number and rank by event id)
    return to the outbox as sent. Under a new generation, sent events lose their rank, because they
    went into another stream and are not sent to this one.
    """
    _raise_numbers(session, counters, numbers)
    _unnumber(session, counters)
    is_new = generation != counters.generation
    if is_new:
        session.execute(update(outbox).where(outbox.c.rank.is_not(None)).values(rank=None))
        sent_marks.delete_all(session)
    if held:
        session.execute(
            update(outbox)
            .where(outbox.c.id == bindparam("row_"))
            .values(number=bindparam("number_"), rank=bindparam("rank_")),
            [{"row_": h.row, "number_": h.number, "rank_": h.rank} for h in held],
        )
    refused.restore_as_sent(session, held_refused)
    top = max(rank, counters.rank)
    base = top if is_new else counters.base_rank
    lifted = Counters(generation, base, top, top, sequence, lineage)
    session.execute(update(relay).where(relay.c.id == 1).values(asdict(lifted)))
    return lifted


def revoke_unsent(session: Session, counters: Counters) -> None:
    """Remove number and rank from all numbered, unsent events; both are given out again.

    Ranks below the first such event are never given again, because events that were sent once and
    have been cleaned up since may have had them.
    """
    first = session.execute(select(func.min(outbox.c.rank)).where(_is_unsent(counters))).scalar()
    if first is None:
        return
    _raise_numbers(session, counters, {})
    _unnumber(session, counters)
    session.execute(update(relay).where(relay.c.id == 1).values(rank=first - 1))


def _unnumber(session: Session, counters: Counters) -> None:
    """Remove number and rank from all unsent events."""
    session.execute(update(outbox).where(_is_unsent(counters)).values(number=None, rank=None))


def _is_unsent(counters: Counters) -> ColumnElement[bool]:
    """Whether a row is numbered, and above the rank that was sent."""
    return outbox.c.rank.between(counters.sent_rank + 1, counters.rank)


def _raise_numbers(session: Session, counters: Counters, numbers: Mapping[str, int]) -> None:
    """Set each subject's last number to the stream's or to that of sent events: the higher one."""
    unsent = (
        select(outbox.c.subject, func.min(outbox.c.number))
        .where(_is_unsent(counters))
        .group_by(outbox.c.subject)
    )
    before_unsent = {subject: number - 1 for subject, number in session.execute(unsent)}
    names = numbers.keys() | before_unsent.keys()
    recorded = _read_numbers(session, names)
    sent = recorded | before_unsent
    raised = {name: max(sent.get(name, 0), numbers.get(name, 0)) for name in names}
    _write_numbers(session, recorded, raised)


def _read_numbers(session: Session, names: Set[str]) -> dict[str, int]:
    """Return the last number of each subject that has one."""
    return {
        row.subject: row.number
        for some in chunks(sorted(names))
        for row in session.execute(select(subjects).where(subjects.c.subject.in_(some)))
    }


def _write_numbers(session: Session, recorded: dict[str, int], last: dict[str, int]) -> None:
    """Insert or update the last numbers of subjects."""
    new = [{"subject": s, "number": n} for s, n in last.items() if s not in recorded]
    moved = [{"moved": s, "to": n} for s, n in last.items() if recorded.get(s, n) != n]
    if new:
        session.execute(insert(subjects), new)
    if moved:
        session.execute(
            update(subjects)
            .where(subjects.c.subject == bindparam("moved"))
            .values(number=bindparam("to")),
            moved,
        )
