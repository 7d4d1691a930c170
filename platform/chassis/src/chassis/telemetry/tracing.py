"""One trace from the first request to the last handler.

Spans are recorded only when an endpoint is set (`export.py`). Without one a trace context that
comes in is still carried on, to the events and calls it causes and into the log lines, W3C baggage
to the calls, and nothing else costs.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from opentelemetry import baggage as otel_baggage
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from chassis.telemetry.export import export_of, resource_of, sampler_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.util.types import AttributeValue
    from sqlalchemy import Engine

    from chassis.settings import ServiceSettings

__all__ = [
    "TraceContext",
    "carried",
    "configure",
    "current_headers",
    "current_trace",
    "current_traceparent",
    "enabled",
    "instrument_engines",
    "provider",
    "shutdown",
    "start_span",
]

Kind = Literal["internal", "server", "client", "producer", "consumer"]


class TraceContext(NamedTuple):
    """A span as its headers name it (W3C Trace Context); None where a header is absent."""

    traceparent: str | None = None
    tracestate: str | None = None


enabled = False
"""Whether spans are recorded."""
provider: "TracerProvider | None" = None
"""Where they are recorded, for instrumentations; None when they are not."""

_KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_propagator = TraceContextTextMapPropagator()
_baggage_propagator = W3CBaggagePropagator()
_tracer: trace.Tracer = trace.NoOpTracer()


def current_trace() -> TraceContext:
    """The running span; without values if there is none."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return TraceContext()
    flags = int(context.trace_flags)
    traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"
    return TraceContext(traceparent, context.trace_state.to_header() or None)


def current_traceparent() -> str | None:
    """The W3C traceparent of the running span, None if there is none."""
    return current_trace()[0]


def current_headers() -> list[tuple[str, str]]:
    """The W3C headers of the running span and of the baggage, as far as there are such."""
    traceparent, tracestate = current_trace()
    headers = {"traceparent": traceparent, "tracestate": tracestate}
    if otel_baggage.get_all():
        _baggage_propagator.inject(headers)
    return [(name, value) for name, value in headers.items() if value]


def _extracted(traceparent: str, tracestate: str | None) -> Context:
    carrier = {"traceparent": traceparent}
    if tracestate:
        carrier["tracestate"] = tracestate
    return _propagator.extract(carrier, Context())


class carried:
    """Within it, the given trace context and baggage are the current ones; no span is begun."""

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
        self._token: Any = None

    def __enter__(self) -> None:
        if not (self._traceparent or self._baggage):
            return
        # On top of what else the context holds.
        context = otel_context.get_current()
        if self._traceparent:
            span = trace.get_current_span(_extracted(self._traceparent, self._tracestate))
            context = trace.set_span_in_context(span, context)
        if self._baggage:
            context = _baggage_propagator.extract({"baggage": self._baggage}, context)
        self._token = otel_context.attach(context)

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            otel_context.detach(self._token)


class start_span:
    """Within it, a span is the current one.

    Its parent is the span of `traceparent`, else the current one; `root` begins a trace of its
    own. `links` are traceparents. An exception that passes marks the span as failed. Entering it
    gives the span, for attributes of one's own.
    """

    __slots__ = ("_arguments", "_manager", "_name", "_root", "_traceparent", "_tracestate")

    def __init__(
        self,
        name: str,
        *,
        traceparent: str | None = None,
        tracestate: str | None = None,
        root: bool = False,
        links: Sequence[str] = (),
        kind: Kind = "internal",
        attributes: "Mapping[str, AttributeValue] | None" = None,
    ) -> None:
        self._name = name
        self._traceparent = traceparent
        self._tracestate = tracestate
        self._root = root
        self._arguments = (links, kind, attributes)
        self._manager: Any = None

    def __enter__(self) -> Span:
        if not enabled:
            self._manager = carried(self._traceparent, self._tracestate)
            self._manager.__enter__()
            return trace.INVALID_SPAN
        links, kind, attributes = self._arguments
        context = None
        if self._traceparent:
            context = _extracted(self._traceparent, self._tracestate)
        elif self._root:
            context = Context()
        self._manager = _tracer.start_as_current_span(
            self._name,
            context=context,
            kind=_KINDS[kind],
            attributes=attributes,
            links=[
                Link(trace.get_current_span(_extracted(link, None)).get_span_context())
                for link in links
            ],
        )
        span: Span = self._manager.__enter__()
        return span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._manager.__exit__(kind, error, traceback)


def configure(
    service: str, settings: "ServiceSettings", exporter: "SpanExporter | None" = None
) -> None:
    """Record spans from now on, if they are to go anywhere. Waits for nothing."""
    wanted = export_of(settings)
    if wanted is None and exporter is None:
        return
    global enabled, provider, _tracer
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(
        resource=resource_of(service, settings),
        sampler=sampler_of(settings),
        shutdown_on_exit=False,
    )
    if exporter is None:
        assert wanted is not None
        exporter = wanted.make()
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            schedule_delay_millis=None if os.environ.get("OTEL_BSP_SCHEDULE_DELAY") else 500,
            max_queue_size=None if os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") else 16384,
        )
    )
    _tracer = provider.get_tracer("chassis")
    trace.set_tracer_provider(provider)
    enabled = True


def instrument_engines(*engines: "Engine") -> None:
    """A span for each statement of these engines within a trace, if spans are recorded."""
    if not enabled:
        return
    # Not by SQLAlchemyInstrumentor: it does not know SQLAlchemy 2.1 and wants greenlet.
    from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer
    from opentelemetry.metrics import NoOpMeter

    usage = NoOpMeter("sqlalchemy").create_up_down_counter("connections")
    for engine in engines:
        EngineTracer(_WithinTraces(_tracer), engine, usage)  # type: ignore[no-untyped-call]


class _WithinTraces:
    """What the service asks its database by itself, all the time, makes no traces."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def start_span(self, name: str, kind: SpanKind) -> Span:
        if not trace.get_current_span().is_recording():
            return trace.INVALID_SPAN
        return self._tracer.start_span(name, kind=kind)


async def shutdown(seconds: float) -> None:
    """Send what is recorded, for at most so many seconds; record nothing more."""
    global enabled, provider, _tracer
    if provider is None:
        return
    closing, provider = provider, None
    enabled, _tracer = False, trace.NoOpTracer()
    # A thread of its own, left behind if the backend keeps it: the process ends without it.
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def close() -> None:
        closing.shutdown()
        try:
            loop.call_soon_threadsafe(done.set)
        except RuntimeError:
            return  # nobody waits any more

    threading.Thread(target=close, name="flush-traces", daemon=True).start()
    try:
        await asyncio.wait_for(done.wait(), seconds)
    except TimeoutError:
        logging.getLogger(__name__).warning("traces not sent within %g s are dropped", seconds)
