"""Handlers called within a transaction, each in its event's trace and timed."""

import time
from collections.abc import Sequence

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
    """Call a `def` handler (of lists: with lists of one) within the trace of the span that
    published its event."""
    tx.cause = context
    started = time.perf_counter()
    with event_span(handler.type, context, published):
        if handler.kind == "batch":
            result = handler([message], [context], tx=tx)
        else:
            result = handler(message, context, tx=tx)
        tx._check(result)
    _took(handler, started)


def call_batch(
    handler: Handler,
    tx: Transaction,
    messages: Sequence[object],
    contexts: Sequence[object],
    published: Sequence[TraceContext],
) -> None:
    """Call an `on_batch` handler in a trace of its own, linked with the spans that published its
    events. What it publishes has no single event as its cause."""
    tx.cause = None
    links = [span.traceparent for span in published if span.traceparent]
    started = time.perf_counter()
    with tracing.start_span(f"handle {handler.type}", root=True, links=links, kind="consumer"):
        tx._check(handler(messages, contexts, tx=tx))
    _took(handler, started)


def _took(handler: Handler, started: float) -> None:
    metrics.EVENT_HANDLER_SECONDS.labels(handler.type).observe(time.perf_counter() - started)
