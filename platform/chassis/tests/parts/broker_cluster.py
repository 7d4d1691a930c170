"""Three nats-servers that are a cluster, behind one address."""

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Self

from bookshop import eventually
from nats.errors import Error

from chassis.events.jetstream.api import JetStreamError, api_request
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from localservers import NatsServer
from localservers.ports import free_port

_SERVERS = 3


class BrokerCluster:
    """A context manager that runs the servers and a forwarder to any of them that runs."""

    def __init__(self, folder: Path) -> None:
        ports = [free_port() for _ in range(_SERVERS)]
        routes = ", ".join(f"nats://127.0.0.1:{port}" for port in ports)
        self.servers = [
            NatsServer(
                folder / f"nats-{port}",
                config=f"cluster {{name: c, listen: '127.0.0.1:{port}', routes: [{routes}]}}",
            )
            for port in ports
        ]
        self._front: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The URL of the forwarder."""
        assert self._front
        return f"nats://127.0.0.1:{self._front.sockets[0].getsockname()[1]}"

    async def leader(self, stream: str) -> NatsServer:
        """Return the server that leads a stream, once one does."""
        leaders: list[NatsServer] = []

        async def is_known() -> bool:
            with contextlib.suppress(JetStreamError, TimeoutError, OSError, Error):
                async with connection(NatsOptions(self.url), "operator") as client:
                    info = await api_request(client, f"STREAM.INFO.{stream}")
                name = info["cluster"].get("leader")
                leaders.extend(server for server in self.servers if server.server_name == name)
            return bool(leaders) and leaders[-1].running

        await eventually(is_known, 60)
        return leaders[-1]

    async def __aenter__(self) -> Self:
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in self.servers))
        self._front = await asyncio.start_server(self._accept, "127.0.0.1", 0)

        async def has_leader() -> bool:
            with contextlib.suppress(JetStreamError, TimeoutError, OSError, Error):
                async with connection(NatsOptions(self.url), "operator") as client:
                    await api_request(client, "STREAM.NAMES")
                    return True
            return False

        await eventually(has_leader, 60)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._front
        self._front.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*(asyncio.to_thread(server.kill) for server in self.servers))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for server in random.sample(self.servers, _SERVERS):
            with contextlib.suppress(OSError):
                there = await asyncio.open_connection("127.0.0.1", server.port)
                self._forward(reader, there[1])
                self._forward(there[0], writer)
                return
        writer.close()

    def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pump = asyncio.create_task(_pump(reader, writer))
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
