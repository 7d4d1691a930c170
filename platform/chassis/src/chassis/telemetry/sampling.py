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
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

__all__ = ["EarlySampling"]

_decided: ContextVar[int | None] = ContextVar("decided_trace", default=None)


class EarlySampling(RandomIdGenerator):
    """Decides by a sampler, and gives a trace that it has decided to record the id decided on.

    It is the generator of ids of the provider that has the same sampler.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler
        self._fields = frozenset(propagate.get_global_textmap().fields)

    def generate_trace_id(self) -> int:
        decided = _decided.get()
        if decided is None:
            return super().generate_trace_id()
        _decided.set(None)
        return decided

    def unrecorded(self, headers: Iterable[tuple[str, str]]) -> Context | None:
        """Return the context of a request whose trace is not recorded, None if it is recorded.

        `headers` are the request's, their names in lower case. In the second case the span that an
        instrumentation starts next in this task comes to the same decision.
        """
        sent: dict[str, list[str]] = {}
        for name, value in headers:
            if name in self._fields:
                sent.setdefault(name, []).append(value)
        context = propagate.extract(sent, Context()) if sent else Context()
        parent = trace.get_current_span(context).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else super().generate_trace_id()
        result = self._sampler.should_sample(context, trace_id, "request")
        if result.decision.is_sampled():  # type: ignore[no-untyped-call]
            _decided.set(None if parent.is_valid else trace_id)
            return None
        flags = parent.trace_flags & TraceFlags.RANDOM_TRACE_ID
        if not parent.is_valid:
            flags = TraceFlags.RANDOM_TRACE_ID
        span = SpanContext(
            trace_id, self.generate_span_id(), False, TraceFlags(flags), result.trace_state
        )
        return trace.set_span_in_context(NonRecordingSpan(span), context)
