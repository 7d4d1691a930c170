"""The stream sequence at which a reader must begin to find what comes after its positions.

A stream only grows at its end. If it holds the event that a position remembers, at that sequence,
then all positions up to that sequence are of this stream too, and the next event of each subject
comes after its position. If it does not hold it (the stream was recreated or put back, or the
event was deleted by age), each subject's next event is searched for by its number, which grows
along the stream.
"""

import asyncio
from collections.abc import Iterable, Mapping

from nats.aio.client import Client

from chassis.events.consumer.backlog import Backlog
from chassis.events.consumer.position import ANY, Position
from chassis.events.jetstream.stored_messages import Stored, first_stored, stored_at
from chassis.events.wire import event_headers

__all__ = ["first_event", "next_of_subject", "start_sequence"]

# This many positions are compared with the stream, to find out whether they are of this stream.
_POSITIONS_COMPARED = 3
# An event is searched for behind at most this many messages without a number.
_MAX_UNNUMBERED = 1000
_MAX_CONCURRENT = 32


async def start_sequence(
    client: Client,
    stream: str,
    positions: Mapping[str, Position],
    backlogs: Mapping[str, Backlog],
    end: int,
) -> int:
    """Return the sequence at which to begin for the subjects that have a backlog.

    `positions` are those of all subjects that are read, `end` is the sequence after the stream's
    last.
    """
    common = await _last_common_sequence(client, stream, positions.items()) if backlogs else 0
    following = {s: positions[s].sequence + 1 for s in backlogs if positions[s].sequence <= common}
    others = [subject for subject in backlogs if subject not in following]
    limit = asyncio.Semaphore(_MAX_CONCURRENT)

    async def start_of(subject: str) -> int:
        async with limit:
            found = await next_of_subject(
                client, stream, subject, positions[subject], backlogs[subject].last_sequence
            )
        return found.sequence if found else end

    starts = await asyncio.gather(*(start_of(subject) for subject in others))
    return min([end, await _first_sequence(client, stream, following, end), *starts])


async def _last_common_sequence(
    client: Client, stream: str, positions: Iterable[tuple[str, Position]]
) -> int:
    """Return up to which sequence the positions are of this stream; 0 if that is unknown."""
    latest = sorted(positions, key=lambda item: item[1].sequence, reverse=True)
    for subject, position in latest[:_POSITIONS_COMPARED]:
        stored = await stored_at(client, stream, position.sequence) if position.sequence else None
        if stored and stored.subject == subject and _is_event_of(position, stored):
            return position.sequence
    return 0


async def _first_sequence(
    client: Client, stream: str, following: Mapping[str, int], end: int
) -> int:
    """Return the first message that any subject has at or after the sequence given with it.

    Few subjects have to be asked: those whose sequence lies above the first message found need not
    be, however many there are.
    """
    following = dict(following)
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


async def next_of_subject(
    client: Client, stream: str, subject: str, position: Position, last_sequence: int
) -> Stored | None:
    """Return the first message that a consumer of this subject must see, up to `last_sequence`.

    It is the event after the position's, if the stream holds the position's event or none before
    that; otherwise another event under the position's number, or the one that shows that numbers
    are missing.
    """
    if position.number == ANY:
        return await first_stored(client, stream, subject)
    found = await _find_number(client, stream, subject, max(1, position.number), last_sequence)
    if found is None:
        # All numbers are lower than the position's: the last event shows what that means.
        return await stored_at(client, stream, last_sequence)
    if _is_event_of(position, found):
        return await first_stored(client, stream, subject, found.sequence + 1)
    return found


def _is_event_of(position: Position, stored: Stored) -> bool:
    """Return whether a stored message is the event that the position remembers."""
    return (
        stored.number == position.number
        and event_headers.generation(stored.headers) in (position.generation, "")
        and position.event_id in ("", event_headers.event_id(stored.headers))
    )


async def _find_number(
    client: Client, stream: str, subject: str, number: int, last_sequence: int
) -> Stored | None:
    """Return a subject's first event with at least this number, by binary search."""
    first = await first_event(client, stream, subject, 1)
    if first is None or first.number >= number:
        return first
    found, low, high = None, first.sequence + 1, last_sequence
    while low <= high:
        middle = (low + high) // 2
        stored = await first_event(client, stream, subject, middle)
        if stored is None or stored.sequence > high:
            high = middle - 1
        elif stored.number >= number:
            found, high = stored, middle - 1
        else:
            low = stored.sequence + 1
    return found


async def first_event(client: Client, stream: str, subject: str, sequence: int) -> Stored | None:
    """Return a subject's first numbered event from a sequence on."""
    for _ in range(_MAX_UNNUMBERED):
        stored = await first_stored(client, stream, subject, sequence)
        if stored is None or stored.number:
            return stored
        sequence = stored.sequence + 1
    return None
