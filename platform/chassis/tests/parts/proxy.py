"""A TCP proxy in front of a server, which holds, drops or cuts the traffic."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

Direction = Literal["to_server", "to_client"]
Tap = Callable[[bytes], None]
_MAX_MARKER = 64


@dataclass
class _Trigger:
    direction: Direction
    marker: bytes
    act: Callable[[], None]


class Proxy:
    """A context manager that listens on a free port of 127.0.0.1 until the end of the block.

    `tap` returns, for each connection, a function that is called with the bytes of its client.
    """

    def __init__(self, port: int, *, tap: Callable[[], Tap] | None = None) -> None:
        self._server_port = port
        self._tap = tap
        self._listener: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._open: dict[Direction, asyncio.Event] = {
            "to_server": asyncio.Event(),
            "to_client": asyncio.Event(),
        }
        self._dropping: set[Direction] = set()
        self._triggers: list[_Trigger] = []
        self.refusing = False
        self.release()

    @property
    def port(self) -> int:
        assert self._listener
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def hold(self, direction: Direction) -> None:
        """Keep all following bytes, in order, until `release`."""
        self._open[direction].clear()

    def release(self) -> None:
        """Let all bytes pass again, the held ones first."""
        self._dropping.clear()
        for gate in self._open.values():
            gate.set()

    def drop(self, direction: Direction) -> None:
        """Discard all following bytes."""
        self._dropping.add(direction)

    def stall(self) -> None:
        """Stop reading from the connections that are open now, but not from later ones."""
        for pump in self._pumps:
            pump.cancel()

    def cut(self) -> None:
        """Break every connection; held bytes are lost."""
        for writer in self._writers:
            writer.transport.abort()

    def when(self, direction: Direction, marker: bytes, act: Callable[[], None]) -> None:
        """Call `act` once, when the marker arrives and before any of it passes."""
        assert len(marker) <= _MAX_MARKER
        self._triggers.append(_Trigger(direction, marker, act))

    def hold_at(self, direction: Direction, marker: bytes) -> asyncio.Event:
        """Hold all bytes from the marker on; return an event that is set when it arrives."""
        held = asyncio.Event()

        def hold() -> None:
            self.hold(direction)
            held.set()

        self.when(direction, marker, hold)
        return held

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._listener
        self._listener.close()
        self.cut()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for writer in self._writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()
            return
        self._writers += [writer, back]
        self._pump("to_server", reader, back, self._tap and self._tap())
        self._pump("to_client", there, writer)

    def _pump(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        tap: Tap | None = None,
    ) -> None:
        task = asyncio.create_task(self._run(direction, reader, writer, tap))
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)

    async def _run(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        tap: Tap | None,
    ) -> None:
        # The last bytes are kept, because they may be the beginning of a marker.
        held = b""
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                if tap:
                    tap(chunk)
                held = await self._pass(direction, held + chunk, writer)
        writer.close()

    async def _pass(self, direction: Direction, data: bytes, writer: asyncio.StreamWriter) -> bytes:
        for trigger in [t for t in self._triggers if t.direction == direction]:
            before, marker, after = data.partition(trigger.marker)
            if marker:
                await self._send(direction, before, writer)
                self._triggers.remove(trigger)
                trigger.act()
                data = marker + after
        keep = max(
            (
                n
                for t in self._triggers
                if t.direction == direction
                for n in range(1, len(t.marker))
                if data.endswith(t.marker[:n])
            ),
            default=0,
        )
        split = len(data) - keep
        await self._send(direction, data[:split], writer)
        return data[split:]

    async def _send(self, direction: Direction, data: bytes, writer: asyncio.StreamWriter) -> None:
        await self._open[direction].wait()
        if direction not in self._dropping:
            writer.write(data)
            await writer.drain()
