"""What is known of an event besides its data: its CloudEvents attributes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

__all__ = ["EventContext"]


@dataclass(frozen=True, slots=True)
class EventContext:
    """The CloudEvents attributes and extensions of one event.

    `source` and `id` together are unique; `id` is the idempotency key to pass on to the outside.
    """

    id: str
    type: str
    source: str
    subject: str | None = None
    """The partition key's value."""
    time: datetime | None = None
    """When it was published; aware, in UTC."""
    datacontenttype: str | None = None
    """As the sender wrote it; the transport knows the effective one."""
    dataschema: str | None = None
    partition_key: str | None = None
    sequence: int | None = None
    """Its number within its subject (type and lane), from 1; None until it is on its way."""
    correlation_id: str | None = None
    """The id of the event that all of this began with."""
    causation_id: str | None = None
    """The id of the event that this one follows from."""
    traceparent: str | None = None
    """The trace context of the start; a transport header names the publishing span."""
    tracestate: str | None = None
    extensions: Mapping[str, str] = field(default_factory=dict, hash=False)
    """All other extensions, in their canonical string form."""
