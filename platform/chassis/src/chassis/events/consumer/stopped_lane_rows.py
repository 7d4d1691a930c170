"""The stopped lanes as rows, by which one member tells every other process of them."""

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.orm import Session

from chassis.database.tables import stopped_lanes
from chassis.events.consumer.stopped_lanes import Stop

__all__ = ["StoppedLane", "differ", "load", "write"]

_ALL = select(stopped_lanes).order_by(stopped_lanes.c.stream, stopped_lanes.c.lane)
_OF_STREAM = _ALL.where(stopped_lanes.c.stream == bindparam("of"))


@dataclass(frozen=True, slots=True)
class StoppedLane:
    """A lane of a stream that is stopped at a subject, why, and since when (epoch seconds).

    `verb` is the verb of `events`, with its options, by which an operator can continue it.
    """

    stream: str
    lane: int
    subject: str
    reason: str
    verb: str
    stopped_at: float


def load(session: Session, stream: str | None = None) -> list[StoppedLane]:
    """Return the stopped lanes of a stream, or of all streams that the service reads."""
    rows = session.execute(_ALL if stream is None else _OF_STREAM, {"of": stream})
    return [StoppedLane(*row) for row in rows]


def differ(rows: Iterable[StoppedLane], stops: Iterable[Stop], lanes: Collection[int]) -> bool:
    """Return whether the rows of these lanes differ from the stops that a member knows of them."""
    recorded = {(row.subject, row.reason) for row in rows if row.lane in lanes}
    return recorded != {(stop.subject, stop.reason) for stop in stops}


def write(session: Session, stream: str, stops: Iterable[Stop], lanes: Collection[int]) -> None:
    """Replace the rows of these lanes by one row for each stop."""
    session.execute(
        delete(stopped_lanes).where(
            stopped_lanes.c.stream == stream, stopped_lanes.c.lane.in_(sorted(lanes))
        )
    )
    now = time.time()
    rows = [
        {
            "stream": stream,
            "lane": stop.lane,
            "subject": stop.subject,
            "reason": stop.reason,
            "verb": stop.verb,
            "stopped_at": now,
        }
        for stop in stops
    ]
    if rows:
        session.execute(insert(stopped_lanes), rows)
