"""An event's place in traces and logs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from structlog.contextvars import bound_contextvars

from chassis.events.context import EventContext
from chassis.telemetry import tracing

__all__ = ["event_span"]

# One line per event: it must cost nothing while nobody wants it.
_log = logging.getLogger(__name__)


@contextmanager
def event_span(
    type: str, context: EventContext, hop: tuple[str | None, str | None]
) -> Iterator[None]:
    """The handler's span, in its event's trace, with the publishing span as parent."""
    traceparent, tracestate = hop if hop[0] else (context.traceparent, context.tracestate)
    with (
        bound_contextvars(event_id=context.id),
        tracing.start_span(
            f"handle {type}",
            traceparent=traceparent,
            tracestate=tracestate,
            kind="consumer",
            attributes={"messaging.system": "nats", "messaging.message.id": context.id},
        ),
    ):
        yield
        _log.debug("handled %s", type)
