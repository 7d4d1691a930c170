"""A reverse proxy that publishes a service below a prefix."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["reverse_proxy"]


@asynccontextmanager
async def reverse_proxy(
    port: int, *, prefix: str, strip: bool, forwarded: dict[str, str]
) -> AsyncIterator[str]:
    """Yield the URL at which the proxy publishes the service on `port`.

    The proxy adds the headers `forwarded`, and answers 404 outside of the prefix.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        line, rest = head.split(b"\r\n", 1)
        method, path, version = line.split(b" ")
        if not path.startswith(prefix.encode() + b"/"):
            writer.write(
                b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
        else:
            path = path[len(prefix) :] if strip else path
            added = {"connection": "close", **forwarded}
            fields = "".join(f"{name}: {value}\r\n" for name, value in added.items()).encode()
            kept = b"".join(
                field + b"\r\n"
                for field in rest.strip().split(b"\r\n")
                if not field.lower().startswith(b"connection:")
            )
            behind, to_it = await asyncio.open_connection("127.0.0.1", port)
            to_it.write(b" ".join((method, path, version)) + b"\r\n" + kept + fields + b"\r\n")
            while piece := await behind.read(65536):
                writer.write(piece)
            to_it.close()
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{prefix}"
