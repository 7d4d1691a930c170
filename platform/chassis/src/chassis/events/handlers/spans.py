"""The span of a handler, in the trace of its event."""

import logging
from contextlib import AbstractContextManager
from types import TracebackType

from structlog.contextvars import bind_contextvars, reset_contextvars

from chassis.events.wire.context import EventContext
from chassis.telemetry import tracing
from chassis.telemetry.trace_context import TraceContext

__all__ = ["event_span"]

# The standard library's logger, because this line is logged for each event and must cost nothing
# while the level is above debug.
_log = logging.getLogger(__name__)


class event_span:
    """A context manager that runs a handler in a span whose parent is the one that published the
    event. Log lines of the handler name the event.

    It is a class because a generator would cost as much as a small handler.
    """

    __slots__ = ("_bound", "_context", "_published", "_span", "_type")

    def __init__(self, type: str, context: EventContext, published: TraceContext) -> None:
        self._type = type
        self._context = context
        self._published = published
        self._span: AbstractContextManager[object] | None = None

    def __enter__(self) -> None:
        self._bound = bind_contextvars(event_id=self._context.id)
        if tracing.enabled or self._published.traceparent or self._context.traceparent:
            self._span = _span(self._type, self._context, self._published)
            self._span.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                _log.debug("handler returned: %s", self._type)
            if self._span is not None:
                self._span.__exit__(kind, error, traceback)
        finally:
            reset_contextvars(**self._bound)


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
