"""Where a reader begins to take what a stream holds above its positions.

A stream only grows at its end: where it holds the event that a position remembers, at that place,
all positions before that place are of this stream too, and what comes next of each subject is
looked for after its position. Where it does not (it was made anew, or put back, or that event has
aged out) each subject's next event is searched for by its number, which grows along the stream.
"""

import asyncio
from collections.abc import Iterable, Mapping

from nats.aio.client import Client

from chassis.events.consumer.behind import Behind
from chassis.events.consumer.positions import ANY, Position
from chassis.events.jetstream.stored_messages import Stored, first_stored, stored_at
from chassis.events.wire import transport

__all__ = ["first_event", "next_of_subject", "start_sequence"]

# So many positions are tried for one whose event the stream holds.
_REMEMBERED = 3
# So many messages of strangers are looked past for an event.
_STRANGERS = 1000
_AT_ONCE = 32


async def start_sequence(
    client: Client,
    stream: str,
    at: Mapping[str, Position],
    behind: Mapping[str, Behind],
    end: int,
) -> int:
    """The sequence at which to begin for the subjects that are behind.

    `at` are the positions of all that are read, `end` is the sequence after the stream's last.
    """
    known = await _known_up_to(client, stream, at.items()) if behind else 0
    following = {s: at[s].sequence + 1 for s in behind if at[s].sequence <= known}
    others = [subject for subject in behind if subject not in following]
    limit = asyncio.Semaphore(_AT_ONCE)

    async def start_of(subject: str) -> int:
        async with limit:
            found = await next_of_subject(
                client, stream, subject, at[subject], behind[subject].last_sequence
            )
        return found.sequence if found else end

    starts = await asyncio.gather(*(start_of(subject) for subject in others))
    return min([end, await _first_of(client, stream, following, end), *starts])


async def _known_up_to(client: Client, stream: str, at: Iterable[tuple[str, Position]]) -> int:
    """Up to which sequence this is the stream that the positions speak of; 0 if it is unknown."""
    latest = sorted(at, key=lambda item: item[1].sequence, reverse=True)[:_REMEMBERED]
    for subject, position in latest:
        stored = await stored_at(client, stream, position.sequence) if position.sequence else None
        if stored and stored.subject == subject and _remembered(stored, position):
            return position.sequence
    return 0


async def _first_of(client: Client, stream: str, following: Mapping[str, int], end: int) -> int:
    """The first message of any subject that comes at or after the sequence given with it.

    Few are asked: a subject that was quiet for long holds nobody back, and what comes after
    another's next message need not be known.
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
    """What a consumer of this subject is to see first, up to `last_sequence`.

    The event after the position's, if the stream holds the position's or none before that;
    another event under the position's own number; or what shows that numbers are missing.
    """
    if position.number == ANY:
        return await first_stored(client, stream, subject)
    found = await _at_number(client, stream, subject, max(1, position.number), last_sequence)
    if found is None:  # only lower numbers: the last one shows what that means
        return await stored_at(client, stream, last_sequence)
    if _remembered(found, position):
        return await first_stored(client, stream, subject, found.sequence + 1)
    return found


def _remembered(stored: Stored, position: Position) -> bool:
    """Whether it is the event that was taken last."""
    return (
        stored.number == position.number
        and transport.generation(stored.headers) in (position.generation, "")
        and position.event_id in ("", transport.event_id(stored.headers))
    )


async def _at_number(
    client: Client, stream: str, subject: str, number: int, high: int
) -> Stored | None:
    """The first event of a subject, up to the sequence `high`, with this number or a higher one."""
    first = await first_event(client, stream, subject, 1)
    if first is None or first.number >= number:
        return first
    found, low = None, first.sequence + 1
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
    """The first event of a subject from a sequence on, past what strangers have sent."""
    for _ in range(_STRANGERS):
        stored = await first_stored(client, stream, subject, sequence)
        if stored is None or stored.number:
            return stored
        sequence = stored.sequence + 1
    return None
