"""Where a service begins that has never read a type: written down before it first reads.

A row that is missing later is an error, never a start.
"""

import asyncio
import contextlib
from collections.abc import Sequence

from nats.aio.client import Client
from sqlalchemy.exc import IntegrityError

from chassis.database import Database
from chassis.events.consumer import positions
from chassis.events.consumer.behind import last_events
from chassis.events.consumer.positions import ANY, Position, position_of
from chassis.events.consumer.start import first_event
from chassis.events.handlers.binding import Handler
from chassis.events.jetstream.api import StreamGone
from chassis.events.jetstream.owned_stream import made_after_rank
from chassis.events.jetstream.stored_messages import Stored
from chassis.events.jetstream.stream_end import last_event, rank_of
from chassis.events.jetstream.streams import StreamState, stream_state
from chassis.events.wire.contracts import subject_of
from chassis.events.wire.lanes import LANES

__all__ = ["write_first_positions"]


async def write_first_positions(
    database: Database,
    client: Client,
    stream: str,
    handlers: Sequence[Handler],
    *,
    waited: bool = False,
) -> None:
    """Write a position for every subject of the types that have none yet.

    `waited`: this member was there before the stream was; what that holds from its first event on
    is new even to who begins at the newest.

    Raises:
        StreamGone: there is no stream yet, or its producer still fills it again.
        DatabaseDown, ConnectionLost, JetStreamError: try again later.
    """
    for handler in handlers:
        subjects = [subject_of(handler.type, lane) for lane in range(LANES)]
        known = await database.read(
            lambda tx, subjects=subjects: positions.known_subjects(tx.session, subjects)  # type: ignore[misc]
        )
        if known:
            continue
        new = await _first_positions(client, stream, subjects, handler, waited)
        with contextlib.suppress(IntegrityError):  # another replica was faster
            await database.transaction(
                lambda tx, new=new: positions.insert_new(tx.session, stream, new)  # type: ignore[misc]
            )


async def _first_positions(
    client: Client, stream: str, subjects: list[str], handler: Handler, waited: bool
) -> dict[str, Position]:
    state = await stream_state(client, stream)
    before = made_after_rank(state)
    # What a subject once held may be gone, by age or with an older stream: any number may be next.
    complete = before == 0 and state.first_sequence <= 1
    empty = Position(0 if complete else ANY, "", 0)
    if handler.start == "newest" and not (waited and before == 0):
        await _refilled(client, stream, state, before or 0)
        last = await last_events(client, stream, subjects)
        # The last event is not looked for behind many strangers: history is better than a stop.
        unknown = Position(ANY, "", 0)
        return {
            s: (last[s] if last[s].number else unknown) if s in last else empty for s in subjects
        }
    first = await asyncio.gather(*(first_event(client, stream, s, 1) for s in subjects))
    return {
        subject: _before(stored) if stored else empty
        for subject, stored in zip(subjects, first, strict=True)
    }


async def _refilled(client: Client, stream: str, state: StreamState, up_to_rank: int) -> None:
    """Raise StreamGone while a stream made anew is filled with what had been sent before."""
    last = await last_event(client, stream, state) if up_to_rank else None
    if last and rank_of(last, stream) < up_to_rank:
        raise StreamGone(404, 0, f"stream {stream!r} is being filled again")


def _before(stored: Stored) -> Position:
    first = position_of(stored.headers, stored.sequence)
    return Position(first.number - 1, first.generation, 0, lineage=first.lineage)
