"""The rows that say which member reads which lane.

A mark that outlives its member makes the first events of its lane suspect.
"""

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.orm import Session

from chassis.database.tables import marks

__all__ = ["Mark", "Marked", "delete_all", "held_by", "load", "mark", "unmark"]

_OF_STREAM = select(marks).where(marks.c.stream == bindparam("of"))


@dataclass(frozen=True, slots=True)
class Mark:
    """A row: the member reads this lane of the stream."""

    member: str
    stream: str
    lane: int


@dataclass(frozen=True, slots=True)
class Marked:
    """The lanes that another living member still holds, and the lanes of vanished members.

    `suspect` contains the vanished member of each such lane.
    """

    busy: frozenset[int]
    suspect: Mapping[int, str]


def mark(
    session: Session,
    member: str,
    stream: str,
    lanes: Collection[int],
    living: Set[str],
    wait_for: Collection[int],
) -> Marked:
    """Mark the lanes that a member reads from now on, and unmark its other ones.

    Lanes in `wait_for` that another living member has marked are left to that member for now.
    """
    rows = session.execute(_OF_STREAM, {"of": stream}).all()
    own_lanes = {row.lane for row in rows if row.member == member}
    others = [row for row in rows if row.member != member and row.lane in lanes]
    busy = frozenset(r.lane for r in others if r.member in living and r.lane in wait_for)
    left_behind = [r for r in others if r.member not in living and r.lane not in busy]
    for row in left_behind:
        session.execute(
            delete(marks).where(
                marks.c.member == row.member, marks.c.stream == stream, marks.c.lane == row.lane
            )
        )
    reading = set(lanes) - busy
    released = own_lanes - reading
    if released:
        session.execute(
            delete(marks).where(
                marks.c.member == member, marks.c.stream == stream, marks.c.lane.in_(released)
            )
        )
    new = [
        {"member": member, "stream": stream, "lane": lane} for lane in sorted(reading - own_lanes)
    ]
    if new:
        session.execute(insert(marks), new)
    return Marked(busy, {row.lane: row.member for row in left_behind})


def held_by(session: Session, stream: str, members: Set[str]) -> dict[int, str]:
    """Return the lanes that these members have marked, each with its member."""
    rows = session.execute(_OF_STREAM, {"of": stream})
    return {row.lane: row.member for row in rows if row.member in members}


def unmark(session: Session, member: str, stream: str) -> None:
    """Delete the marks of a member that no longer reads the stream."""
    session.execute(delete(marks).where(marks.c.member == member, marks.c.stream == stream))


def load(session: Session) -> list[Mark]:
    """Return every mark, of all streams."""
    return [Mark(row.member, row.stream, row.lane) for row in session.execute(select(marks))]


def delete_all(session: Session, marked: Collection[Mark]) -> None:
    """Delete these marks."""
    these = (
        (marks.c.member == bindparam("member_"))
        & (marks.c.stream == bindparam("stream_"))
        & (marks.c.lane == bindparam("lane_"))
    )
    rows = [{"member_": m.member, "stream_": m.stream, "lane_": m.lane} for m in marked]
    session.execute(delete(marks).where(these), rows)
