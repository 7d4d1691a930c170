"""An HTTP client that can break the protocol: it writes bytes and reads responses."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from chassis.http.server import HttpServer

__all__ = ["Answer", "RawClient", "connected", "wait_for_connections"]

WAIT_SECONDS = 60


@dataclass(frozen=True)
class Answer:
    """A response: its status, its headers in lower case, its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The body of a problem."""
        assert self.headers["content-type"] == "application/problem+json"
        problem: dict[str, Any] = json.loads(self.body)
        assert problem["status"] == self.status
        return problem


class RawClient:
    """A client with one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Write bytes, and wait until the kernel has accepted most of them."""
        self._writer.write(data)
        await self._writer.drain()

    async def send_until_disconnected(self, first: bytes, piece: bytes, most: int) -> int:
        """Send pieces until the server disconnects, up to `most` bytes; return the bytes sent."""
        sent = 0
        try:
            await self.send(first)
            while sent < most:
                await self.send(piece)
                sent += len(piece)
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        return sent

    async def drip(self, data: bytes, seconds: float) -> None:
        """Send a byte every `seconds` until the server disconnects."""
        try:
            for byte in data:
                await self.send(bytes([byte]))
                await asyncio.sleep(seconds)
        except ConnectionError:
            pass

    async def answer(self) -> Answer:
        """Return the next response."""
        async with asyncio.timeout(WAIT_SECONDS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head.strip().split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (field.partition(":") for field in fields)
            }
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(line.split()[1]), headers, body)

    async def read_until_closed(self) -> bytes:
        """Return the bytes received until the server closes or resets the connection."""
        got = b""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while piece := await self._reader.read(65536):
                    got += piece
        except ConnectionError:
            pass
        return got

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


@asynccontextmanager
async def connected(server: HttpServer) -> AsyncIterator[RawClient]:
    """Yield a client that is connected to the server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()


async def wait_for_connections(server: HttpServer, count: int) -> None:
    """Wait until the server has `count` open connections."""
    async with asyncio.timeout(WAIT_SECONDS):
        while server.connections != count:
            await asyncio.sleep(0.01)
