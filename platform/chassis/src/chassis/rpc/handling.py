"""Calls that a server handles: admitted, timed, and counted."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError, Message

from chassis import deadline
from chassis.admission import Admission
from chassis.call_threads import CallThreads
from chassis.database import Database
from chassis.database.faults import database_failure
from chassis.errors import DeadlineExceeded, DomainError, InvalidArgument, Unavailable
from chassis.rpc.dispatch import Context, Handler
from chassis.rpc.methods import Method
from chassis.rpc.status import to_code, to_detail, to_metadata
from chassis.settings import ServiceSettings
from chassis.telemetry import metrics

__all__ = ["CallHandling"]

_log = structlog.get_logger(__name__)
_THREADS = 4
# The last answers have this time to be sent after the last call has ended.
_SENDING_SECONDS = 2.0


class CallHandling:
    """The handling of all calls of a server, within one limit of concurrent calls."""

    def __init__(self, settings: ServiceSettings, database: Database | None) -> None:
        self._database = database
        self._log_rpcs = settings.log_rpcs
        self._threads = CallThreads(_THREADS, "rpc")
        self._admission = Admission(
            "gRPC calls", settings.grpc_max_requests, settings.grpc_max_waiting
        )
        self._running = 0
        self._ended_at = 0.0

    def seconds_until_idle(self, since: float) -> float:
        """Return how many seconds remain, at least, until there has been no call for 2 s.

        The 2 s begin at `since` (a monotonic time) or later.
        """
        now = time.monotonic()
        return (now if self._running else max(since, self._ended_at)) + _SENDING_SECONDS - now

    def close(self) -> None:
        """End the threads without waiting for calls that hang on them."""
        self._threads.close()

    def handler(self, service: str, method: Method) -> Handler:
        """Return gRPC's handler for the calls of a method."""
        answer = self._answer(method)
        full_name = f"{service}/{method.name}"
        seconds = metrics.GRPC_HANDLING_SECONDS.labels(full_name)
        handled = metrics.GRPC_HANDLED.labels(full_name, "OK")

        async def handle(request: bytes, context: Context) -> Message:
            self._running += 1
            started = time.perf_counter()
            code = "OK"
            try:
                deadline.begin(context.time_remaining())
                await self._admission.enter()
                try:
                    return await answer(_parse(method.request, request))
                finally:
                    self._admission.leave()
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except Exception as error:
                refused = _domain_error(error)
                if refused is None:
                    code = "INTERNAL"
                    _log.exception("RPC handler failed; answering with INTERNAL", method=full_name)
                    await _abort(context, grpc.StatusCode.INTERNAL, "internal error")
                code = refused.grpc_code
                _log.debug("RPC refused", method=full_name, code=refused.grpc_code)
                await _abort(context, to_code(refused), to_detail(refused), to_metadata(refused))
            finally:
                took = time.perf_counter() - started
                seconds.observe(took)
                (handled if code == "OK" else metrics.GRPC_HANDLED.labels(full_name, code)).inc()
                if self._log_rpcs:
                    _log.info("RPC ended", method=full_name, code=code, ms=round(took * 1000, 1))
                self._running -= 1
                self._ended_at = time.monotonic()

        return grpc.unary_unary_rpc_method_handler(
            handle,
            # `handle` parses the request, because gRPC would answer invalid bytes with the text of
            # the parser's exception.
            request_deserializer=None,
            response_serializer=method.response.SerializeToString,
        )

    def _answer(self, method: Method) -> Callable[[Message], Awaitable[Message]]:
        """Return the function that answers a request: on the event loop or on a thread."""
        if method.kind == "async":
            return lambda request: method.call(request, None)
        run = self._runner(method)

        async def answer(request: Message) -> Message:
            wanted = True

            def work(tx: object = None) -> Message:
                # While it waited for a thread the caller may have given up.
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

    def _runner(self, method: Method) -> Callable[[Callable[..., Message]], Awaitable[Message]]:
        """Return the function that runs a `def` method on a thread of its kind."""
        if method.kind == "plain":
            return self._threads.run
        assert self._database is not None, "a service whose methods take a tx has a database"
        return self._database.transaction if method.kind == "write" else self._database.read


def _parse(kind: type[Message], request: bytes) -> Message:
    """Parse a request; raise InvalidArgument if it is malformed."""
    try:
        return kind.FromString(request)
    except DecodeError as error:
        name = kind.DESCRIPTOR.full_name
        raise InvalidArgument(f"the request is not a valid {name}") from error


def _domain_error(error: Exception) -> DomainError | None:
    """Return the error as callers may see it, None if it is internal."""
    if isinstance(error, DomainError):
        return error
    failure = database_failure(error)
    if failure is None or isinstance(failure, Unavailable):
        return failure
    return Unavailable("the database is unavailable")


async def _abort(
    context: Context,
    code: grpc.StatusCode,
    detail: str,
    metadata: tuple[tuple[str, str | bytes], ...] = (),
) -> NoReturn:
    """End an RPC with a gRPC status, by an exception that gRPC expects."""
    await context.abort(code, detail, metadata)
    raise AssertionError("abort raises")
