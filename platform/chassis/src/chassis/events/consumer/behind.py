"""What a stream holds above a service's positions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from nats.aio.client import Client

from chassis.events.consumer.judge import judge
from chassis.events.consumer.positions import Position, position_of
from chassis.events.jetstream.stored_messages import last_before, last_messages

__all__ = ["Behind", "last_events", "subjects_behind"]

# So many messages of strangers are looked past for the last event of a subject.
_STRANGERS = 16


@dataclass(frozen=True, slots=True)
class Behind:
    """What the stream holds above one position: so many events, the last at this sequence.

    If the subject ends with messages of strangers it may not be `certain` that there are any.
    """

    events: int
    last_sequence: int
    certain: bool = True


async def last_events(
    client: Client, stream: str, subjects: Collection[str]
) -> dict[str, Position]:
    """The last event of each subject that has one.

    Its number is 0 if only messages of strangers were found: what is before them is unknown.
    """
    found = {
        stored.subject: position_of(stored.headers, stored.sequence)
        async for stored in last_messages(client, stream, sorted(subjects))
    }
    for subject, last in list(found.items()):
        if not last.number:
            event = await _before_strangers(client, stream, subject, last)
            if event is None:
                del found[subject]
            else:
                found[subject] = event
    return found


async def _before_strangers(
    client: Client, stream: str, subject: str, last: Position
) -> Position | None:
    """The subject's last event before messages without a number; `last` if it is not found."""
    before = last.sequence
    for _ in range(_STRANGERS):
        stored = await last_before(client, stream, subject, before)
        if stored is None:
            return None
        event = position_of(stored.headers, stored.sequence)
        if event.number:
            return event
        before = event.sequence
    return last


def subjects_behind(
    held: Mapping[str, Position], positions: Mapping[str, Position]
) -> dict[str, Behind]:
    """The subjects of which the stream holds more than these positions say was taken."""
    behind: dict[str, Behind] = {}
    for subject, last in held.items():
        position = positions.get(subject)
        if position is None:
            continue
        if not last.number:
            behind[subject] = Behind(0, last.sequence, certain=False)
        elif not (last.goes_on(position) or position.knows(last.generation)):
            behind[subject] = Behind(last.number, last.sequence)  # all of another count
        elif last.number > position.number:
            events = last.number - max(position.number, 0)
            behind[subject] = Behind(events, last.sequence)
        elif judge(last, position).kind == "forked":
            behind[subject] = Behind(1, last.sequence)  # or more: there is no telling
    return behind
