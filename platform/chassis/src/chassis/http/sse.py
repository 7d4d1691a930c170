"""Server-sent events that end when the service does."""

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
# The standard's line ends; str.splitlines knows more, which are data here.
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event of a stream.

    A browser that comes back sends the `id` of the last one it got as Last-Event-ID.
    """

    data: str
    id: str | None = None
    event: str | None = None

    def encoded(self) -> bytes:
        """As it goes over the wire."""
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
    """A response that sends `events` as they come, and comments in between to keep it open.

    It ends when `events` do, when the client goes away (`events` is closed then), and when the
    service shuts down or `events` fail: then with the hint to come back in `retry_seconds`.
    Calls to other services have no common deadline in it, each has its own.
    """
    closing: asyncio.Event = getattr(request.app.state, "closing", None) or asyncio.Event()
    return _EventStream(events, closing, heartbeat_seconds, retry_seconds)


class _EventStream(Response):
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
                place.becomes_stream()
        except Overloaded:
            await _close(self._events)
            raise
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        deadline.begin(None)
        gone = asyncio.create_task(_gone(receive))
        closing = asyncio.create_task(self._closing.wait())
        try:
            last = await self._send_events(gone, closing, send)
        finally:
            gone.cancel()
            closing.cancel()
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _send_events(
        self, gone: "asyncio.Task[None]", closing: "asyncio.Task[bool]", send: Send
    ) -> bytes:
        """Returns what is left to say."""
        coming = asyncio.create_task(_next(self._events))
        try:
            while True:
                done, _ = await asyncio.wait(
                    {gone, closing, coming},
                    timeout=self._heartbeat_seconds,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if gone in done:
                    return b""
                if coming in done:
                    event = coming.result()
                    if event is None:
                        return b""
                    await _write(send, event.encoded())
                    coming = asyncio.create_task(_next(self._events))
                if closing in done:
                    return self._retry
                if not done:
                    await _write(send, b": still here\n\n")
        except Exception:
            _log.exception("event stream failed")
            return self._retry
        finally:
            coming.cancel()
            await asyncio.wait({coming})
            await _close(self._events)


async def _next(events: AsyncIterator[ServerSentEvent]) -> ServerSentEvent | None:
    # A task cannot end with StopAsyncIteration.
    return await anext(events, None)


async def _close(events: AsyncIterator[ServerSentEvent]) -> None:
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()


async def _gone(receive: Receive) -> None:
    # A request for a stream has no body: one that is too large or too slow ends it.
    with suppress(HTTPException):
        while (await receive())["type"] != "http.disconnect":
            continue


async def _write(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})
