"""Makes an event of a message: its CloudEvents attributes, and its row in the outbox."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.message import Message

from chassis.database.outbox_rows import OutboxRow
from chassis.database.tables import LONGEST_NAME
from chassis.events.producer.header_text import header_text
from chassis.events.wire.context import EventContext
from chassis.events.wire.contracts import event_type, partition_key_field, subject_of
from chassis.events.wire.event_data import EventFormat, to_data
from chassis.events.wire.lanes import LANES, lane_of
from chassis.ids import uuid7
from chassis.telemetry import tracing
from chassis.telemetry.trace_context import TraceContext, current_trace

__all__ = ["EventFactory", "EventTooLarge"]

# This is less than the server's limit of 64 KiB, so that the relay's headers fit as well.
_HEADERS_MAX_BYTES = 60 * 1024


class EventTooLarge(ValueError):
    """An event is larger than the platform allows."""


@dataclass(frozen=True, slots=True)
class _Publication:
    type: str
    key_field: str
    subjects: tuple[str, ...]
    """The subject of each lane."""


class EventFactory:
    """The message types that a service may publish, and how it encodes them."""

    def __init__(
        self,
        source: str,
        publishes: tuple[type[Message], ...] = (),
        *,
        format: EventFormat = "protobuf",
        max_bytes: int = 512 * 1024,
    ) -> None:
        self.source = source
        self.format = format
        self.max_bytes = max_bytes
        self._publications = {message: _publication(message) for message in publishes}

    def create(
        self, message: Message, cause: EventContext | None
    ) -> tuple[EventContext, OutboxRow]:
        """Return the attributes of a new event, and its row in the outbox.

        Raises:
            LookupError: the service does not declare that it publishes this type.
            ValueError: the partition key is empty or too long.
            EventTooLarge: the event exceeds the platform's limit, or its headers the broker's.
        """
        publication = self._publications.get(type(message))
        if publication is None:
            raise LookupError(
                f"{self.source} does not publish {message.DESCRIPTOR.full_name}: "
                "add it to publishes=[...] of its Service"
            )
        key = str(getattr(message, publication.key_field))
        if not 0 < len(key) <= LONGEST_NAME:
            raise _invalid_key(publication, key)
        id = uuid7()
        published = _publishing_span(publication.type)
        if cause is None:
            correlation, causation, start = id, None, published
        else:
            correlation, causation = cause.correlation_id or cause.id, cause.id
            start = TraceContext(cause.traceparent, cause.tracestate)
            # CloudEvents' own traceparent is that of the start; the transport's names the span
            # that published this event.
            published = published if published.traceparent else start
            start = start if start.traceparent else published
        context = EventContext(
            id,
            publication.type,
            self.source,
            key,
            datetime.now(UTC),
            partition_key=key,
            correlation_id=correlation,
            causation_id=causation,
            traceparent=start.traceparent,
            tracestate=start.tracestate,
        )
        datacontenttype, data = to_data(message, self.format)
        headers = header_text(context, datacontenttype, published)
        size = len(headers) + len(data)
        if size > self.max_bytes or len(headers) > _HEADERS_MAX_BYTES:
            raise self._too_large(context, size, len(headers))
        subject = publication.subjects[lane_of(key, LANES)]
        return context, OutboxRow(id, subject, headers, data, time.time())

    def _too_large(self, context: EventContext, size: int, headers: int) -> EventTooLarge:
        """Return the error about an event's size, or else about the size of its headers."""
        if size > self.max_bytes:
            return EventTooLarge(
                f"{context.type} {context.id} has {size} bytes, the limit is {self.max_bytes} "
                "(APP_EVENT_MAX_BYTES); put the large part elsewhere and publish a reference to it"
            )
        return EventTooLarge(
            f"{context.type} {context.id} has {headers} bytes of attributes, the limit is "
            f"{_HEADERS_MAX_BYTES}: its cause hands on too much (correlation id, tracestate)"
        )


def _publication(message: type[Message]) -> _Publication:
    type = event_type(message)
    subjects = tuple(subject_of(type, lane) for lane in range(LANES))
    return _Publication(type, partition_key_field(message), subjects)


def _invalid_key(publication: _Publication, key: str) -> ValueError:
    field = f"{publication.type}.{publication.key_field}"
    if not key:
        return ValueError(f"{field} is empty")
    return ValueError(
        f"{field} is a partition key and has {len(key)} characters; the limit is {LONGEST_NAME}"
    )


def _publishing_span(type: str) -> TraceContext:
    """Return the span of a publish; the current one if no spans are recorded."""
    if not tracing.enabled:
        return current_trace()
    with tracing.start_span(f"publish {type}", kind="producer"):
        return current_trace()
