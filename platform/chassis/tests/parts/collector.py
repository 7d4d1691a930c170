"""A collector of traces, over gRPC and over HTTP, in this process."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

__all__ = ["Collector", "Received"]


@dataclass(frozen=True, slots=True)
class Received:
    """A received span: its name, the attributes of its process, and the headers of its request."""

    name: str
    resource: Mapping[str, str]
    headers: Mapping[str, str]
    by: str
    """"grpc", or the path of the HTTP request."""


class Collector:
    """A context manager: a collector that keeps what it receives, while it runs."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self._grpc = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
        export = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=ExportTraceServiceRequest.FromString,
            response_serializer=ExportTraceServiceResponse.SerializeToString,
        )
        service = "opentelemetry.proto.collector.trace.v1.TraceService"
        self._grpc.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {"Export": export}),)
        )
        self.over_grpc = f"http://127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.over_http = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._grpc.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._grpc.stop(0).wait()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def keep(self, request: ExportTraceServiceRequest, headers: Mapping[str, str], by: str) -> None:
        for resource in request.resource_spans:
            said = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.received += [Received(span.name, said, headers, by) for span in scope.spans]

    def _export(self, request: ExportTraceServiceRequest, context: Any) -> Any:
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        self.keep(request, headers, "grpc")
        return ExportTraceServiceResponse()


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {key.lower(): value for key, value in self.headers.items()}
            collector.keep(ExportTraceServiceRequest.FromString(body), headers, self.path)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    return Handler
