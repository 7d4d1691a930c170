"""The headers of a new event as JSON text, which its row in the outbox holds."""

import json

from chassis.events.wire.attribute_text import AttributeText, join_plain
from chassis.events.wire.context import EventContext
from chassis.events.wire.encoding import encode
from chassis.telemetry.trace_context import TraceContext

__all__ = ["header_text"]

# The separators are those of `json.dumps`.
_text = AttributeText("ce-", ", ", ": ")
_TRACEPARENT, _TRACESTATE = map(_text.label, TraceContext._fields)


def header_text(context: EventContext, datacontenttype: str, span: TraceContext) -> bytes:
    """Return the headers of a new event that a span publishes.

    Raises:
        ValueError: an attribute is empty, or CloudEvents forbids its value.
    """
    parts = _text.parts(context, datacontenttype)
    if parts and span.traceparent:
        parts += _TRACEPARENT, span.traceparent
    if parts and span.tracestate:
        parts += _TRACESTATE, span.tracestate
    text = join_plain(parts)
    if text is None:
        return json.dumps(encode(context, datacontenttype) | _span_headers(span)).encode()
    return f'{text}"}}'.encode()


def _span_headers(span: TraceContext) -> dict[str, str]:
    """Return the headers that name the publishing span."""
    # A value with a line break is left out, because it would end the header.
    return {name: v for name, v in span._asdict().items() if v and v.isprintable()}
