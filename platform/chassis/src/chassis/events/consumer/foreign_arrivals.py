"""The events among the messages of a foreign stream."""

from collections.abc import Iterable, Iterator, Mapping

from chassis.database.tables import LONGEST_NAME
from chassis.events.consumer.arrival import Arrival, set_content
from chassis.events.consumer.position import Position
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.failures import reason_of
from chassis.events.jetstream.delivery import Delivery
from chassis.events.wire import event_headers
from chassis.events.wire.attributes import Undecodable
from chassis.events.wire.decoding import decode

__all__ = ["foreign_arrivals", "foreign_position_of"]


def foreign_arrivals(
    messages: Iterable[Delivery],
    handlers: Mapping[str, Handler],
    *,
    subject: str,
    lane: int,
    created: str,
) -> Iterator[Arrival]:
    """Return the events of the types that are handled, and the messages that cannot be decoded.

    `subject` is the one by which the handlers subscribe to them, and `created` tells the stream
    from an earlier one of its name. An undecodable message gets the type of the first handler.
    """
    first_type = next(iter(handlers))
    for message in messages:
        headers = message.headers
        arrival = Arrival(
            message.subject[:LONGEST_NAME],
            first_type,
            lane,
            foreign_position_of(message, created),
            headers,
            message.data,
            foreign_subject=subject,
        )
        try:
            received = decode(headers, message.data)
        except Undecodable as error:
            arrival.reason = reason_of(error)
        else:
            handler = handlers.get(received.context.type)
            if handler is None:
                continue
            arrival.type = handler.type
            set_content(arrival, received, handler)
        yield arrival


def foreign_position_of(message: Delivery, created: str) -> Position:
    """Return the position of a message; its reply subject contains the sequence (ADR-15)."""
    sequence = int(message.reply.split(".")[-4])
    return Position(sequence, created, sequence, event_headers.event_id(message.headers))
