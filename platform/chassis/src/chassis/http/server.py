"""Uvicorn inside the service's own event loop, which keeps the signals and the order of its end."""

import asyncio
import socket
from collections.abc import Callable
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from chassis.http.connection import Connection
from chassis.ports import HTTP, Variables, listen
from chassis.settings import ServiceSettings

__all__ = ["HttpServer"]

# How long a connection that is open when the server closes may take to send its next request.
_LINGER_SECONDS = 0.25
# Connections that the system keeps for the server until it looks at them.
_BACKLOG = 2048


class HttpServer:
    """Serves an application until it is stopped.

    `port` and the `variables` that set its address are those of the service's HTTP server unless
    given.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServiceSettings,
        *,
        port: int | None = None,
        variables: Variables = HTTP,
    ) -> None:
        self._host = settings.http_host
        self._port = settings.http_port if port is None else port
        self._variables = variables
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=partial(Connection, limits=settings, idle={}),  # type: ignore[arg-type]
                access_log=False,
                log_config=None,
                lifespan="off",
                server_header=False,
                timeout_keep_alive=settings.http_idle_timeout_seconds,  # type: ignore[arg-type]
                # A proxy in front of the service speaks for its clients.
                proxy_headers=False,
                ws="none",
            )
        )
        self._ticks: asyncio.Task[None] | None = None
        self._listener: socket.socket
        self.port = 0

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            CannotListen: with the reason.
        """
        listener = listen(self._host, self._port, self._variables, backlog=_BACKLOG)
        listener.setblocking(False)
        self._listener = listener
        self.port = listener.getsockname()[1]
        config = self._server.config
        config.load()
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup(sockets=[listener])
        self._ticks = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        # Uvicorn's own loop wakes ten times a second, for a header that changes once a second.
        while True:
            await self._server.on_tick(0)
            await asyncio.sleep(1)

    async def stop(self, seconds: float) -> None:
        """Accept no new connections, let running requests finish within so many seconds.

        A client on an open connection may be writing its next request at this moment: it is
        answered, and told that the connection ends with it. Only who stays silent is hung up on.
        """
        ends_at = asyncio.get_running_loop().time() + seconds
        await self._close_listener()
        state = self._server.server_state
        await _until(lambda: not state.connections, min(_LINGER_SECONDS, seconds))
        for connection in list(state.connections):
            connection.shutdown()
        loop = asyncio.get_running_loop()
        await _until(lambda: not state.connections and not state.tasks, ends_at - loop.time())
        for task in list(state.tasks):
            task.cancel()
        if self._ticks is not None:
            self._ticks.cancel()

    async def _close_listener(self) -> None:
        """Close it behind the last connection that has come, which a mere close would reset."""
        if self._listener.fileno() == -1:
            return
        came: list[socket.socket] = []
        with self._listener.dup() as door:
            for server in self._server.servers:
                server.close()
            # All at once: while somebody is waited for, ever more would come.
            for _ in range(_BACKLOG):
                try:
                    came.append(door.accept()[0])
                except BlockingIOError:
                    break
        loop = asyncio.get_running_loop()
        for connection in came:
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self._server.config.http_protocol_class(  # type: ignore[call-arg]
            config=self._server.config,
            server_state=self._server.server_state,
            app_state=self._server.lifespan.state,
        )
        return protocol


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    while not condition() and loop.time() < ends_at:
        await asyncio.sleep(0.01)
