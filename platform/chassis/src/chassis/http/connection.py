"""An HTTP connection that its client can neither fill nor hold without end.

Uvicorn limits an idle connection and nothing else. This one counts the bytes its parser keeps,
gives head, body and answer their times, and answers what it refuses with a problem. It relies on
the inside of uvicorn's HttpToolsProtocol; nothing else does.
"""

import asyncio
from collections.abc import Callable
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

# Requests that a client may send ahead, without waiting for the answers to those before.
_MOST_PIPELINED = 16
# A close while the client still sends can cost it the answer, so that what it sends is read and
# thrown away for a moment.
_LINGER_BYTES = 64 * 1024
_LINGER_SECONDS = 1.0


class _Refused(Exception):
    """Ends the parsing; the parser itself knows no other way."""


class Connection(HttpToolsProtocol):
    """One client's connection.

    `waiting` is shared by all connections: those without a request at work, beginning with the one
    that has been so longest. A newcomer takes its place when there are too many.
    """

    def __init__(
        self, *, limits: LimitSettings, waiting: "dict[Connection, None]", **uvicorn: Any
    ) -> None:
        super().__init__(**uvicorn)
        self._limits = limits
        self._all_waiting = waiting
        self._coming: Literal["nothing", "head", "body"] = "nothing"
        self._head_is_timed = False
        # Bytes the parser was given and has not told of: an unfinished head, or the framing and
        # the trailers of a body. It keeps them until they are complete.
        self._untold = 0
        self._running: RequestResponseCycle | None = None
        self._refusal: tuple[HTTPStatus, str] | None = None
        self._thrown_away: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None

    # ---- its beginning and end

    def connection_made(  # type: ignore[override]
        self, transport: asyncio.Transport
    ) -> None:
        super().connection_made(transport)
        if len(self.connections) > self._limits.http_max_connections and not self._make_room():
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
            self.transport.close()
            return
        self._all_waiting[self] = None
        # Nothing was asked yet, so nothing is answered: browsers open connections in advance.
        self._after(self._limits.http_head_timeout_seconds, self._hang_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all_waiting.pop(self, None)
        self._after(0, None)
        self.resume_writing()
        self._unset_keepalive_if_required()
        self._abandon()
        super().connection_lost(exc)

    def _make_room(self) -> bool:
        longest = next(iter(self._all_waiting), None)
        if longest is None:
            return False
        del self._all_waiting[longest]
        longest.transport.abort()
        return True

    def _abandon(self) -> None:
        """Tell whoever is at work for the client that it is gone. Uvicorn tells only the last."""
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def _hang_up(self) -> None:
        # A close waits until all is sent: for ever, if the client doesn't read.
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    # ---- times

    def _after(self, seconds: float, call: Callable[[], object] | None) -> None:
        """Set what happens if the client goes on doing nothing; replaces what was set before."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if call is None else self.loop.call_later(seconds, call)

    def _head_timed_out(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "the headers took too long to come")

    def timeout_keep_alive_handler(self) -> None:
        self._hang_up()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader_timer = self.loop.call_later(
            self._limits.http_send_timeout_seconds, self.transport.abort
        )

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    # ---- what comes in

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._thrown_away is not None:
            self._thrown_away += len(data)
            if self._thrown_away > _LINGER_BYTES:
                self.transport.abort()
            return
        if self._coming == "nothing":
            self._coming = "head"
        most = self._limits.http_max_head_bytes
        try:
            while data:
                room = most - self._untold
                if not room:
                    self._refusal = (
                        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                        f"the headers are larger than {most} bytes",
                    )
                    raise _Refused
                piece, data = (data, b"") if len(data) <= room else (data[:room], data[room:])
                self._untold += len(piece)
                self.parser.feed_data(piece)
            if self._coming == "head" and not self._head_is_timed:
                # Most come as a whole: no timer is made for those.
                self._head_is_timed = True
                self._after(self._limits.http_head_timeout_seconds, self._head_timed_out)
        except httptools.HttpParserUpgrade:
            # The request is answered as if it had not asked for another protocol. What follows it
            # can be anything.
            self.cycle.keep_alive = False
            self._thrown_away = 0
        except (_Refused, httptools.HttpParserError):
            self._refuse(*(self._refusal or (HTTPStatus.BAD_REQUEST, "this is no HTTP request")))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._coming = "head"

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > self._limits.http_max_url_bytes:
            self._refusal = (
                HTTPStatus.REQUEST_URI_TOO_LONG,
                f"the URL is longer than {self._limits.http_max_url_bytes} bytes",
            )
            raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > self._limits.http_max_headers:
            self._refusal = (
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"there are more than {self._limits.http_max_headers} headers",
            )
            raise _Refused

    def on_headers_complete(self) -> None:
        self._coming = "body"
        self._untold = 0
        self._head_is_timed = False
        self._after(0, None)
        self._all_waiting.pop(self, None)
        if len(self.pipeline) >= _MOST_PIPELINED:
            raise _Refused
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._untold = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._coming = "nothing"
        self._untold = 0
        if self.cycle.response_complete and not self.transport.is_closing():
            self._after(self._limits.http_idle_timeout_seconds, self._hang_up)

    # ---- what goes out

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            # It is closed as soon as the client has read all.
            self._after(self._limits.http_send_timeout_seconds, self.transport.abort)
        elif self._running is not None and self._running.response_complete:
            self._all_waiting[self] = None
            if self._coming == "body":
                # Answered before it was read. The rest of it is thrown away.
                self._unset_keepalive_if_required()
                self._after(self._limits.http_body_timeout_seconds, self._hang_up)

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer by ourselves and end, if the client can still tell which request is answered."""
        running = self._running
        if running is not None and not running.response_complete:
            started = running.response_started or running is not self.cycle
            self._abandon()
            if started or self._coming != "body":
                self.transport.abort()
                return
        self._answer(status, detail)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._thrown_away = 0
        self._all_waiting[self] = None
        self._after(_LINGER_SECONDS, self.transport.abort)

    def _answer(self, status: HTTPStatus, detail: str) -> None:
        headers = {"connection": "close"}
        if status is HTTPStatus.SERVICE_UNAVAILABLE:
            headers["retry-after"] = "1"
        answer = problems.problem(status, status.phrase, detail, headers=headers)
        fields = [*self.server_state.default_headers, *answer.raw_headers]
        head = b"".join(name + b": " + value + b"\r\n" for name, value in fields)
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + bytes(answer.body))
        _log.info(f"refused: {status} {detail}", client=self.client[0] if self.client else None)
