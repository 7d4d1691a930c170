"""The usual relay: SQLAlchemy's asynchronous layer, and each publication is awaited by itself."""

import uuid

import nats
import orjson
import sqlalchemy as sa
from nats.js.api import StorageType, StreamConfig

from bench.meter import Meter
from bench.relay.rows import batches, found, read_rows, stored_data
from bench.sql import make_engine, metadata, outbox
from bench.worker import Check, Work, run

_BATCH = 100
_AT_ONCE = 1000
_UNSENT = (
    sa.select(outbox.c.id, outbox.c.event_id, outbox.c.subject, outbox.c.headers, outbox.c.payload)
    .where(outbox.c.sent_at.is_(None))
    .order_by(outbox.c.id)
    .limit(_BATCH)
    .with_for_update(skip_locked=True)
)
_MARK = (
    outbox.update()
    .where(outbox.c.id.in_(sa.bindparam("ids", expanding=True)))
    .values(sent_at="2026-01-01T00:00:00Z")
)


async def relay(work: Work, meter: Meter) -> Check:
    """Relay the events of the outbox."""
    client = await nats.connect(work.nats)
    context = client.jetstream()
    name = f"awaited-{uuid.uuid4().hex[:8]}"
    subject = f"{name}.orders"
    await context.add_stream(StreamConfig(name=name, subjects=[subject], storage=StorageType.FILE))
    engine = make_engine(work.database)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
        for rows in batches(read_rows(work.orders, work.count), _AT_ONCE):
            values = [
                {
                    "event_id": row.event_id,
                    "subject": subject,
                    "headers": row.headers,
                    "payload": row.data,
                }
                for row in rows
            ]
            await connection.execute(outbox.insert().inline(), values)
    done = 0
    meter.mark(0)
    while done < work.count:
        async with engine.begin() as connection:
            found_rows = (await connection.execute(_UNSENT)).all()
            for row in found_rows:
                headers = {**orjson.loads(row.headers), "Nats-Msg-Id": row.event_id}
                await context.publish(row.subject, row.payload, headers=headers)
            await connection.execute(_MARK, {"ids": [row.id for row in found_rows]})
        done += len(found_rows)
    meter.mark(done)
    await engine.dispose()
    check = found(await stored_data(context, name, subject))
    await client.close()
    return check


if __name__ == "__main__":
    run(relay)
