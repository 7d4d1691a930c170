"""Where a stream ends for its relay: what strangers have put there is passed over.

A stranger's message has no rank. There may be many, and they may come all the time.
"""

import asyncio
from contextlib import aclosing

from nats.aio.client import Client

from chassis.events.jetstream.stored_messages import Stored, last_stored, read_from, stored_at
from chassis.events.jetstream.streams import StreamState
from chassis.events.wire import transport
from chassis.events.wire.contracts import is_of_stream

__all__ = ["CopyLags", "last_event", "only_strangers", "rank_of"]

_WINDOW = 500
_ONE_BY_ONE = 4


class CopyLags(RuntimeError):
    """A copy of the stream that lags was read; it is to be read again."""

    def __init__(self) -> None:
        super().__init__("a copy of the stream that lags was read; it is read again")


def rank_of(stored: Stored, stream: str) -> int:
    """Its rank in the stream; 0 for a stranger's, and for a copy of an event."""
    own = is_of_stream(stored.subject, stream) and not stored.is_copy
    return transport.integer(stored.headers, transport.RANK) if own else 0


async def last_event(
    client: Client, stream: str, state: StreamState, known: int = 0
) -> Stored | None:
    """The last message that a relay has sent; None if there is none.

    `known` is the sequence of one that was there before, 0 for none.

    Raises:
        CopyLags, JetStreamError, TimeoutError, nats.errors.Error: ask again.
    """
    last = await last_stored(client, stream)  # the end of the stream may have been purged
    if last is None or rank_of(last, stream):
        return last
    held = await stored_at(client, stream, known) if 0 < known < last.sequence else None
    if held and rank_of(held, stream):
        return await _last_within(client, stream, known + 1, last.sequence) or held
    first, upper, window = max(1, state.first_sequence), last.sequence, _WINDOW
    while upper >= first:
        lower = max(first, upper - window + 1)
        if found := await _last_within(client, stream, lower, upper):
            return found
        upper, window = lower - 1, 2 * window
    return None


async def _last_within(client: Client, stream: str, lower: int, upper: int) -> Stored | None:
    found, read = None, 0
    async with aclosing(read_from(client, stream, lower)) as messages:
        async for stored in messages:
            read = stored.sequence
            if read <= upper and rank_of(stored, stream):
                found = stored
            if read >= upper:
                return found
    # The last message of all is beyond: whoever answered has not got it yet.
    raise CopyLags


async def only_strangers(client: Client, stream: str, first: int, last: int) -> bool:
    """Whether the messages from one sequence to another are all there, and no relay's."""
    if last - first < _ONE_BY_ONE:
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
