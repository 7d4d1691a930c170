"""Serves a service's contracts over gRPC."""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import (  # type: ignore[import-untyped]
    health,
    health_pb2,
    health_pb2_grpc,
)
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]

from chassis import deadline, forwarding
from chassis.admission import Admission
from chassis.database import Database
from chassis.database.faults import database_failure
from chassis.errors import DeadlineExceeded, DomainError, InvalidArgument, Unavailable
from chassis.limits import LimitSettings
from chassis.ports import GRPC, CannotListen, listen_error
from chassis.rpc.methods import Method
from chassis.rpc.security import server_credentials
from chassis.rpc.status import to_code, to_detail, to_metadata
from chassis.settings import ServiceSettings
from chassis.telemetry import metrics, trace_context, tracing

__all__ = ["RpcServer"]

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_THREADS = 4
_KEEPALIVE_TIMEOUT_MS = 20_000
# Time for the last answers to be sent after the last method has ended; then what is left is
# cancelled, so that calls which gRPC has handed to no method are made elsewhere.
_ANSWERED_SECONDS = 2.0
_LOOK_SECONDS = 0.1


def _options(limits: LimitSettings) -> list[tuple[str, int]]:
    return [
        # Without this two processes bind one port, and each gets half of the calls.
        ("grpc.so_reuseport", 0),
        # Callers' keep-alive pings are welcome.
        ("grpc.http2.min_ping_interval_without_data_ms", 5000),
        ("grpc.max_allowed_incoming_connections", limits.grpc_max_connections),
        ("grpc.max_concurrent_streams", limits.grpc_max_streams),
        ("grpc.max_receive_message_length", limits.grpc_max_message_bytes),
        # Above the first number a request may be refused, above the second it always is.
        ("grpc.max_metadata_size", limits.grpc_max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.grpc_max_metadata_bytes),
        ("grpc.server_handshake_timeout_ms", _ms(limits.grpc_handshake_timeout_seconds)),
        ("grpc.max_connection_idle_ms", _ms(limits.grpc_idle_timeout_seconds)),
        ("grpc.keepalive_time_ms", _ms(limits.grpc_keepalive_seconds)),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    ]


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


