"""Which member runs which lane: a mark that outlives its member makes its lane suspect."""

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.orm import Session

from chassis.database.tables import marks

__all__ = ["Mark", "Marked", "delete_all", "held_by", "load", "mark", "unmark"]


@dataclass(frozen=True, slots=True)
class Mark:
    """The member runs this lane of the stream."""

    member: str
    stream: str
    lane: int


@dataclass(frozen=True, slots=True)
class Marked:
    """Lanes that a living member still holds, and by whom that has vanished lanes were held."""

    busy: frozenset[int]
    suspect: Mapping[int, str]


def mark(
    session: Session,
    member: str,
    stream: str,
    lanes: Collection[int],
    living: Set[str],
    patient: Collection[int],
) -> Marked:
    """Mark the lanes a member runs from now on, and unmark those it no longer does.

    Lanes in `patient` that another living member has marked are left to it for now.
    """
    rows = session.execute(select(marks).where(marks.c.stream == stream)).all()
    own = {row.lane for row in rows if row.member == member}
    others = [row for row in rows if row.member != member and row.lane in lanes]
    busy = frozenset(r.lane for r in others if r.member in living and r.lane in patient)
    left = [r for r in others if r.member not in living and r.lane not in busy]
    for row in left:
        session.execute(
            delete(marks).where(
                marks.c.member == row.member, marks.c.stream == stream, marks.c.lane == row.lane
            )
        )
    running = set(lanes) - busy
    gone = own - running
    if gone:
        session.execute(
            delete(marks).where(
                marks.c.member == member, marks.c.stream == stream, marks.c.lane.in_(gone)
            )
        )
    new = [{"member": member, "stream": stream, "lane": lane} for lane in sorted(running - own)]
    if new:
        session.execute(insert(marks), new)
    return Marked(busy, {row.lane: row.member for row in left})


def held_by(session: Session, stream: str, members: Set[str]) -> dict[int, str]:
    """The lanes that these members have marked."""
    rows = session.execute(select(marks).where(marks.c.stream == stream))
    return {row.lane: row.member for row in rows if row.member in members}


def unmark(session: Session, member: str, stream: str) -> None:
    """The member has let go of all its lanes in order."""
    session.execute(delete(marks).where(marks.c.member == member, marks.c.stream == stream))


def load(session: Session) -> list[Mark]:
    """Every mark, of all streams."""
    return [Mark(row.member, row.stream, row.lane) for row in session.execute(select(marks))]


def delete_all(session: Session, left: Collection[Mark]) -> None:
    """Delete marks that members have left behind."""
    these = (
        (marks.c.member == bindparam("member_"))
        & (marks.c.stream == bindparam("stream_"))
        & (marks.c.lane == bindparam("lane_"))
    )
    rows = [{"member_": m.member, "stream_": m.stream, "lane_": m.lane} for m in left]
    session.execute(delete(marks).where(these), rows)
