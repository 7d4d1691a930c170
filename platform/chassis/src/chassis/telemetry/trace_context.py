"""The W3C trace context and baggage of the running work, whether spans are recorded or not.

A context that comes in with a request or an event is passed on to the calls and events that it
causes and to the log lines; baggage is passed on to calls only.
"""

from contextvars import Token
from typing import NamedTuple

from opentelemetry import baggage as otel_baggage
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

__all__ = [
    "TraceContext",
    "attach",
    "attached",
    "current_headers",
    "current_trace",
    "current_traceparent",
    "extract",
]

_propagator = TraceContextTextMapPropagator()
_baggage_propagator = W3CBaggagePropagator()


class TraceContext(NamedTuple):
    """The headers that name a span (W3C Trace Context); None where a header is absent."""

    traceparent: str | None = None
    tracestate: str | None = None


_NONE = TraceContext()


def current_trace() -> TraceContext:
    """Return the headers of the running span; without values if there is none."""
    if not otel_context.get_current():
        return _NONE
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return _NONE
    flags = int(context.trace_flags)
    traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"
    return TraceContext(traceparent, context.trace_state.to_header() or None)


def current_traceparent() -> str | None:
    """Return the traceparent of the running span, None if there is none."""
    return current_trace().traceparent


def current_headers() -> list[tuple[str, str]]:
    """Return the W3C headers of the running span and of the baggage; absent ones are left out."""
    traceparent, tracestate = current_trace()
    headers = {"traceparent": traceparent, "tracestate": tracestate}
    if otel_baggage.get_all():
        _baggage_propagator.inject(headers)
    return [(name, value) for name, value in headers.items() if value]


def extract(traceparent: str, tracestate: str | None = None) -> Context:
    """Return a context of OpenTelemetry that holds the span of these headers, and nothing else."""
    carrier = {"traceparent": traceparent}
    if tracestate:
        carrier["tracestate"] = tracestate
    return _propagator.extract(carrier, Context())


def attach(
    traceparent: str | None, tracestate: str | None = None, baggage: str | None = None
) -> "Token[Context] | None":
    """Make a trace context and baggage the current ones in this task or thread; start no span.

    Return what OpenTelemetry's `detach` takes, None if nothing is given.
    """
    if not (traceparent or baggage):
        return None
    # Added to the current context, so that its other values stay.
    context = otel_context.get_current()
    if traceparent:
        span = trace.get_current_span(extract(traceparent, tracestate))
        context = trace.set_span_in_context(span, context)
    if baggage:
        context = _baggage_propagator.extract({"baggage": baggage}, context)
    return otel_context.attach(context)


class attached:
    """A context manager that makes a trace context and baggage the current ones, as `attach`."""

    __slots__ = ("_baggage", "_token", "_traceparent", "_tracestate")

    def __init__(
        self,
        traceparent: str | None,
        tracestate: str | None = None,
        baggage: str | None = None,
    ) -> None:
        self._traceparent = traceparent
        self._tracestate = tracestate
        self._baggage = baggage
        self._token: Token[Context] | None = None

    def __enter__(self) -> None:
        self._token = attach(self._traceparent, self._tracestate, self._baggage)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            otel_context.detach(self._token)
