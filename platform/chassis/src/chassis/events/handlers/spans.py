"""The span of a handler, in the trace of its event."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from structlog.contextvars import bind_contextvars, reset_contextvars

from chassis.events.wire.context import EventContext
from chassis.telemetry import tracing
from chassis.telemetry.trace_context import TraceContext

__all__ = ["event_span"]

# The standard library's logger, because this line is logged for each event and must cost nothing
# while the level is above debug.
_log = logging.getLogger(__name__)
_NOTHING = nullcontext()


@contextmanager
def event_span(type: str, context: EventContext, published: TraceContext) -> Iterator[None]:
    """Run a handler in a span whose parent is the span that published the event."""
    bound = bind_contextvars(event_id=context.id)
    try:
        traced = tracing.enabled or published.traceparent or context.traceparent
        with _span(type, context, published) if traced else _NOTHING:
            yield
            _log.debug("handler returned: %s", type)
    finally:
        reset_contextvars(**bound)


def _span(
    type: str, context: EventContext, published: TraceContext
) -> AbstractContextManager[object]:
    """Start a span of a handler, as a child of the publisher's."""
    parent = published if published.traceparent else context
    return tracing.start_span(
        f"handle {type}",
        traceparent=parent.traceparent,
        tracestate=parent.tracestate,
        kind="consumer",
        attributes={"messaging.system": "nats", "messaging.message.id": context.id},
    )
