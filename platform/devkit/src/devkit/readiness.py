"""Asks a service whether it is ready, without the weight of an HTTP client."""

import asyncio
from contextlib import suppress

__all__ = ["is_ready"]

_REQUEST = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def is_ready(port: int, *, seconds: float = 2) -> bool:
    """Whether GET /readyz on 127.0.0.1 answers 200 within `seconds`."""
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(_REQUEST)
                status = await reader.readline()
                await reader.read()
            finally:
                writer.close()
            return status.split(b" ")[1:2] == [b"200"]
    return False
