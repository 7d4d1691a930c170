"""The last events of a stream, read by direct gets: no consumer exists at the broker meanwhile."""

from contextlib import aclosing

from nats.aio.client import Client

from chassis.events.jetstream.stored_messages import Stored, read_from
from chassis.events.jetstream.streams import stream_state
from chassis.shadow.sources import Source

__all__ = ["last_events"]


async def last_events(client: Client, source: Source, count: int) -> list[Stored]:
    """Return up to `count` last events of a source, the oldest first.

    Raises:
        StreamGone: there is no such stream.
        JetStreamError, nats.errors.Error, TimeoutError: it cannot be read.
    """
    state = await stream_state(client, source.stream)
    found: list[Stored] = []
    upper, width = state.last_sequence, count
    while len(found) < count and upper >= state.first_sequence and upper > 0:
        lower = max(1, state.first_sequence, upper - width + 1)
        found = await _between(client, source, lower, upper) + found
        # Most messages of the stream may be of other types.
        upper, width = lower - 1, 2 * width
    return found[-count:]


async def _between(client: Client, source: Source, lower: int, upper: int) -> list[Stored]:
    """Return the events of a source between two sequences (both included)."""
    found = []
    reading = read_from(client, source.stream, lower, source.subject)
    async with aclosing(reading) as messages:
        async for stored in messages:
            if stored.sequence > upper:
                break
            if source.has(stored):
                found.append(stored)
    return found
