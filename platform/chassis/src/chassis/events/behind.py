"""What a stream holds above a service's positions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from nats.aio.client import Client

from chassis.events import wire
from chassis.events.positions import Position
from chassis.events.streams import Stored, last_before, last_messages

__all__ = ["Behind", "Last", "last_events", "subjects_behind"]

# So many messages of strangers are looked past for the last event of a subject.
_STRANGERS = 16


@dataclass(frozen=True, slots=True)
class Last:
    """The last event that the stream holds of a subject.

    `number` is 0 if only messages of strangers, without a number, were found: whether there is an
    event before them is unknown.
    """

    number: int
    generation: str
    event_id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Behind:
    """What the stream holds above one position: so many events, the last at this sequence.

    If the subject ends with messages of strangers it may not be `certain` that there are any.
    """

    events: int
    last_sequence: int
    certain: bool = True


async def last_events(client: Client, stream: str, subjects: Collection[str]) -> dict[str, Last]:
    """The last event of each subject that has one."""
    found = {
        stored.subject: _last(stored)
        async for stored in last_messages(client, stream, sorted(subjects))
    }
    for subject, last in found.items():
        if not last.number:
            found[subject] = await _before_strangers(client, stream, subject, last)
    return {subject: last for subject, last in found.items() if last.sequence}


async def _before_strangers(client: Client, stream: str, subject: str, last: Last) -> Last:
    """The subject's last event before messages without a number; sequence 0 if there is none."""
    before = last.sequence
    for _ in range(_STRANGERS):
        stored = await last_before(client, stream, subject, before)
        if stored is None:
            return Last(0, "", "", 0)
        if (event := _last(stored)).number:
            return event
        before = event.sequence
    return last


def _last(stored: Stored) -> Last:
    return Last(
        wire.integer(stored.headers, wire.NUMBER),
        wire.generation(stored.headers),
        wire.event_id(stored.headers),
        stored.sequence,
    )


def subjects_behind(
    held: Mapping[str, Last], positions: Mapping[str, Position]
) -> dict[str, Behind]:
    """The subjects of which the stream holds more than these positions say was taken."""
    behind: dict[str, Behind] = {}
    for subject, last in held.items():
        position = positions.get(subject)
        if position is None:
            continue
        if not last.number:
            behind[subject] = Behind(0, last.sequence, certain=False)
        elif last.number > position.number:
            events = last.number - max(position.number, 0)
            behind[subject] = Behind(events, last.sequence)
        elif not position.knows(last.generation):
            behind[subject] = Behind(0, last.sequence)
    return behind
