"""An HTTP connection with limits: no client can fill the memory or keep a connection indefinitely.

Uvicorn limits only the time of an idle connection. This class also limits the bytes that the parser
buffers and the time of head, body and response, and answers a refused request with a problem. It
relies on internals of uvicorn's HttpToolsProtocol; no other module does.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Literal

import httptools
import structlog
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from chassis.http import problems
from chassis.limits import LimitSettings

__all__ = ["Connection"]

_log = structlog.get_logger(__name__)

_URL_TOO_LONG = HTTPStatus.REQUEST_URI_TOO_LONG
_HEAD_TOO_LARGE = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
# A client may send this many requests before it has received the responses to earlier ones.
_MAX_PIPELINED = 16
# After a refusal the connection stays open for a moment and received bytes are discarded, because
# closing it while the client still sends could cost the client the response.
_LINGER_BYTES = 64 * 1024
_LINGER_SECONDS = 1.0


class _Refused(Exception):
    """The refusal of a request; raised in a callback, because the parser has no other way to stop.

    The status and detail are in the connection's `_refusal`: the parser hides the exception.
    """


class Connection(HttpToolsProtocol):
    """The connection of one client.

    `idle` is shared by all connections: those without a running request, the one that has been
    idle longest first. A new connection replaces that one when the limit is reached. `renew_date`
    is called before each response.
    """

    def __init__(
        self,
        *,
        limits: LimitSettings,
        idle: "dict[Connection, None]",
        renew_date: Callable[[], None],
        **uvicorn: Any,
    ) -> None:
        super().__init__(**uvicorn)
        self._limits = limits
        self._idle = idle
        self._renew_date = renew_date
        self._receiving: Literal["nothing", "head", "body"] = "nothing"
        self._head_is_timed = False
        # Bytes that the parser was given and has not reported: an unfinished head, or the framing
        # and the trailers of a body. It buffers them until they are complete.
        self._buffered = 0
        self._running: RequestResponseCycle | None = None
        self._refusal: tuple[HTTPStatus, str] | None = None
        self._discarded: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        super().connection_made(transport)
        full = len(self.connections) > self._limits.http_max_connections
        if full and not _close_longest_idle(self._idle):
            self._respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
            self.transport.close()
            return
        self._idle[self] = None
        # The connection is closed without a response, because browsers open connections in advance
        # and have sent no request.
        self._set_timeout(self._limits.http_head_timeout_seconds, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._idle.pop(self, None)
        self._set_timeout(0, None)
        self.resume_writing()
        self._unset_keepalive_if_required()
        self._abandon_requests()
        super().connection_lost(exc)

    def _abandon_requests(self) -> None:
        """Drop waiting requests and notify the running one that its client has disconnected.

        Uvicorn itself notifies only the request that was received last.
        """
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def _close(self) -> None:
        """Close the connection, or abort it if the client has not read all that was sent.

        A close would wait until all bytes are sent.
        """
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _set_timeout(self, seconds: float, call: Callable[[], object] | None) -> None:
        """Call after `seconds`, instead of the call that was set before; None only cancels that."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if call is None else self.loop.call_later(seconds, call)

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._send_timer = self.loop.call_later(
            self._limits.http_send_timeout_seconds, self.transport.abort
        )

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._discarded is not None:
            self._discarded += len(data)
            if self._discarded > _LINGER_BYTES:
                self.transport.abort()
            return
        if self._receiving == "nothing":
            self._receiving = "head"
        most = self._limits.http_max_head_bytes
        try:
            while data:
                room = most - self._buffered
                if not room:
                    self._refusal = _HEAD_TOO_LARGE, f"the headers are larger than {most} bytes"
                    raise _Refused
                piece, data = (data, b"") if len(data) <= room else (data[:room], data[room:])
                self._buffered += len(piece)
                self.parser.feed_data(piece)
            if self._receiving == "head" and not self._head_is_timed:
                # The timer starts only now, because most heads come as a whole and need none.
                self._head_is_timed = True
                timed_out = partial(
                    self._refuse,
                    HTTPStatus.REQUEST_TIMEOUT,
                    "the headers took too long to come",
                )
                self._set_timeout(self._limits.http_head_timeout_seconds, timed_out)
        except httptools.HttpParserUpgrade:
            # The request is answered over HTTP/1.1, although it asks for another protocol. The
            # bytes after it may belong to that protocol, so that they are discarded.
            self.cycle.keep_alive = False
            self._discarded = 0
        except (_Refused, httptools.HttpParserError):
            self._refuse(*(self._refusal or (HTTPStatus.BAD_REQUEST, "not a valid HTTP request")))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._renew_date()
        self._receiving = "head"

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        most = self._limits.http_max_url_bytes
        if len(self.url) > most:
            self._refusal = _URL_TOO_LONG, f"the URL is longer than {most} bytes"
            raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        most = self._limits.http_max_headers
        if len(self.headers) > most:
            self._refusal = _HEAD_TOO_LARGE, f"there are more than {most} headers"
            raise _Refused

    def on_headers_complete(self) -> None:
        self._receiving = "body"
        self._buffered = 0
        self._head_is_timed = False
        self._set_timeout(0, None)
        self._idle.pop(self, None)
        if len(self.pipeline) >= _MAX_PIPELINED:
            raise _Refused
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._buffered = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._receiving = "nothing"
        self._buffered = 0
        if self.cycle.response_complete and not self.transport.is_closing():
            self._set_timeout(self._limits.http_idle_timeout_seconds, self._close)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Start the app for a request, and keep its cycle for the timeouts."""
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            # The transport closes as soon as the client has read the whole response.
            self._set_timeout(self._limits.http_send_timeout_seconds, self.transport.abort)
        elif self._running is not None and self._running.response_complete:
            self._idle[self] = None
            if self._receiving == "body":
                # The response came before the whole body, whose rest uvicorn discards.
                self._unset_keepalive_if_required()
                self._set_timeout(self._limits.http_body_timeout_seconds, self._close)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Respond with a problem and close the connection.

        Abort it instead if the client could take the response for that of another request.
        """
        running = self._running
        if running is not None and not running.response_complete:
            started = running.response_started or running is not self.cycle
            self._abandon_requests()
            if started or self._receiving != "body":
                self.transport.abort()
                return
        self._respond(status, detail)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._discarded = 0
        self._idle[self] = None
        self._set_timeout(_LINGER_SECONDS, self.transport.abort)

    def _respond(self, status: HTTPStatus, detail: str) -> None:
        """Write a response without the application, and log it."""
        self._renew_date()
        self.transport.write(_response(status, detail, self.server_state.default_headers))
        _log.info(
            "request refused",
            status=int(status),
            detail=detail,
            client=self.client[0] if self.client else None,
        )


def _close_longest_idle(idle: dict[Connection, None]) -> bool:
    """Abort the connection that has been idle longest; return False if none is idle."""
    longest = next(iter(idle), None)
    if longest is None:
        return False
    del idle[longest]
    longest.transport.abort()
    return True


def _response(
    status: HTTPStatus, detail: str, default_headers: Sequence[tuple[bytes, bytes]]
) -> bytes:
    """Return a whole HTTP/1.1 response that has a problem and ends the connection."""
    headers = {"connection": "close"}
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = "1"
    problem = problems.problem(status, status.phrase, detail, headers=headers)
    fields = [*default_headers, *problem.raw_headers]
    head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
    return STATUS_LINE[status] + head + b"\r\n" + bytes(problem.body)
