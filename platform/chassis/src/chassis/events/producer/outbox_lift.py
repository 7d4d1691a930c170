"""The outbox's statements that renumber: above what a stream holds, or back to what was sent."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from chassis.database.chunks import chunks
from chassis.database.tables import outbox, relay, subjects
from chassis.events.producer import refused, sent_marks
from chassis.events.producer.outbox import Counters

__all__ = ["Held", "lift", "take_numbers_back"]


@dataclass(frozen=True, slots=True)
class Held:
    """An event of the outbox as the stream holds it; `row` is its id there."""

    row: int
    number: int
    rank: int


def lift(
    session: Session,
    counters: Counters,
    *,
    generation: str,
    lineage: str,
    numbers: Mapping[str, int],
    held: Sequence[Held],
    held_refused: Mapping[str, tuple[int, int]],
    sequence: int,
    rank: int,
) -> Counters:
    """Lift the counters above what the stream holds, for a database older than it.

    `numbers` are the stream's last numbers by subject, `rank` and `sequence` its last. Unsent
    events that the stream holds (`held`) take number and rank as they are there; the others lose
    what they have and are numbered anew. Events set apart that it holds (`held_refused`: number and
    rank by id) are refused no longer. Under a new generation what was sent loses its rank: it went
    to another stream and is not sent to this one.
    """
    _lift_numbers(session, counters, numbers)
    _unnumber(session, counters)
    anew = generation != counters.generation
    if anew:
        session.execute(update(outbox).where(outbox.c.rank.is_not(None)).values(rank=None))
        sent_marks.forget(session)
    if held:
        session.execute(
            update(outbox)
            .where(outbox.c.id == bindparam("row_"))
            .values(number=bindparam("number_"), rank=bindparam("rank_")),
            [{"row_": h.row, "number_": h.number, "rank_": h.rank} for h in held],
        )
    refused.take_back(session, held_refused)
    top = max(rank, counters.rank)
    base = top if anew else counters.base_rank
    lifted = Counters(generation, base, top, top, sequence, lineage)
    session.execute(update(relay).where(relay.c.id == 1).values(asdict(lifted)))
    return lifted


def take_numbers_back(session: Session, counters: Counters) -> None:
    """Whatever is numbered and not sent loses number and rank, which are given out again.

    Not the ranks below: in a stream that was put back these may be of events that were sent once
    and have been cleaned up since.
    """
    first = session.execute(select(func.min(outbox.c.rank)).where(_unsent(counters))).scalar()
    if first is None:
        return
    _lift_numbers(session, counters, {})
    _unnumber(session, counters)
    session.execute(update(relay).where(relay.c.id == 1).values(rank=first - 1))


def _unnumber(session: Session, counters: Counters) -> None:
    session.execute(update(outbox).where(_unsent(counters)).values(number=None, rank=None))


def _unsent(counters: Counters):  # type: ignore[no-untyped-def]
    return outbox.c.rank.between(counters.sent_rank + 1, counters.rank)


def _lift_numbers(session: Session, counters: Counters, numbers: Mapping[str, int]) -> None:
    """Each subject's last number: the stream's or that of what was sent, whichever is higher."""
    unsent = (
        select(outbox.c.subject, func.min(outbox.c.number))
        .where(_unsent(counters))
        .group_by(outbox.c.subject)
    )
    before_unsent = {subject: number - 1 for subject, number in session.execute(unsent)}
    names = numbers.keys() | before_unsent.keys()
    known = _numbers(session, names)
    sent = known | before_unsent
    lifted = {name: max(sent.get(name, 0), numbers.get(name, 0)) for name in names}
    _write_numbers(session, known, lifted)


def _numbers(session: Session, names: Set[str]) -> dict[str, int]:
    return {
        row.subject: row.number
        for some in chunks(sorted(names))
        for row in session.execute(select(subjects).where(subjects.c.subject.in_(some)))
    }


def _write_numbers(session: Session, known: dict[str, int], last: dict[str, int]) -> None:
    new = [{"subject": s, "number": n} for s, n in last.items() if s not in known]
    moved = [{"moved": s, "to": n} for s, n in last.items() if known.get(s, n) != n]
    if new:
        session.execute(insert(subjects), new)
    if moved:
        session.execute(
            update(subjects)
            .where(subjects.c.subject == bindparam("moved"))
            .values(number=bindparam("to")),
            moved,
        )
