"""A collector of traces: an OTLP receiver over gRPC in this process."""

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

__all__ = ["Span", "TraceCollector"]

_KINDS = {
    SpanMessage.SPAN_KIND_INTERNAL: "internal",
    SpanMessage.SPAN_KIND_SERVER: "server",
    SpanMessage.SPAN_KIND_CLIENT: "client",
    SpanMessage.SPAN_KIND_PRODUCER: "producer",
    SpanMessage.SPAN_KIND_CONSUMER: "consumer",
}


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """A span. Ids are in hexadecimal; `parent` is empty for a root."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent: str
    links: tuple[tuple[str, str], ...]
    """(trace id, span id) of each linked span."""
    attributes: Mapping[str, str]
    failed: bool


class TraceCollector(TraceServiceServicer):
    """A server that keeps all received spans. It runs as a context manager."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[Span] = []
        self._server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
        add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.stop(0).wait()

    def trace(self, trace_id: str) -> list[Span]:
        """Return the received spans of a trace."""
        return self.spans({trace_id})

    def spans(self, trace_ids: Iterable[str]) -> list[Span]:
        """Return the received spans of several traces."""
        ids = set(trace_ids)
        with self._lock:
            return [span for span in self._spans if span.trace_id in ids]

    def all_spans(self) -> list[Span]:
        """Return all received spans."""
        with self._lock:
            return list(self._spans)

    def Export(
        self, request: ExportTraceServiceRequest, context: grpc.ServicerContext
    ) -> ExportTraceServiceResponse:
        found = [
            _span_of(_service_name(resource.resource.attributes), span)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        with self._lock:
            self._spans += found
        return ExportTraceServiceResponse()


def _service_name(attributes: Iterable[object]) -> str:
    return _attribute_texts(attributes).get("service.name", "")


def _attribute_texts(attributes: Iterable[object]) -> dict[str, str]:
    texts = {}
    for attribute in attributes:
        value = attribute.value  # type: ignore[attr-defined]
        kind = value.WhichOneof("value")
        texts[attribute.key] = str(getattr(value, kind)) if kind else ""  # type: ignore[attr-defined]
    return texts


def _span_of(service: str, span: SpanMessage) -> Span:
    return Span(
        service=service,
        name=span.name,
        kind=_KINDS.get(span.kind, ""),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        attributes=_attribute_texts(span.attributes),
        failed=span.status.code == 2,
    )
