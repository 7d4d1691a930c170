"""Server-sent events: responses that last, and end when the service stops."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from chassis import deadline
from chassis.errors import Overloaded
from chassis.http.admission import place_of

__all__ = ["ServerSentEvent", "event_stream"]

_log = structlog.get_logger(__name__)
# The line ends of the HTML standard; str.splitlines also splits at others, which are data here.
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """An event of a stream.

    A browser that reconnects sends the `id` of the last event it received as Last-Event-ID.
    """

    data: str
    id: str | None = None
    event: str | None = None

    def encoded(self) -> bytes:
        """Return the event in the format of text/event-stream."""
        lines = []
        if self.id is not None:
            lines.append(f"id: {_one_line(self.id)}")
        if self.event is not None:
            lines.append(f"event: {_one_line(self.event)}")
        lines += [f"data: {line}" for line in _LINE_END.split(self.data)]
        return ("\n".join(lines) + "\n\n").encode()


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ").replace("\0", "")


def event_stream(
    request: Request,
    events: AsyncIterator[ServerSentEvent],
    *,
    heartbeat_seconds: float = 15,
    retry_seconds: float = 1,
) -> Response:
    """Return a response that sends `events` as they come.

    A comment is sent after each `heartbeat_seconds` of silence, so that proxies keep the connection
    open. The response ends when `events` ends, when the client disconnects (then `events` is
    closed), and when the service stops or `events` raises: the last two tell the client to
    reconnect after `retry_seconds`. The deadline of a request does not apply: each call to another
    service has its own.
    """
    closing: asyncio.Event = getattr(request.app.state, "closing", None) or asyncio.Event()
    return _EventStream(events, closing, heartbeat_seconds, retry_seconds)


class _EventStream(Response):
    """The response that `event_stream` returns."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncIterator[ServerSentEvent],
        closing: asyncio.Event,
        heartbeat_seconds: float,
        retry_seconds: float,
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._closing = closing
        self._heartbeat_seconds = heartbeat_seconds
        self._retry = f"retry: {int(retry_seconds * 1000)}\n\n".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if (place := place_of(scope)) is not None:
                place.become_stream()
        except Overloaded:
            await _close_events(self._events)
            raise
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        deadline.begin(None)
        disconnected = asyncio.create_task(_disconnected(receive))
        closing = asyncio.create_task(self._closing.wait())
        try:
            last = await self._send_events(disconnected, closing, send)
        finally:
            disconnected.cancel()
            closing.cancel()
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _send_events(
        self, disconnected: "asyncio.Task[None]", closing: "asyncio.Task[bool]", send: Send
    ) -> bytes:
        """Send events until the stream ends, and return the last bytes to send."""
        coming = asyncio.create_task(_next_or_none(self._events))
        try:
            while True:
                done, _ = await asyncio.wait(
                    {disconnected, closing, coming},
                    timeout=self._heartbeat_seconds,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if disconnected in done:
                    return b""
                if coming in done:
                    event = coming.result()
                    if event is None:
                        return b""
                    await _send_chunk(send, event.encoded())
                    coming = asyncio.create_task(_next_or_none(self._events))
                if closing in done:
                    return self._retry
                if not done:
                    await _send_chunk(send, b": still here\n\n")
        except Exception:
            _log.exception("event stream failed; the client reconnects")
            return self._retry
        finally:
            coming.cancel()
            await asyncio.wait({coming})
            await _close_events(self._events)


async def _next_or_none(events: AsyncIterator[ServerSentEvent]) -> ServerSentEvent | None:
    """Return the next event; None at the end."""
    # The end is None, because a task cannot raise StopAsyncIteration.
    return await anext(events, None)


async def _close_events(events: AsyncIterator[ServerSentEvent]) -> None:
    """Close an iterator of events, if it is a generator."""
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()


async def _disconnected(receive: Receive) -> None:
    """Return when the client has disconnected."""
    # A request for a stream needs no body: if it has one that is too large or too slow, the stream
    # ends.
    with suppress(HTTPException):
        while (await receive())["type"] != "http.disconnect":
            continue


async def _send_chunk(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
