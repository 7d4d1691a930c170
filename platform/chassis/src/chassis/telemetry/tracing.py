"""Spans, from the first request to the last handler of the events that it caused.

Spans are recorded only if an endpoint is set (`export.py`). Otherwise the trace context alone is
passed on (`trace_context.py`), and spans cost nothing.
"""

import asyncio
import os
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind

from chassis.telemetry.export import export_of, resource_of, sampler_of
from chassis.telemetry.trace_context import attached, extract

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.util.types import AttributeValue
    from sqlalchemy import Engine

    from chassis.settings import ServiceSettings
    from chassis.telemetry.sampling import EarlySampling

__all__ = [
    "configure",
    "early",
    "enabled",
    "instrument_engines",
    "is_recording",
    "provider",
    "shutdown",
    "start_span",
]

_log = structlog.get_logger(__name__)
Kind = Literal["internal", "server", "client", "producer", "consumer"]

enabled = False
"""Whether spans are recorded."""
provider: "TracerProvider | None" = None
"""The provider that instrumentations record spans with; None if spans are not recorded."""

early: "EarlySampling | None" = None
"""The decision whether a request is recorded; None if only the instrumentations can take it."""

_KINDS: dict[Kind, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_tracer: trace.Tracer = trace.NoOpTracer()


class start_span:
    """A context manager that makes a new span the current one and returns it.

    Its parent is the span of `traceparent` if given, otherwise the current span; with `root` it
    has none and starts a trace. `links` are traceparents. An exception that leaves the block marks
    the span as failed.
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
            self._manager = attached(self._traceparent, self._tracestate)
            self._manager.__enter__()
            return trace.INVALID_SPAN
        links, kind, attributes = self._arguments
        context = None
        if self._traceparent:
            context = extract(self._traceparent, self._tracestate)
        elif self._root:
            context = Context()
        self._manager = _tracer.start_as_current_span(
            self._name,
            context=context,
            kind=_KINDS[kind],
            attributes=attributes,
            links=[
                Link(trace.get_current_span(extract(link)).get_span_context()) for link in links
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
    """Record spans from now on if the settings or `exporter` say where they go.

    The exporter connects when it has spans to send, so that this waits for nothing.
    """
    export = export_of(settings)
    if export is None and exporter is None:
        return
    global enabled, provider, early, _tracer
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from chassis.telemetry.sampling import EarlySampling

    # A sampler that a variable names may want more than the trace's id and its parent.
    sampler = sampler_of(settings)
    early = EarlySampling(sampler) if sampler is not None else None
    provider = TracerProvider(
        resource=resource_of(service, settings),
        sampler=sampler,
        id_generator=early,
        shutdown_on_exit=False,
    )
    if exporter is None:
        assert export is not None
        exporter = export.make()
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


def is_recording() -> bool:
    """Return whether the current span is recorded."""
    return enabled and trace.get_current_span().is_recording()


def instrument_engines(*engines: "Engine") -> None:
    """Start a span for each statement of these engines within a trace, if spans are recorded."""
    if not enabled:
        return
    # EngineTracer is used without SQLAlchemyInstrumentor, because that does not support
    # SQLAlchemy 2.1 and requires greenlet.
    from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer
    from opentelemetry.metrics import NoOpMeter

    usage = NoOpMeter("sqlalchemy").create_up_down_counter("connections")
    for engine in engines:
        EngineTracer(_WithinTraces(_tracer), engine, usage)  # type: ignore[no-untyped-call]


class _WithinTraces:
    """A tracer that starts no traces, so that the chassis' own polling of the database has none."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def start_span(self, name: str, kind: SpanKind) -> Span:
        if not is_recording():
            return trace.INVALID_SPAN
        return self._tracer.start_span(name, kind=kind)


async def shutdown(seconds: float) -> None:
    """Stop recording and send the recorded spans, waiting for at most `seconds`."""
    global enabled, provider, early, _tracer
    if provider is None:
        return
    closing, provider, early = provider, None, None
    enabled, _tracer = False, trace.NoOpTracer()
    # A daemon thread sends the spans, because a backend that hangs must not keep the process.
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def close() -> None:
        closing.shutdown()
        try:
            loop.call_soon_threadsafe(done.set)
        except RuntimeError:
            return  # The loop is closed: the wait below has timed out.

    threading.Thread(target=close, name="flush-traces", daemon=True).start()
    try:
        await asyncio.wait_for(done.wait(), seconds)
    except TimeoutError:
        _log.warning("traces dropped at shutdown; the collector was too slow", seconds=seconds)
