"""The events that a stream holds above the positions of a service."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from nats.aio.client import Client

from chassis.events.consumer.judge import judge
from chassis.events.consumer.position import Position, position_of
from chassis.events.jetstream.stored_messages import last_before, last_messages

__all__ = ["MAX_UNNUMBERED", "Backlog", "backlogs_above", "find_backlogs", "last_events"]

MAX_UNNUMBERED = 16
"""The messages without a number behind which a subject's last event is searched for."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """The number of `events` that the stream holds above a position, and the last one's sequence.

    If the subject ends with messages of other publishers, it may not be `certain` that there is
    any event.
    """

    events: int
    last_sequence: int
    certain: bool = True


async def find_backlogs(
    client: Client, stream: str, positions: Mapping[str, Position]
) -> dict[str, Backlog]:
    """Ask the stream for the backlog of each subject that has one. Raises as `last_messages`."""
    return backlogs_above(positions, await last_events(client, stream, positions))


async def last_events(
    client: Client, stream: str, subjects: Collection[str]
) -> dict[str, Position]:
    """Return the last event of each subject that has one.

    Its number is 0 if only messages without a number were found: whether there is an event before
    them is unknown.
    """
    found = {
        stored.subject: position_of(stored.headers, stored.sequence)
        async for stored in last_messages(client, stream, sorted(subjects))
    }
    for subject, last in list(found.items()):
        if not last.number:
            event = await _last_numbered_before(client, stream, subject, last)
            if event is None:
                del found[subject]
            else:
                found[subject] = event
    return found


async def _last_numbered_before(
    client: Client, stream: str, subject: str, last: Position
) -> Position | None:
    """Return the subject's last event before `last`; `last` itself if the search was given up."""
    before = last.sequence
    for _ in range(MAX_UNNUMBERED):
        stored = await last_before(client, stream, subject, before)
        if stored is None:
            return None
        event = position_of(stored.headers, stored.sequence)
        if event.number:
            return event
        before = event.sequence
    return last


def backlogs_above(
    positions: Mapping[str, Position], last: Mapping[str, Position]
) -> dict[str, Backlog]:
    """Compare the last event of each subject with its position, and return the backlogs."""
    backlogs: dict[str, Backlog] = {}
    for subject, event in last.items():
        position = positions.get(subject)
        if position is None:
            continue
        if not event.number:
            backlogs[subject] = Backlog(0, event.sequence, certain=False)
        elif not (event.continues(position) or position.covers(event.generation)):
            # No event that the current generation of the producer numbered was processed.
            backlogs[subject] = Backlog(event.number, event.sequence)
        elif event.number > position.number:
            events = event.number - max(position.number, 0)
            backlogs[subject] = Backlog(events, event.sequence)
        elif judge(event=event, stored=position).kind == "forked":
            # This event was not processed. The number of unprocessed events before it is unknown.
            backlogs[subject] = Backlog(1, event.sequence)
    return backlogs
