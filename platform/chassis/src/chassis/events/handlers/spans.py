"""An event's place in traces and logs."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from structlog.contextvars import bind_contextvars, reset_contextvars

from chassis.events.wire.context import EventContext
from chassis.telemetry import tracing
from chassis.telemetry.trace_context import TraceContext

__all__ = ["event_span"]

# One line per event: it must cost nothing while nobody wants it.
_log = logging.getLogger(__name__)
_NOTHING = nullcontext()


@contextmanager
def event_span(type: str, context: EventContext, published: TraceContext) -> Iterator[None]:
    """The handler's span, in its event's trace, with the publishing span as parent."""
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
    parent = published if published.traceparent else context
    return tracing.start_span(
        f"handle {type}",
        traceparent=parent.traceparent,
        tracestate=parent.tracestate,
        kind="consumer",
        attributes={"messaging.system": "nats", "messaging.message.id": context.id},
    )
