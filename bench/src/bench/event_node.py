"""The event path of a service in this process, without servers for HTTP and gRPC."""

import asyncio
from collections.abc import Sequence
from typing import Self

import nats
from google.protobuf.message import Message
from nats.js.errors import NotFoundError

from chassis import EventRouter, garbage
from chassis.database import Database, migrate
from chassis.event_settings import EventSettings
from chassis.events.handlers.binding import bind_all
from chassis.events.path import EventPath
from chassis.events.producer.event_factory import EventFactory
from chassis.events.wire.contracts import event_type

__all__ = ["EventNode"]

_CONNECT_SECONDS = 60.0


class EventNode:
    """A service's database and event path, as the lifecycle assembles them.

    `relays` says whether published events leave the outbox.
    """

    def __init__(
        self,
        service: str,
        database: str,
        nats_url: str,
        *,
        router: EventRouter | None = None,
        publishes: Sequence[type[Message]] = (),
        relays: bool = True,
        settings: EventSettings | None = None,
    ) -> None:
        self._service = service
        self._nats_url = nats_url
        settings = settings or EventSettings()
        handlers, broadcasts = bind_all([router] if router else [], settings)
        migrate(database)
        self.database = Database(database, EventFactory(service, tuple(publishes)))
        self.path = EventPath(
            service=service,
            version="1",
            nats_url=nats_url,
            settings=settings,
            database=self.database,
            handlers=handlers,
            broadcasts=broadcasts,
            publishes=[event_type(message) for message in publishes] if relays else [],
        )

    async def start(self, *, keeps_stream: bool = False) -> Self:
        """Start the event path, and wait until it is connected.

        Before that, a flush of the outbox would wait for nothing. The service's own stream is
        deleted first unless it is kept, because an earlier round's would be read to its end.
        """
        if not keeps_stream:
            await self._delete_stream()
        await self.path.start()
        async with asyncio.timeout(_CONNECT_SECONDS):
            await self.path.broker.connected.wait()
            if self.path.members:
                await self.path.members.joined.wait()
        garbage.settle()
        return self

    async def stop_handling(self) -> None:
        """Finish the events that are being handled, and take no more."""
        await self.path.stop_handling()

    async def flush(self, seconds: float) -> None:
        """Wait until the outbox is empty.

        Raises:
            TimeoutError: it is not within `seconds`.
        """
        assert self.path.producing is not None, "the node does not relay"
        async with asyncio.timeout(seconds):
            await self.path.producing.relay.flushed()

    async def close(self) -> None:
        """Close connections and database."""
        await self.path.close()
        await asyncio.to_thread(self.database.close)

    async def _delete_stream(self) -> None:
        """Delete the stream of an earlier round."""
        client = await nats.connect(self._nats_url)
        try:
            await client.jetstream().delete_stream(self._service)
        except NotFoundError:
            pass
        finally:
            await client.close()
