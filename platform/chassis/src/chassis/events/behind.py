"""What a stream holds above a service's positions, and where a reader begins to take it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nats.aio.client import Client

from chassis.events import wire
from chassis.events.positions import Position
from chassis.events.streams import first_stored, last_messages, stored_at

__all__ = ["Behind", "start_sequence", "subjects_behind"]


@dataclass(frozen=True, slots=True)
class Behind:
    """What the stream holds above one position.

    `last_sequence` is that of the subject's last message. If that is a stranger's, without a
    number, it is not `certain` that anything is before it.
    """

    events: int
    last_sequence: int
    certain: bool = True


async def subjects_behind(
    client: Client, stream: str, positions: Mapping[str, Position], filters: Sequence[str]
) -> dict[str, Behind]:
    """The subjects of which the stream holds more; `filters` cover all that have a position."""
    behind: dict[str, Behind] = {}
    for stored in await last_messages(client, stream, filters) if filters else []:
        position = positions.get(stored.subject)
        if position is None:
            continue
        number = wire.integer(stored.headers, wire.NUMBER)
        generation = wire.generation(stored.headers)
        if number > position.number:
            events = number - max(position.number, 0)
            behind[stored.subject] = Behind(events, stored.sequence)
        elif number and generation > position.generation:
            behind[stored.subject] = Behind(0, stored.sequence)
        elif not number:
            behind[stored.subject] = Behind(0, stored.sequence, certain=False)
    return behind


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
