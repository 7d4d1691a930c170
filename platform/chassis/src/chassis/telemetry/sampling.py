"""Whether a request's trace is recorded, decided before the request reaches what records it.

An instrumentation makes a span for every request, and discards those of the traces that are not
recorded: at the usual ratios nearly all of its work is for nothing.
"""

from collections.abc import Iterable
from contextvars import ContextVar

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

__all__ = ["EarlySampling"]

_decided: ContextVar[int | None] = ContextVar("decided_trace", default=None)
_NOTHING_SENT = Context()
_STARTED = TraceFlags(TraceFlags.RANDOM_TRACE_ID)


class EarlySampling(RandomIdGenerator):
    """Decides by a sampler, and gives a trace that it has decided to record the id decided on.

    It is the generator of ids of the provider that has the same sampler.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self.fields = frozenset(propagate.get_global_textmap().fields)
        """The names of the headers that a decision depends on, in lower case."""

    def generate_trace_id(self) -> int:
        decided = _decided.get()
        if decided is None:
            return super().generate_trace_id()
        _decided.set(None)
        return decided

    def unrecorded(self, headers: Iterable[tuple[str, str]]) -> Context | None:
        """Return the context of a request whose trace is not recorded, None if it is recorded.

        `headers` are those of the request that are among `fields`. In the second case the span that
        an instrumentation starts next in this task comes to the same decision.
        """
        sent: dict[str, list[str]] = {}
        for name, value in headers:
            sent.setdefault(name, []).append(value)
        if not sent:
            return self._unrecorded_start(_NOTHING_SENT)
        context = propagate.extract(sent, Context())
        parent = trace.get_current_span(context).get_span_context()
        if not parent.is_valid:
            return self._unrecorded_start(context)
        result = self._sampler.should_sample(context, parent.trace_id, "request")
        if result.decision.is_sampled():  # type: ignore[no-untyped-call]
            _decided.set(None)
            return None
        flags = TraceFlags(parent.trace_flags & TraceFlags.RANDOM_TRACE_ID)
        return self._within(context, parent.trace_id, flags, result.trace_state)

    def headers_unrecorded(self) -> dict[str, str] | None:
        """Return the headers of a call that the running span makes; None if the call has a span of
        its own, because it is recorded or starts a trace."""
        parent = trace.get_current_span().get_span_context()
        if not parent.is_valid:
            return None
        result = self._sampler.should_sample(None, parent.trace_id, "call")
        if result.decision.is_sampled():  # type: ignore[no-untyped-call]
            return None
        headers: dict[str, str] = {}
        propagate.inject(headers)
        return headers

    def _unrecorded_start(self, context: Context) -> Context | None:
        """Decide on a trace that the request starts, as `unrecorded`."""
        trace_id = super().generate_trace_id()
        result = self._sampler.should_sample(context, trace_id, "request")
        if result.decision.is_sampled():  # type: ignore[no-untyped-call]
            _decided.set(trace_id)
            return None
        return self._within(context, trace_id, _STARTED, result.trace_state)

    def _within(
        self, context: Context, trace_id: int, flags: TraceFlags, state: TraceState | None
    ) -> Context:
        """Return the context with a span of this trace that is not recorded."""
        span = SpanContext(trace_id, self.generate_span_id(), False, flags, state)
        return trace.set_span_in_context(NonRecordingSpan(span), context)
