"""The headers of a new event as JSON text, which its row in the outbox holds.

The values of most events need no escape, neither in a header nor in JSON. They are filled into a
template, which is made once for all events of a type; other events are encoded by themselves.
"""

import json
import re
from datetime import UTC, datetime
from functools import lru_cache

from chassis.events.wire.context import EventContext
from chassis.events.wire.encoding import encode
from chassis.telemetry.trace_context import TraceContext

__all__ = ["header_text"]

# A plain header value (`attributes.PLAIN_VALUE`) without the backslash, which JSON escapes.
_PLAIN = re.compile(r"[!#$&-\[\]-~]*")
_SLOT = "@"
_TIME = datetime(2000, 1, 1, tzinfo=UTC)
_TIME_TEXT = "2000-01-01T00:00:00Z"
# A service publishes few types, each with few sets of attributes.
_KEPT = 256


def header_text(context: EventContext, datacontenttype: str, span: TraceContext) -> bytes:
    """Return the headers of a new event, published at a time in UTC by a span.

    Raises:
        ValueError: an attribute is empty, or CloudEvents forbids its value.
    """
    # The order is that of the headers in the text.
    before_time = (
        context.id,
        context.subject,
        context.partition_key,
        context.correlation_id,
        context.causation_id,
        context.traceparent,
        context.tracestate,
    )
    values = [value for value in (*before_time, *span) if value is not None]
    if not (context.time and all(values) and _PLAIN.fullmatch("".join(values))):
        return json.dumps(encode(context, datacontenttype) | _span_headers(span)).encode()
    absent = tuple([value is None for value in (*before_time, *span)])
    values.insert(len(before_time) - sum(absent[:-2]), f"{context.time.isoformat()[:-6]}Z")
    template = _template(context.type, context.source, datacontenttype, absent)
    return (template % tuple(values)).encode()


@lru_cache(_KEPT)
def _template(type: str, source: str, datacontenttype: str, absent: tuple[bool, ...]) -> str:
    """Return the headers of events with %s for each value but those of these attributes."""
    slots = [None if missing else _SLOT for missing in absent]
    id, subject, key, correlation, causation, traceparent, tracestate, *span = slots
    context = EventContext(
        id=id or "",
        type=type,
        source=source,
        subject=subject,
        time=_TIME,
        partition_key=key,
        correlation_id=correlation,
        causation_id=causation,
        traceparent=traceparent,
        tracestate=tracestate,
    )
    headers = encode(context, datacontenttype) | _span_headers(TraceContext(*span))
    text = json.dumps(headers).replace("%", "%%")
    return text.replace(f'"{_SLOT}"', '"%s"').replace(f'"{_TIME_TEXT}"', '"%s"')


def _span_headers(span: TraceContext) -> dict[str, str]:
    """Return the headers that name the publishing span."""
    # A value with a line break is left out, because it would end the header.
    return {name: v for name, v in span._asdict().items() if v and v.isprintable()}
