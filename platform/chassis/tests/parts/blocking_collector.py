"""A collector of traces that answers late: an OTLP receiver over gRPC, in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

__all__ = ["BlockingCollector"]


class BlockingCollector:
    """A collector that keeps the names of the spans that it receives.

    It answers only after `may_answer` is set: until then its client has sent one batch of spans and
    keeps the others.
    """

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.spans: list[str] = []
        self.may_answer = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def started(cls) -> AsyncIterator["BlockingCollector"]:
        server = grpc.aio.server()
        collector = cls(server.add_insecure_port("127.0.0.1:0"))
        export = grpc.unary_unary_rpc_method_handler(
            collector._export,
            request_deserializer=ExportTraceServiceRequest.FromString,
            response_serializer=ExportTraceServiceResponse.SerializeToString,
        )
        service = "opentelemetry.proto.collector.trace.v1.TraceService"
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {"Export": export}),)
        )
        await server.start()
        try:
            yield collector
        finally:
            await server.stop(0)

    async def _export(
        self,
        request: ExportTraceServiceRequest,
        context: "grpc.aio.ServicerContext[ExportTraceServiceRequest, ExportTraceServiceResponse]",
    ) -> ExportTraceServiceResponse:
        self.spans += [
            span.name
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        await self.may_answer.wait()
        return ExportTraceServiceResponse()
