"""A service with FastAPI and FastStream, an inbox and an outbox, and a relay that polls."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import nats
import orjson
import sqlalchemy as sa
from fastapi import FastAPI
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from nats.js import JetStreamContext
from nats.js.api import AckPolicy as Acknowledged
from nats.js.api import ConsumerConfig
from sqlalchemy.ext.asyncio import AsyncConnection

from bench import asgi
from bench.saga.variables import DATABASE, KEY, NATS, STREAM, subject_of
from bench.sql import make_engine, metadata, note_event, outbox

__all__ = ["Data", "PeerService"]

Data = dict[str, Any]
Handler = Callable[[AsyncConnection, Data], Awaitable[None]]

_POLL_SECONDS = 0.1
_BATCH = 100
_UNSENT = (
    sa.select(outbox.c.id, outbox.c.event_id, outbox.c.subject, outbox.c.headers, outbox.c.payload)
    .where(outbox.c.sent_at.is_(None))
    .order_by(outbox.c.id)
    .limit(_BATCH)
)
_MARK = (
    outbox.update()
    .where(outbox.c.id.in_(sa.bindparam("ids", expanding=True)))
    .values(sent_at=sa.bindparam("now"))
)
_PUBLISH = outbox.insert().inline()


class PeerService:
    """A service of the shop. Handlers are added first; then it serves."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.engine = make_engine(os.environ[DATABASE])
        self.broker = NatsBroker(os.environ[NATS], logger=None)
        self.app = FastAPI(lifespan=self._lifespan)
        self._note = note_event(self.engine.dialect.name)

    def on(self, type: str, handle: Handler) -> None:
        """Handle each event of a type once, in one commit with its inbox row and its events."""

        async def receive(event: Data) -> None:
            async with self.engine.begin() as connection:
                noted = {"consumer": self.name, "event_id": event["id"]}
                if (await connection.execute(self._note, noted)).rowcount:
                    await handle(connection, event["data"])

        durable = f"{self.name}-{type}"
        self.broker.subscriber(
            subject_of(type),
            stream=JStream(STREAM, declare=False),
            durable=durable,
            config=ConsumerConfig(
                durable_name=durable, ack_policy=Acknowledged.EXPLICIT, max_ack_pending=5000
            ),
            pull_sub=PullSub(batch_size=_BATCH),
            ack_policy=AckPolicy.NACK_ON_ERROR,
        )(receive)

    async def publish(self, connection: AsyncConnection, type: str, data: Data) -> None:
        """Write an event of an order to the outbox."""
        id = str(uuid.uuid4())
        event = {
            "specversion": "1.0",
            "id": id,
            "source": self.name,
            "type": type,
            "subject": data["order_id"],
            "time": datetime.now(UTC).isoformat(),
            "datacontenttype": "application/json",
            "data": data,
        }
        row = {
            "event_id": id,
            "subject": subject_of(type),
            "headers": data["order_id"],
            "payload": orjson.dumps(event),
        }
        await connection.execute(_PUBLISH, row)

    async def prepare(self) -> None:
        """Create the tables. A service that needs rows in them overrides this."""
        async with self.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)

    def serve(self) -> None:
        """Serve until the process ends."""
        asgi.serve(self.app)

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        await self.prepare()
        await self.broker.start()
        client = await nats.connect(os.environ[NATS])
        relaying = asyncio.create_task(self._relay(client.jetstream()))
        yield
        relaying.cancel()
        await self.broker.stop()
        await client.close()
        await self.engine.dispose()

    async def _relay(self, stream: JetStreamContext) -> None:
        while True:
            if await self._relay_some(stream) < _BATCH:
                await asyncio.sleep(_POLL_SECONDS)

    async def _relay_some(self, stream: JetStreamContext) -> int:
        """Relay a batch. SQLite has one connection, which is free while messages are sent."""
        async with self.engine.connect() as connection:
            rows = (await connection.execute(_UNSENT)).all()
        if not rows:
            return 0
        for row in rows:
            headers = {"Nats-Msg-Id": row.event_id, KEY: row.headers}
            await stream.publish(row.subject, row.payload, headers=headers)
        async with self.engine.begin() as connection:
            values = {"ids": [row.id for row in rows], "now": datetime.now(UTC).isoformat()}
            await connection.execute(_MARK, values)
        return len(rows)
