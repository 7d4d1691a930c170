"""Asks a service how it is, without the weight of an HTTP client."""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

__all__ = ["Answer", "ask", "is_ready"]

_REQUEST = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What /readyz said. Dead letters, stopped lanes and paused types are None if it is silent."""

    ready: bool
    dead_letters: int | None = None
    stopped_lanes: tuple[str, ...] | None = None
    paused_types: tuple[str, ...] | None = None


async def ask(port: int, *, seconds: float = 2) -> Answer:
    """What GET /readyz on 127.0.0.1 answers within `seconds`; nobody there is not ready."""
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(_REQUEST)
                status = await reader.readline()
                rest = await reader.read()
            finally:
                writer.close()
            return _answer(status.split(b" ")[1:2] == [b"200"], rest.partition(b"\r\n\r\n")[2])
    return Answer(False)


async def is_ready(port: int, *, seconds: float = 2) -> bool:
    """Whether GET /readyz on 127.0.0.1 answers 200 within `seconds`."""
    return (await ask(port, seconds=seconds)).ready


def _answer(ready: bool, body: bytes) -> Answer:
    try:
        events: Any = json.loads(body)["events"]
        stopped, paused = events["stopped_lanes"], events.get("paused_types")
        return Answer(
            ready,
            events["dead_letters"],
            None if stopped is None else tuple(stopped),
            None if paused is None else tuple(paused),
        )
    except (ValueError, KeyError, TypeError):  # one without events, or not ready
        return Answer(ready)
