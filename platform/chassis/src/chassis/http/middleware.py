"""Middleware for every HTTP request, in pure ASGI: Starlette's base class loses contextvars."""

import asyncio
import time
from collections.abc import Callable

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import deadline, forwarding
from chassis.http import problems, request_metrics
from chassis.telemetry import trace_context, tracing

__all__ = ["BodyLimit", "RequestContext"]

_log = structlog.get_logger(__name__)


class RequestContext:
    """Middleware that sets a request's deadline, trace and forwarded headers, logs and counts it.

    An unexpected error is logged and answered without its text. While the service drains, each
    response closes its connection, so that the client's next request goes to another replica.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        timeout: float,
        forwarding: forwarding.Forwarding,
        draining: Callable[[], bool],
        unseen: frozenset[str] = frozenset(),
    ) -> None:
        self._app = app
        self._timeout = timeout
        self._forwarding = forwarding
        self._draining = draining
        self._unseen = unseen
        self._log = _log.bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status, waited = 0, 0.0

        async def send_noting_status(message: Message) -> None:
            nonlocal status, waited
            if message["type"] == "http.response.start":
                status, waited = message["status"], time.perf_counter() - started
                if self._draining():
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        deadline.begin(self._timeout)
        forwarding.begin(self._forwarding.select_http(scope["headers"]))
        with trace_context.attached(*_trace_headers(scope)):
            try:
                await self._app(scope, receive, send_noting_status)
            except ClientDisconnect:
                _log.debug(
                    "client disconnected before its request was complete", path=scope["path"]
                )
            except Exception as error:
                _log.exception(
                    "request handler failed; answering with an internal error",
                    method=scope["method"],
                    path=scope["path"],
                )
                if not status:
                    await problems.internal_error(error)(scope, receive, send_noting_status)
            finally:
                if scope["path"] not in self._unseen:
                    request_metrics.count(scope, status or 500, waited)
                    # The path stays percent-encoded, because a decoded one could forge log lines.
                    path = scope["raw_path"].decode("ascii", "replace")
                    self._log.info(
                        "request ended",
                        method=scope["method"],
                        path=path,
                        status=status or None,
                        ms=round((time.perf_counter() - started) * 1000, 1),
                        client=scope["client"][0] if scope.get("client") else None,
                    )


def _trace_headers(scope: Scope) -> tuple[str | None, str | None, str | None]:
    """Return traceparent, tracestate and baggage, None if an instrumentation reads them."""
    if tracing.enabled:
        return None, None, None
    traceparent = tracestate = baggage = None
    for name, value in scope["headers"]:
        if name == b"traceparent":
            traceparent = value.decode("latin-1")
        elif name == b"tracestate":
            tracestate = value.decode("latin-1")
        elif name == b"baggage":
            baggage = baggage or value.decode("latin-1")
    return traceparent, tracestate, baggage


class BodyLimit:
    """Middleware that limits a request's body to `limit` bytes and `seconds`.

    A body is limited whether its length is announced or not. The time starts when the application
    first asks for the body.
    """

    def __init__(self, app: ASGIApp, *, limit: int, seconds: float) -> None:
        self._app = app
        self._limit = limit
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left = self._limit
        announced = _content_length(scope)
        if announced is not None and announced > left:
            left = -1

        ends_at, more = None, True

        async def limited() -> Message:
            nonlocal left, ends_at, more
            if left < 0:
                raise problems.too_large(self._limit)
            if not more:
                return await receive()
            # The time starts here, because until then the request may have waited for its place.
            now = asyncio.get_running_loop().time()
            ends_at = ends_at or now + self._seconds
            try:
                async with asyncio.timeout_at(ends_at):
                    message = await receive()
            except TimeoutError:
                raise problems.too_slow(self._seconds) from None
            more = message.get("more_body", False)
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
                if left < 0:
                    raise problems.too_large(self._limit)
            return message

        await self._app(scope, limited, send)


def _content_length(scope: Scope) -> int | None:
    """Return the announced length of the body, None if it is not announced or invalid."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
    return None