class RpcServer:
    """The gRPC server of a service, with health and reflection."""

    def __init__(
        self,
        contracts: Sequence[tuple[str, Sequence[Method]]],
        settings: ServiceSettings,
        database: Database | None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="rpc")
        self._draining = asyncio.Event()
        self._health = _Health(self._draining)
        self._admission = Admission(
            "gRPC calls", settings.grpc_max_requests, settings.grpc_max_waiting
        )
        self._forwarding = forwarding.Forwarding(
            settings.forward_headers, settings.forward_max_bytes
        )
        self._running = 0
        self._busy_at = 0.0
        self._names = [name for name, _ in contracts]
        self._server = grpc.aio.server(interceptors=_interceptors(), options=_options(settings))
        for name, methods in contracts:
            handlers = {method.name: self._handler(name, method) for method in methods}
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(name, handlers),)
            )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            [*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
        )
        self.port = 0

    async def start(self) -> None:
        """Listen, not yet serving as far as its health says.

        Raises:
            CannotListen: with the reason.
        """
        await self.set_serving(False)
        host, port = self._settings.grpc_host, self._settings.grpc_port
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        credentials = server_credentials(self._settings)
        try:
            if credentials is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise _reason(error, host, port) from None
        await self._server.start()

    async def set_serving(self, serving: bool) -> None:
        """What its health says, of the server and of each contract."""
        response = health_pb2.HealthCheckResponse
        status = response.SERVING if serving else response.NOT_SERVING
        for name in ("", *self._names):
            await self._health.set(name, status)

    async def drain(self) -> None:
        """Say that it is about to go; go on serving."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, seconds: float) -> None:
        """Take no new calls, and let the running ones finish within `seconds`.

        A call that has reached the server as it stops, and that gRPC hands to no method, is
        cancelled when the others have ended: its caller makes it elsewhere.
        """
        self._draining.set()
        self._busy_at = time.monotonic()
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(self._server.stop(seconds))
            while not (stopping.done() or self._is_idle()):
                await asyncio.wait([stopping], timeout=_LOOK_SECONDS)
            await self._server.stop(None)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _is_idle(self) -> bool:
        return not self._running and time.monotonic() - self._busy_at > _ANSWERED_SECONDS

    def _handler(self, service: str, method: Method) -> "grpc.RpcMethodHandler[Any, Any]":
        answer = self._answer(method)
        full_name = f"{service}/{method.name}"
        seconds = metrics.GRPC_HANDLING_SECONDS.labels(full_name)
        handled = metrics.GRPC_HANDLED.labels(full_name, "OK")

        async def handle(request: bytes, context: "grpc.aio.ServicerContext[Any, Any]") -> Message:
            self._running += 1
            try:
                deadline.begin(context.time_remaining())
                metadata = context.invocation_metadata() or ()
                forwarding.begin(self._forwarding.select(metadata))
                with trace_context.attached(*_incoming(metadata)):
                    return await timed(request, context)
            finally:
                self._running -= 1
                self._busy_at = time.monotonic()

        async def timed(request: bytes, context: "grpc.aio.ServicerContext[Any, Any]") -> Message:
            started = time.perf_counter()
            code = "OK"
            try:
                await self._admission.enter()
                try:
                    return await answer(_parsed(method.request, request))
                finally:
                    self._admission.leave()
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except Exception as error:
                refused = _refusal(error)
                if refused is None:
                    code = "INTERNAL"
                    _log.exception("RPC handler failed; answering with INTERNAL", method=full_name)
                    await context.abort(grpc.StatusCode.INTERNAL, "internal error")
                code = refused.grpc_code
                _log.debug("RPC refused", method=full_name, code=refused.grpc_code)
                await _abort(context, refused)
            finally:
                took = time.perf_counter() - started
                seconds.observe(took)
                (handled if code == "OK" else metrics.GRPC_HANDLED.labels(full_name, code)).inc()
                if self._settings.log_rpcs:
                    _log.info("RPC ended", method=full_name, code=code, ms=round(took * 1000, 1))

        return grpc.unary_unary_rpc_method_handler(
            handle,
            # Parsed in `handle`: gRPC's own answer to what cannot be is the parser's exception.
            request_deserializer=None,
            response_serializer=method.response.SerializeToString,
        )

    def _answer(self, method: Method) -> Callable[[Message], Awaitable[Message]]:
        if method.kind == "async":

            async def answer_async(request: Message) -> Message:
                response: Message = await method.call(request, None)
                return response

            return answer_async
        run = self._runner(method)

        async def answer(request: Message) -> Message:
            wanted = True

            def work(tx: object) -> Message:
                # It may have waited for a thread until nobody waits for its answer any more.
                left = deadline.remaining()
                if not wanted or (left is not None and left <= 0):
                    raise DeadlineExceeded("the deadline passed before the call began")
                response: Message = method.call(request, tx)
                return response

            try:
                return await run(work)
            finally:
                wanted = False

        return answer

    def _runner(self, method: Method) -> Callable[[Callable[[Any], Message]], Awaitable[Message]]:
        if method.kind == "plain":
            return self._run_plain
        assert self._database is not None, "a service whose methods take a tx has a database"
        return self._database.transaction if method.kind == "write" else self._database.read

    async def _run_plain(self, work: Callable[[Any], T]) -> T:
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        return await loop.run_in_executor(self._threads, context.run, work, None)


def _reason(error: RuntimeError, host: str, port: int) -> CannotListen:
    # gRPC says only that it failed.
    return listen_error(host, port, GRPC) or CannotListen(
        f"gRPC cannot listen on port {port} of {host}: {error}"
    )


class _Health(health.aio.HealthServicer):  # type: ignore[misc]
    """Ends the watches when the server does, which would wait for them otherwise."""

    def __init__(self, draining: asyncio.Event) -> None:
        super().__init__()
        self._draining = draining

    async def Watch(self, request: Any, context: Any) -> None:
        watch = asyncio.ensure_future(super().Watch(request, context))
        end = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait({watch, end}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
            end.cancel()


def _parsed(kind: type[Message], request: bytes) -> Message:
    try:
        return kind.FromString(request)
    except DecodeError as error:
        raise InvalidArgument(f"the request is no {kind.DESCRIPTOR.full_name}") from error


def _refusal(error: Exception) -> DomainError | None:
    if isinstance(error, DomainError):
        return error
    said = database_failure(error)
    if said is None or isinstance(said, Unavailable):
        return said
    return Unavailable("the database is unavailable")


async def _abort(context: "grpc.aio.ServicerContext[Any, Any]", error: DomainError) -> NoReturn:
    await context.abort(to_code(error), to_detail(error), to_metadata(error))
    raise AssertionError("abort raises")


def _incoming(
    metadata: Iterable[tuple[str, str | bytes]],
) -> tuple[str | None, str | None, str | None]:
    """Trace and baggage of the caller, unless an interceptor has read them already."""
    if tracing.enabled:
        return None, None, None
    traceparent = tracestate = baggage = None
    for key, value in metadata:
        if key == "traceparent":
            traceparent = str(value)
        elif key == "tracestate":
            tracestate = str(value)
        elif key == "baggage":
            baggage = baggage or str(value)
    return traceparent, tracestate, baggage


def _interceptors() -> list[Any]:
    if not tracing.enabled:
        return []
    from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters

    probes = filters.any_of(
        filters.health_check(), filters.service_prefix("grpc.reflection.v1alpha")
    )
    return [
        aio_server_interceptor(  # type: ignore[no-untyped-call]
            tracer_provider=tracing.provider, filter_=filters.negate(probes)
        )
    ]
