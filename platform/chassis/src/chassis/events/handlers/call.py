"""Calls of `def` handlers in a transaction, traced and timed."""

import time
from collections.abc import Sequence
from functools import cache

from prometheus_client import Histogram

from chassis.database import Transaction
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.spans import event_span
from chassis.events.wire.context import EventContext
from chassis.telemetry import metrics, tracing
from chassis.telemetry.trace_context import TraceContext

__all__ = ["call_batch", "call_one"]


def call_one(
    handler: Handler,
    tx: Transaction,
    message: object,
    context: EventContext,
    published: TraceContext,
) -> None:
    """Call a handler for one event, in the trace of the span that published the event.

    An `on_batch` handler gets lists of one.
    """
    tx.cause = context
    started = time.perf_counter()
    with event_span(handler.type, context, published):
        if handler.kind == "batch":
            result = handler([message], [context], tx=tx)
        else:
            result = handler(message, context, tx=tx)
        tx.check(result)
    _observe(handler, started)


def call_batch(
    handler: Handler,
    tx: Transaction,
    messages: Sequence[object],
    contexts: Sequence[object],
    published: Sequence[TraceContext],
) -> None:
    """Call an `on_batch` handler in a new trace with links to the spans that published its events.

    Events that it publishes have no cause, because there is not one event that caused them.
    """
    tx.cause = None
    links = [span.traceparent for span in published if span.traceparent]
    started = time.perf_counter()
    with tracing.start_span(f"handle {handler.type}", root=True, links=links, kind="consumer"):
        tx.check(handler(messages, contexts, tx=tx))
    _observe(handler, started)


def _observe(handler: Handler, started: float) -> None:
    """Record how long a handler ran."""
    _seconds_of(handler.type).observe(time.perf_counter() - started)


@cache
def _seconds_of(type: str) -> Histogram:
    """Return the metric of a type, because its label costs as much as a value to look up."""
    return metrics.EVENT_HANDLER_SECONDS.labels(type)
