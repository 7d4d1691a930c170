"""The service's connection to the broker: it comes up when the broker does, and stays."""

import asyncio
from collections.abc import Awaitable, Callable

import nats
import structlog
from nats.aio.client import Client

__all__ = ["Broker"]

_log = structlog.get_logger(__name__)
_RECONNECT_SECONDS = 0.25


class Broker:
    """A connection that is made in the background and made again whenever it breaks."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self.client = Client()
        self.connected = asyncio.Event()
        self._on_connected: list[Callable[[], Awaitable[None]]] = []
        self._on_disconnected: list[Callable[[], None]] = []

    def on_connected(self, call: Callable[[], Awaitable[None]]) -> None:
        """Call after the first connection and after each later one."""
        self._on_connected.append(call)

    def on_disconnected(self, call: Callable[[], None]) -> None:
        self._on_disconnected.append(call)

    async def run(self) -> None:
        """Connect, as often as it takes; after that the client reconnects by itself."""
        told = False
        while True:
            try:
                await self.client.connect(
                    self._url,
                    name=self._name,
                    connect_timeout=2,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_SECONDS,  # type: ignore[arg-type] # a float is fine
                    pending_size=0,  # nothing is held back for a broker made anew
                    ping_interval=5,
                    max_outstanding_pings=2,
                    error_cb=self._failed,
                    disconnected_cb=self._lost,
                    reconnected_cb=self._found,
                )
            except (OSError, nats.errors.Error, TimeoutError) as error:
                if not told:
                    _log.warning("waiting for the broker", url=self._url, error=str(error))
                    told = True
                await asyncio.sleep(_RECONNECT_SECONDS)
                continue
            await self._found()
            return

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if not self.client.is_closed:
            await self.client.close()

    async def _found(self) -> None:
        self.connected.set()
        for call in self._on_connected:
            try:
                await call()
            except Exception as error:
                _log.warning("after connecting", error=str(error))

    async def _lost(self) -> None:
        if self.connected.is_set() and not self.client.is_closed:
            _log.warning("the broker is away")
        self.connected.clear()
        for call in self._on_disconnected:
            call()

    async def _failed(self, _error: Exception) -> None:
        """What is wrong shows where the connection is used. But the library forgets the socket of
        an attempt to reconnect that failed, and leaves it open."""
        if not self.client.is_connected and self.client._transport:
            self.client._transport.close()  # type: ignore[no-untyped-call]
