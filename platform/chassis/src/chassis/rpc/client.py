"""Calls other services over gRPC.

One channel per called service, balanced over its replicas. A call never gets more time than the
request it serves has left, carries on that request's trace, baggage and the headers that
`chassis/forwarding.py` names, and what the other service answers with comes as a domain error.
"""

import json
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import grpc
import grpc.aio
import structlog
from fastapi.requests import HTTPConnection
from google.protobuf.descriptor import ServiceDescriptor

from chassis import deadline, forwarding
from chassis.calls import Call, undeclared_call
from chassis.errors import DeadlineExceeded
from chassis.rpc.security import RenewedChannel, calls_of, channel_credentials
from chassis.rpc.status import from_rpc_error
from chassis.settings import ServiceSettings
from chassis.telemetry import trace_context, tracing

__all__ = ["Clients", "client", "target_name"]

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_TOLD_SECONDS = 60.0


def target_name(contract: ServiceDescriptor) -> str:
    """The name of the service that serves a contract: `orders` of package shop.orders.v1."""
    parts = contract.file.package.split(".")
    return parts[-2] if len(parts) > 1 else parts[0]


def client(
    contract: ServiceDescriptor, stub: Callable[..., T]
) -> Callable[[HTTPConnection], Awaitable[T]]:
    """The stub of a contract that the service declares it calls, as a FastAPI dependency.

    Orders = Annotated[OrdersServiceAsyncStub, Depends(client(OrdersService, OrdersServiceStub))]

    An `async def` event handler or RPC method takes a parameter of this annotation too.
    """
    return _Dependency(contract, stub)


class _Dependency(Call):
    # A def would be run on a thread.
    async def __call__(self, connection: HTTPConnection) -> Any:
        clients: Clients = connection.app.state.clients
        return clients.stub(self.contract, self.stub)


class Clients:
    """The stubs a service calls others by. Made inside the event loop."""

    def __init__(
        self, service: str, calls: Sequence[ServiceDescriptor], settings: ServiceSettings
    ) -> None:
        self._service = service
        self._settings = settings
        self._channels: dict[str, RenewedChannel] = {}
        self._stubs: dict[tuple[str, Callable[..., Any]], Any] = {}
        self._calls = tuple(calls)

    def stub(self, contract: ServiceDescriptor, stub: Callable[..., T]) -> T:
        """The stub of a contract; `await stub.Method(request)` raises domain errors.

        Raises:
            LookupError: the service does not declare that it calls this contract.
        """
        key = (contract.full_name, stub)
        if key not in self._stubs:
            if problem := undeclared_call(contract, self._calls, self._service):
                raise LookupError(problem)
            name = target_name(contract)
            if name not in self._channels:
                self._channels[name] = RenewedChannel(
                    partial(_channel, self._settings.targets[name], self._settings),
                    calls_of(self._settings),
                    end_seconds=self._settings.call_timeout_seconds,
                )
            self._stubs[key] = stub(
                _DomainChannel(self._channels[name], name, self._settings.call_timeout_seconds)
            )
        made: T = self._stubs[key]
        return made

    async def close(self) -> None:
        """Close every channel; running calls are cancelled."""
        for channel in self._channels.values():
            await channel.close()


class _DomainChannel:
    """What a generated stub takes for a channel: its calls have a deadline and raise domain errors.

    Interceptors would do the same at the price of a task for each call.
    """

    def __init__(self, channel: RenewedChannel, service: str, timeout: float) -> None:
        self._channel = channel
        self._service = service
        self._timeout = timeout
        self._tell_at = 0.0

    def unary_unary(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        channel = self._channel.current()
        multicallable = channel.unary_unary(path, *arguments, **options)
        of_method = options

        def current() -> Any:
            nonlocal channel, multicallable
            if (now := self._channel.current()) is not channel:
                channel, multicallable = now, now.unary_unary(path, *arguments, **of_method)
            return multicallable

        async def call(
            request: Any,
            *,
            timeout: float | None = None,
            metadata: Sequence[tuple[str, str | bytes]] | None = None,
            **options: Any,
        ) -> Any:
            seconds = self._timeout if timeout is None else timeout
            left = deadline.remaining()
            if left is not None and left < seconds:
                seconds = left
                if left <= 0:
                    raise DeadlineExceeded(f"no time was left to ask {self._service}")
            metadata = _carried_on(metadata)
            try:
                return await current()(
                    request,
                    timeout=seconds,
                    metadata=metadata,
                    **options,
                )
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    self._tell(error.details())
                domain = from_rpc_error(error, self._service)
                if domain is None:
                    raise
                raise domain from error

        return call

    def _tell(self, reason: str | None) -> None:
        """Why nobody was reached, which callers are not told: a certificate, an address, …"""
        now = time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + _TOLD_SECONDS
            _log.warning("called service is unavailable", called=self._service, reason=reason)

    def _streaming(self, path: str, *_: Any, **__: Any) -> Callable[..., Any]:
        def call(*_: Any, **__: Any) -> Any:
            raise NotImplementedError(f"{path} streams; the chassis calls unary RPCs only")

        return call

    unary_stream = stream_unary = stream_stream = _streaming


def _carried_on(
    metadata: Sequence[tuple[str, str | bytes]] | None,
) -> Sequence[tuple[str, str | bytes]] | None:
    """The call's metadata with what it carries on; a name that the caller gives is the caller's."""
    carried = [*forwarding.current()]
    if not tracing.enabled:
        # An interceptor does this while spans are recorded.
        carried += trace_context.current_headers()
    if not carried:
        return metadata
    given = {name for name, _ in metadata or ()}
    return [*(metadata or ()), *(header for header in carried if header[0] not in given)]


# A server that stops cancels what reaches it in that moment.
_NOT_TAKEN = ["UNAVAILABLE", "CANCELLED"]
_SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": _NOT_TAKEN,
                },
            }
        ],
        # The budget: no more retries once half of it is spent; each success gives a tenth back.
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
    }
)

_OPTIONS = [
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.enable_retries", 1),
    # A callee that was restarted is found again within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # One that died without a word is given up while calls wait for it.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3000),
]


def _channel(target: str, settings: ServiceSettings) -> grpc.aio.Channel:
    interceptors: list[Any] = []
    if tracing.enabled:
        from opentelemetry.instrumentation.grpc import aio_client_interceptors

        interceptors = aio_client_interceptors(  # type: ignore[no-untyped-call]
            tracer_provider=tracing.provider
        )
    # Services call each other directly: a proxy for the outside does not know them.
    options: list[tuple[str, Any]] = [
        *_OPTIONS,
        ("grpc.enable_http_proxy", int(settings.proxy_from_environment)),
    ]
    if settings.call_tls_server_name:
        options.append(("grpc.ssl_target_name_override", settings.call_tls_server_name))
    credentials = channel_credentials(settings)
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options, interceptors=interceptors)
    return grpc.aio.secure_channel(target, credentials, options=options, interceptors=interceptors)
