"""Finds the last event of a stream, skipping the messages of other publishers.

A message that no relay has sent has no rank. There may be many of them, and more at any time.
"""

import asyncio
from contextlib import aclosing

from nats.aio.client import Client

from chassis.events.jetstream.stored_messages import Stored, last_stored, read_from, stored_at
from chassis.events.jetstream.streams import StreamState
from chassis.events.wire import event_headers
from chassis.events.wire.contracts import is_of_stream

__all__ = ["CopyLags", "last_event", "only_unranked", "rank_of"]

_FIRST_WINDOW = 500
# Up to this many messages are read by single requests.
_MAX_SINGLE_READS = 4


class CopyLags(RuntimeError):
    """The answer came from a replica of the stream that lags; the stream must be read again."""

    def __init__(self) -> None:
        super().__init__("a copy of the stream that lags was read; it is read again")


def rank_of(stored: Stored, stream: str) -> int:
    """Return the rank of an event of this stream; 0 for any other message or a copy of an event."""
    is_event = is_of_stream(stored.subject, stream) and not stored.is_copy
    return event_headers.integer(stored.headers, event_headers.RANK) if is_event else 0


async def last_event(
    client: Client, stream: str, state: StreamState, known_sequence: int = 0
) -> Stored | None:
    """Return the last event of a stream; None if there is none.

    `known_sequence` is the sequence of an event found before, where the search may begin; 0 for
    none.

    Raises:
        CopyLags, JetStreamError, TimeoutError, nats.errors.Error: try again.
    """
    # The state does not serve, because a purge may have removed the message at its end.
    last = await last_stored(client, stream)
    if last is None or rank_of(last, stream):
        return last
    is_inside = 0 < known_sequence < last.sequence
    known = await stored_at(client, stream, known_sequence) if is_inside else None
    if known and rank_of(known, stream):
        return await _last_within(client, stream, known_sequence + 1, last.sequence) or known
    first, upper, window = max(1, state.first_sequence), last.sequence, _FIRST_WINDOW
    while upper >= first:
        lower = max(first, upper - window + 1)
        if found := await _last_within(client, stream, lower, upper):
            return found
        upper, window = lower - 1, 2 * window
    return None


async def _last_within(client: Client, stream: str, lower: int, upper: int) -> Stored | None:
    """Return the last event between two sequences (both included)."""
    found, read = None, 0
    async with aclosing(read_from(client, stream, lower)) as messages:
        async for stored in messages:
            read = stored.sequence
            if read <= upper and rank_of(stored, stream):
                found = stored
            if read >= upper:
                return found
    # The stream has a message at `upper` or above, which this answer lacks.
    raise CopyLags


async def only_unranked(client: Client, stream: str, first: int, last: int) -> bool:
    """Whether all messages between two sequences exist, and no relay has sent any of them."""
    if last - first < _MAX_SINGLE_READS:
        numbers = range(first, last + 1)
        found = await asyncio.gather(*(stored_at(client, stream, n) for n in numbers))
        return all(stored is not None and not rank_of(stored, stream) for stored in found)
    expected = first
    async with aclosing(read_from(client, stream, first)) as messages:
        async for stored in messages:
            if stored.sequence != expected or rank_of(stored, stream):
                return False
            if expected == last:
                return True
            expected += 1
    return False
