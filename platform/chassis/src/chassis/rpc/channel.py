"""Channels to other services: balanced over their replicas, retried, and in domain errors."""

import json
import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any

import grpc
import grpc.aio
import structlog

from chassis import deadline, forwarding
from chassis.errors import DeadlineExceeded
from chassis.rpc.security import RenewedChannel, channel_credentials
from chassis.rpc.status import from_rpc_error
from chassis.settings import ServiceSettings
from chassis.telemetry import trace_context, tracing

__all__ = ["DomainChannel", "open_channel"]

_SentMetadata = Sequence[tuple[str, str | bytes]]

_log = structlog.get_logger(__name__)
_LOG_SECONDS = 60.0

# A server that is stopping cancels calls that reach it at that moment.
_RETRIED = ["UNAVAILABLE", "CANCELLED"]
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
                    "retryableStatusCodes": _RETRIED,
                },
            }
        ],
        # Retries stop when half of this budget is spent; each success gives a tenth of a token
        # back.
        "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
    }
)

_OPTIONS = [
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.enable_retries", 1),
    # Reconnect to a restarted server within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # Detect a dead server during a call: ping every 10 s, close the connection after 3 s without
    # an answer.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3000),
]


def open_channel(target: str, settings: ServiceSettings) -> grpc.aio.Channel:
    """Open a channel to a target, within the event loop; it connects with the first call."""
    # A proxy for outside addresses does not know the services, so it is off by default.
    options: list[tuple[str, Any]] = [
        *_OPTIONS,
        ("grpc.enable_http_proxy", int(settings.proxy_from_environment)),
    ]
    if settings.call_tls_server_name:
        options.append(("grpc.ssl_target_name_override", settings.call_tls_server_name))
    credentials = channel_credentials(settings)
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, credentials, options=options)


class DomainChannel:
    """A channel for generated stubs, whose calls have a deadline and raise domain errors.

    Interceptors of the channel could do the same, but would cost a task for each call.
    """

    def __init__(self, channel: RenewedChannel, service: str, timeout: float) -> None:
        self._channel = channel
        self._service = service
        self._timeout = timeout
        self._log_at = 0.0

    def unary_unary(self, path: str, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """Return the function that calls a unary RPC; generated stubs ask for it."""
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
            metadata: _SentMetadata | None = None,
            **options: Any,
        ) -> Any:
            seconds = self._timeout if timeout is None else timeout
            left = deadline.remaining()
            if left is not None and left < seconds:
                seconds = left
                if left <= 0:
                    raise DeadlineExceeded(f"no time was left to call {self._service}")
            trace = _trace_headers()
            metadata = _joined(metadata, [*forwarding.current(), *(trace or ())])
            try:
                if trace is None:
                    start = partial(current(), **options)
                    return await self._call_with_span(start, path, request, seconds, metadata)
                return await current()(request, timeout=seconds, metadata=metadata, **options)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    self._log_unavailable(error.details())
                domain = from_rpc_error(error, self._service)
                if domain is None:
                    raise
                raise domain from error

        return call

    async def _call_with_span(
        self,
        start: Callable[..., Any],
        path: str,
        request: Any,
        seconds: float,
        metadata: _SentMetadata | None,
    ) -> Any:
        """Make a call by `start` within OpenTelemetry's interceptor, which starts its span.

        It is not an interceptor of the channel, where it would cost calls that are not recorded,
        too.
        """

        async def make(details: grpc.aio.ClientCallDetails, request: Any) -> Any:
            return start(request, timeout=details.timeout, metadata=details.metadata)

        given = grpc.aio.Metadata(*(metadata or ()))
        details = grpc.aio.ClientCallDetails(path, seconds, given, None, None)
        return await (await self._interceptor.intercept_unary_unary(make, details, request))

    @cached_property
    def _interceptor(self) -> Any:
        """The interceptor that records the span of a call."""
        from opentelemetry.instrumentation.grpc import aio_client_interceptors

        unary_unary, *_ = aio_client_interceptors(  # type: ignore[no-untyped-call]
            tracer_provider=tracing.provider
        )
        return unary_unary

    def _log_unavailable(self, reason: str | None) -> None:
        """Log the reason, such as a certificate or an address, which callers do not learn; at most
        once a minute."""
        now = time.monotonic()
        if now >= self._log_at:
            self._log_at = now + _LOG_SECONDS
            _log.warning("called service is unavailable", called=self._service, reason=reason)

    def _streaming(self, path: str, *_: Any, **__: Any) -> Callable[..., Any]:
        """Return a method that raises, in place of a streaming one."""

        def call(*_: Any, **__: Any) -> Any:
            raise NotImplementedError(f"{path} streams; the chassis calls unary RPCs only")

        return call

    unary_stream = stream_unary = stream_stream = _streaming


def _trace_headers() -> list[tuple[str, str]] | None:
    """Return the headers by which a call continues the running trace; None if the call has a span
    of its own, which sets them."""
    if not tracing.enabled:
        return trace_context.current_headers()
    headers = None if tracing.early is None else tracing.early.headers_unrecorded()
    return None if headers is None else [*headers.items()]


def _joined(
    metadata: _SentMetadata | None, passed_on: Sequence[tuple[str, str]]
) -> _SentMetadata | None:
    """Return a call's metadata with the headers that it passes on from the request it serves.

    A header that the caller gives is not replaced.
    """
    if not passed_on:
        return metadata
    given = {name for name, _ in metadata or ()}
    return [*(metadata or ()), *(header for header in passed_on if header[0] not in given)]
