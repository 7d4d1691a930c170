"""Uvicorn in the service's event loop; signals and the order of the stop stay with the service."""

import asyncio
import socket
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from chassis.http.connection import Connection
from chassis.ports import HTTP, Variables, listen
from chassis.settings import ServiceSettings

__all__ = ["HttpServer"]

_LINGER_SECONDS = 0.25
# The kernel queues up to this many connections until the server accepts them.
_BACKLOG = 2048


class HttpServer:
    """An HTTP server for one application.

    `port` and `variables`, the variables that set its address, are by default those of the
    service's HTTP server. An open connection may send a request within `linger_seconds` of `stop`.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServiceSettings,
        *,
        port: int | None = None,
        variables: Variables = HTTP,
        linger_seconds: float = _LINGER_SECONDS,
    ) -> None:
        self._host = settings.http_host
        self._port = settings.http_port if port is None else port
        self._variables = variables
        self._linger_seconds = linger_seconds
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=partial(  # type: ignore[arg-type]
                    Connection, limits=settings, idle={}, renew_date=self._renew_date
                ),
                access_log=False,
                log_config=None,
                lifespan="off",
                server_header=False,
                timeout_keep_alive=settings.http_idle_timeout_seconds,  # type: ignore[arg-type]
                # `proxied` reads the proxies' headers instead.
                proxy_headers=False,
                ws="none",
            )
        )
        self._date_in_seconds = -1
        self._listener: socket.socket
        self.port = 0

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._server.server_state.connections)

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            CannotListen: the address cannot be listened on; the message says why.
        """
        listener = listen(self._host, self._port, self._variables, backlog=_BACKLOG)
        listener.setblocking(False)
        self._listener = listener
        self.port = listener.getsockname()[1]
        config = self._server.config
        config.load()
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup(sockets=[listener])

    def _renew_date(self) -> None:
        """Set the Date header of responses to requests that begin now."""
        # Uvicorn's own loop is not used, because it wakes ten times a second for this.
        now = int(time.time())
        if now != self._date_in_seconds:
            self._date_in_seconds = now
            date = formatdate(now, usegmt=True).encode()
            headers = self._server.config.encoded_headers
            self._server.server_state.default_headers = [(b"date", date), *headers]

    async def stop(self, seconds: float) -> None:
        """Accept no new connections and let running requests finish, for at most `seconds`.

        A client may be sending its next request on an open connection at this moment: that request
        is answered, and its response closes the connection. Silent connections are closed.
        """
        ends_at = asyncio.get_running_loop().time() + seconds
        await self._close_listener()
        state = self._server.server_state
        await _wait_until(lambda: not state.connections, min(self._linger_seconds, seconds))
        for connection in list(state.connections):
            connection.shutdown()
        loop = asyncio.get_running_loop()
        await _wait_until(lambda: not state.connections and not state.tasks, ends_at - loop.time())
        for task in list(state.tasks):
            task.cancel()

    async def _close_listener(self) -> None:
        """Close the listener, but serve the connections in its queue, which a close would reset."""
        if self._listener.fileno() == -1:
            return
        queued: list[socket.socket] = []
        with self._listener.dup() as listener:
            for server in self._server.servers:
                server.close()
            # Accepted without awaiting, because more connections would be queued in the meantime.
            for _ in range(_BACKLOG):
                try:
                    queued.append(listener.accept()[0])
                except BlockingIOError:
                    break
        loop = asyncio.get_running_loop()
        for connection in queued:
            connection.setblocking(False)
            await loop.connect_accepted_socket(self._new_connection, connection)

    def _new_connection(self) -> asyncio.Protocol:
        """Return the protocol of a connection that this server has accepted itself."""
        protocol: asyncio.Protocol = self._server.config.http_protocol_class(  # type: ignore[call-arg]
            config=self._server.config,
            server_state=self._server.server_state,
            app_state=self._server.lifespan.state,
        )
        return protocol


async def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds
    while not condition() and loop.time() < ends_at:
        await asyncio.sleep(0.01)
