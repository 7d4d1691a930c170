"""Recorded events as they arrive at a handler."""

from chassis.database.tables import LONGEST_NAME
from chassis.events.consumer.arrival import Arrival, decode_arrival, set_content
from chassis.events.consumer.position import position_of
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.failures import reason_of
from chassis.events.wire.attributes import Undecodable
from chassis.events.wire.contracts import type_of_subject
from chassis.events.wire.decoding import decode
from chassis.shadow.recording import RecordedEvent

__all__ = ["decoded_arrival", "type_of"]


def type_of(event: RecordedEvent) -> str:
    """Return the type of an event: by its subject or, of a producer outside the platform, by its
    own attribute; empty if that cannot be read."""
    if not event.foreign:
        return type_of_subject(event.subject)
    try:
        return decode(event.headers, event.data).context.type
    except Undecodable:
        return ""


def decoded_arrival(event: RecordedEvent, handler: Handler) -> Arrival:
    """Return an event as a handler gets it; its `reason` says why it cannot be decoded."""
    lane = event.subject.rpartition(".")[2]
    arrival = Arrival(
        event.subject[:LONGEST_NAME],
        handler.type,
        int(lane) if lane.isascii() and lane.isdigit() else 0,
        position_of(event.headers, event.sequence),
        event.headers,
        event.data,
        foreign_subject=event.foreign,
    )
    if not event.foreign:
        decode_arrival(arrival, handler)
        return arrival
    try:
        set_content(arrival, decode(event.headers, event.data), handler)
    except Undecodable as error:
        arrival.reason = reason_of(error)
    return arrival
