"""Where a reader begins to take what a stream holds above its positions."""

from collections.abc import Mapping

from nats.aio.client import Client

from chassis.events import wire
from chassis.events.positions import Position
from chassis.events.streams import first_stored, stored_at

__all__ = ["start_sequence"]


async def start_sequence(
    client: Client, stream: str, at: Mapping[str, Position], end: int, *, thorough: bool
) -> int | None:
    """The sequence at which to begin for subjects that are behind; None for the oldest message.

    After the lowest position, if the message there is the one remembered. A subject that was quiet
    for long holds nobody back: what counts is what it has next, unless `thorough`. `end` is the
    sequence after the stream's last.
    """
    if not at:
        return end
    lowest = min(at, key=lambda subject: at[subject].sequence)
    if not await _remembers(client, stream, lowest, at[lowest]):
        return None
    following = {subject: position.sequence + 1 for subject, position in at.items()}
    if thorough:
        return following[lowest]
    asked: set[str] = set()
    while following:
        first = min(following, key=lambda subject: following[subject])
        if first in asked:
            return following[first]
        asked.add(first)
        stored = await first_stored(client, stream, first, following[first])
        if stored is None:
            del following[first]
        else:
            following[first] = stored.sequence
    return end


async def _remembers(client: Client, stream: str, subject: str, position: Position) -> bool:
    if not position.sequence:
        return True
    stored = await stored_at(client, stream, position.sequence)
    return (
        stored is not None
        and stored.subject == subject
        and wire.integer(stored.headers, wire.NUMBER) == position.number
        and wire.generation(stored.headers) in (position.generation, "")
        and wire.event_id(stored.headers) == position.event_id
    )
