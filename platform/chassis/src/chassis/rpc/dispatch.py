"""The choice of a call's handler, with the headers and the trace of its caller."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import Message
from opentelemetry import context as otel_context

from chassis.forwarding import Forwarding
from chassis.forwarding import begin as begin_forwarding
from chassis.settings import ServiceSettings
from chassis.telemetry import trace_context, tracing

__all__ = ["Context", "Dispatch", "Handler"]

Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, Message]"
_ReceivedMetadata = Iterable[tuple[str, str | bytes]]


class Dispatch(grpc.GenericRpcHandler):
    """The handlers of a server's methods, each by its path: `/package.Service/Method`.

    gRPC asks it within the task that runs the handler. An interceptor could do the same, but would
    cost each call some more coroutines.
    """

    def __init__(self, handlers: Mapping[str, Handler], settings: ServiceSettings) -> None:
        self._handlers = dict(handlers)
        self._forwarding = Forwarding(settings.forward_headers, settings.forward_max_bytes)
        self._interceptor: Any = _make_interceptor() if tracing.enabled else None
        self._early = tracing.early

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        """Return the handler of a call, None if there is none.

        The headers that it forwards and its trace are set in the running task.
        """
        handler = self._handlers.get(handler_call_details.method)
        if handler is None:
            return None
        metadata: _ReceivedMetadata = handler_call_details.invocation_metadata or ()
        begin_forwarding(self._forwarding.select(metadata))
        if self._interceptor is None:
            trace_context.attach(*_trace_of(metadata))
            return handler
        if self._is_unrecorded(metadata):
            return handler
        return self._with_span(handler, handler_call_details)

    def _is_unrecorded(self, metadata: _ReceivedMetadata) -> bool:
        """Return whether the trace is not recorded; if so, make its context the current one."""
        early = self._early
        if early is None:
            return False
        context = early.unrecorded(
            [
                (name, value)
                for name, value in metadata
                if name in early.fields and isinstance(value, str)
            ]
        )
        if context is None:
            return False
        otel_context.attach(context)
        return True

    def _with_span(self, handler: Handler, details: grpc.HandlerCallDetails) -> Handler:
        """Return the handler within OpenTelemetry's interceptor, which starts a span."""

        async def found(_: grpc.HandlerCallDetails) -> Handler:
            return handler

        async def handle(request: bytes, context: Context) -> Message:
            intercepted = await self._interceptor.intercept_service(found, details)
            response: Message = await intercepted.unary_unary(request, context)
            return response

        return grpc.unary_unary_rpc_method_handler(
            handle, response_serializer=handler.response_serializer
        )


def _make_interceptor() -> Any:
    """Return the interceptor that records the span of a call."""
    from opentelemetry.instrumentation.grpc import aio_server_interceptor

    return aio_server_interceptor(  # type: ignore[no-untyped-call]
        tracer_provider=tracing.provider
    )


def _trace_of(metadata: _ReceivedMetadata) -> tuple[str | None, str | None, str | None]:
    """Return the caller's traceparent, tracestate and baggage."""
    traceparent = tracestate = baggage = None
    for key, value in metadata:
        if key == "traceparent":
            traceparent = str(value)
        elif key == "tracestate":
            tracestate = str(value)
        elif key == "baggage":
            baggage = baggage or str(value)
    return traceparent, tracestate, baggage
