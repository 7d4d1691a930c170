"""Where a service begins that has never read a type: written down before it first reads.

A row that is missing later is an error, never a start.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from nats.aio.client import Client
from sqlalchemy.exc import IntegrityError

from chassis.database import Database
from chassis.events import positions, wire
from chassis.events.contracts import subject_of
from chassis.events.handlers import Handler
from chassis.events.lanes import LANES
from chassis.events.positions import ANY, Position
from chassis.events.streams import (
    Stored,
    StreamGone,
    StreamState,
    first_stored,
    last_messages,
    stream_state,
)

__all__ = ["write_first_positions"]


async def write_first_positions(
    database: Database, client: Client, stream: str, handlers: Sequence[Handler]
) -> None:
    """Write a position for every subject of the types that have none yet.

    Raises:
        DatabaseDown, ConnectionLost, JetStreamError: try again later.
    """
    for handler in handlers:
        subjects = [subject_of(handler.type, lane) for lane in range(LANES)]
        known = await database.read(
            lambda tx, subjects=subjects: positions.known_subjects(tx.session, subjects)  # type: ignore[misc]
        )
        if known:
            continue
        new = await _first_positions(client, stream, subjects, handler)
        with contextlib.suppress(IntegrityError):  # another replica was faster
            await database.transaction(
                lambda tx, new=new: positions.insert_new(tx.session, stream, new)  # type: ignore[misc]
            )


async def _first_positions(
    client: Client, stream: str, subjects: list[str], handler: Handler
) -> dict[str, Position]:
    try:
        state = await stream_state(client, stream)
    except StreamGone:
        return {subject: Position(0, "", 0) for subject in subjects}
    empty = _empty(state)
    if handler.start == "newest":
        last = {s.subject: s for s in await last_messages(client, stream, subjects)}
        return {
            subject: _at(last[subject], taken=True) if subject in last else empty
            for subject in subjects
        }
    first = await asyncio.gather(*(first_stored(client, stream, s) for s in subjects))
    return {
        subject: _at(stored, taken=False) if stored else empty
        for subject, stored in zip(subjects, first, strict=True)
    }


def _empty(state: StreamState) -> Position:
    # What a subject once held may have been removed by age; then any number may come first.
    return Position(ANY if state.first_sequence > 1 else 0, "", 0)


def _at(stored: Stored, *, taken: bool) -> Position:
    number = wire.integer(stored.headers, wire.NUMBER) or 1
    generation = wire.generation(stored.headers)
    return (
        Position(number, generation, stored.sequence, wire.event_id(stored.headers))
        if taken
        else Position(number - 1, generation, 0)
    )
