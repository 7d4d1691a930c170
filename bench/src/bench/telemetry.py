"""The usual way to record traces: OpenTelemetry's SDK, of which 5 % of the traces are sampled."""

import os

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from bench.variables import ENDPOINT

__all__ = ["SAMPLED", "provider"]

SAMPLED = 0.05


def provider() -> TracerProvider | None:
    """Return a provider that exports to the endpoint; None if there is no endpoint."""
    endpoint = os.environ.get(ENDPOINT)
    if not endpoint:
        return None
    made = TracerProvider(sampler=ParentBased(TraceIdRatioBased(SAMPLED)))
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=True)))
    return made
