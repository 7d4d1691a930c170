"""A proxy that ends TLS in front of a PostgreSQL server that was built without TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from certificates import Pair

__all__ = ["TlsFront"]

# The PostgreSQL protocol calls this message SSLRequest.
_SSL_REQUEST = 80877103
_ACCEPTED = b"S"


class TlsFront:
    """The proxy; `encrypted` and `plain` count connections.

    With `callers_ca` clients must show a certificate.
    """

    def __init__(self, port: int, pair: Pair, callers_ca: Path | None) -> None:
        self._behind = port
        self._pair = pair
        self._callers_ca = callers_ca
        self.port = 0
        self.encrypted = self.plain = 0

    @classmethod
    @asynccontextmanager
    async def started(
        cls, port: int, pair: Pair, *, callers_ca: Path | None = None
    ) -> AsyncIterator["TlsFront"]:
        front = cls(port, pair, callers_ca)
        server = await asyncio.start_server(front._serve, "127.0.0.1", 0)
        front.port = server.sockets[0].getsockname()[1]
        try:
            yield front
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            try:
                first = await reader.readexactly(8)
                if int.from_bytes(first[4:]) == _SSL_REQUEST:
                    writer.write(_ACCEPTED)
                    await writer.start_tls(self._context())
                    self.encrypted += 1
                    first = b""
                else:
                    self.plain += 1
                await self._pass_on(first, reader, writer)
            finally:
                writer.close()

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._pair.certificate, self._pair.key)
        if self._callers_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self._callers_ca)
        return context

    async def _pass_on(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        behind, to_behind = await asyncio.open_connection("127.0.0.1", self._behind)
        to_behind.write(first)
        try:
            await asyncio.gather(_copy(reader, to_behind), _copy(behind, writer))
        finally:
            to_behind.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()
