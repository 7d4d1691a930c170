"""The CloudEvents attributes of an event: all that is known of it besides its data."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["EventContext"]


class EventContext(NamedTuple):
    """The CloudEvents attributes and extensions of one event.

    `source` and `id` together are unique; `id` is the idempotency key to pass on to the outside.
    """

    id: str
    type: str
    source: str
    subject: str | None = None
    """The partition key's value."""
    time: datetime | None = None
    """When the event was published; aware, in UTC."""
    datacontenttype: str | None = None
    """The content type as the sender wrote it; `Received` has the effective one."""
    dataschema: str | None = None
    partition_key: str | None = None
    sequence: int | None = None
    """The event's number within its subject (type and lane), from 1; None before it has one."""
    correlation_id: str | None = None
    """The id of the event at the start of this chain of events."""
    causation_id: str | None = None
    """The id of the event that this one follows from."""
    traceparent: str | None = None
    """The trace context of the chain's start; a transport header names the publishing span."""
    tracestate: str | None = None
    extensions: Mapping[str, str] = MappingProxyType({})
    """All other extensions, in their canonical string form."""
