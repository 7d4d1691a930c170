"""A client of the broker that publishes arbitrary bytes, without a client library."""

import asyncio
import json
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

__all__ = ["RawClient", "header_block"]


class RawClient:
    """A connection to the broker that is not a service's."""

    def __init__(self, nats_url: str) -> None:
        self._address = urlsplit(nats_url)

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(
            self._address.hostname, self._address.port
        )
        await self._reader.readline()
        options = json.dumps({"verbose": False, "headers": True})
        self._writer.write(f"CONNECT {options}\r\n".encode())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    def publish(self, subject: str, headers: bytes, data: bytes) -> None:
        """Publish a message with a block of headers, valid or not; an empty one means none."""
        if headers:
            sizes = f"{len(headers)} {len(headers) + len(data)}"
            self._writer.write(f"HPUB {subject} {sizes}\r\n".encode() + headers + data + b"\r\n")
        else:
            self._writer.write(f"PUB {subject} {len(data)}\r\n".encode() + data + b"\r\n")

    async def flush(self) -> None:
        """Return when the broker has received everything; raise if it refused a message."""
        self._writer.write(b"PING\r\n")
        while (line := (await self._reader.readline()).strip()) != b"PONG":
            if not line or line.startswith(b"-ERR"):
                raise AssertionError(f"the broker refused a message: {line!r}")


def header_block(headers: dict[str, str]) -> bytes:
    """Return headers as a client library writes them."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(["NATS/1.0", *lines, "", ""]).encode()
