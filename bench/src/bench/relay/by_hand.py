"""The relay by hand: the bare driver, and 500 publications in one write.

The replies arrive on one inbox, and each is awaited before the rows are marked.
"""

import asyncio
import json
import sqlite3
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import nats
import orjson
import psycopg
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import StorageType, StreamConfig

from bench.meter import Meter
from bench.relay.rows import Row, found, read_rows, stored_data
from bench.worker import Check, Work, run

_BATCH = 500
_TABLE = (
    "CREATE TABLE outbox (id {id}, event_id text NOT NULL, subject text NOT NULL,"
    " headers text NOT NULL, payload {bytes} NOT NULL, sent_at text)"
)
_INDEX = "CREATE INDEX outbox_unsent ON outbox (id) WHERE sent_at IS NULL"
_INSERT = "INSERT INTO outbox (event_id, subject, headers, payload) VALUES ({0}, {0}, {0}, {0})"
_UNSENT = (
    "SELECT id, event_id, subject, headers, payload FROM outbox WHERE sent_at IS NULL"
    f" ORDER BY id LIMIT {_BATCH}"
)


class Outbox:
    """The outbox of a SQLite file or of a PostgreSQL database."""

    def __init__(self, url: str, subject: str, rows: list[Row]) -> None:
        self._sqlite = url.startswith("sqlite")
        self._connection: Any
        if self._sqlite:
            file = url.split("///", 1)[1]
            self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=wal")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            table = _TABLE.format(id="integer PRIMARY KEY", bytes="blob")
        else:
            self._connection = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
            id = "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
            table = _TABLE.format(id=id, bytes="bytea")
        cursor = self._connection.cursor()
        for statement in (table, _INDEX, "BEGIN"):
            cursor.execute(statement)
        values = [(row.event_id, subject, row.headers, row.data) for row in rows]
        cursor.executemany(_INSERT.format("?" if self._sqlite else "%s"), values)
        cursor.execute("COMMIT")

    def unsent(self) -> list[Any]:
        """Return the next unsent rows."""
        found: list[Any] = self._connection.execute(_UNSENT).fetchall()
        return found

    def mark(self, ids: list[int]) -> None:
        """Mark rows as sent."""
        if self._sqlite:
            these = "(SELECT value FROM json_each(?))"
            sql, parameter = (
                f"UPDATE outbox SET sent_at = 'now' WHERE id IN {these}",
                json.dumps(ids),
            )
            self._connection.execute(sql, (parameter,))
        else:
            self._connection.execute("UPDATE outbox SET sent_at = 'now' WHERE id = ANY(%s)", (ids,))


class Window:
    """Publications in one write, and their acknowledgments.

    It uses nats-py's own functions, because its public ones write each message by itself.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._number = 0

    async def start(self) -> None:
        """Listen to acknowledgments."""
        await self._client.subscribe(f"{self._inbox}.*", cb=self._acknowledged)

    async def publish(self, rows: list[Any]) -> None:
        """Publish rows; raise RuntimeError if the broker refuses one."""
        loop = asyncio.get_running_loop()
        parts, futures = [], []
        for _id, event_id, subject, headers, payload in rows:
            self._number += 1
            token = str(self._number)
            future = self._waiting[token] = loop.create_future()
            futures.append(future)
            lines = {**orjson.loads(headers), "Nats-Msg-Id": event_id}
            text = "".join([f"{name}: {value}\r\n" for name, value in lines.items()])
            block = f"NATS/1.0\r\n{text}\r\n".encode()
            head = (
                f"HPUB {subject} {self._inbox}.{token} {len(block)} {len(block) + len(payload)}\r\n"
            )
            parts.append(head.encode() + block + payload + b"\r\n")
        await self._client._send_command(b"".join(parts))  # noqa: SLF001
        await self._client._flush_pending()  # noqa: SLF001
        for future in futures:
            if b'"error"' in await future:
                raise RuntimeError("the broker refused a message")

    async def _acknowledged(self, message: Msg) -> None:
        future = self._waiting.pop(message.subject.rsplit(".", 1)[1], None)
        if future is not None and not future.done():
            future.set_result(message.data)


async def relay(work: Work, meter: Meter) -> Check:
    """Relay the events of the outbox."""
    client = await nats.connect(work.nats)
    context = client.jetstream()
    name = f"by-hand-{uuid.uuid4().hex[:8]}"
    subject = f"{name}.orders"
    await context.add_stream(StreamConfig(name=name, subjects=[subject], storage=StorageType.FILE))
    outbox = Outbox(work.database, subject, read_rows(work.orders, work.count))
    window = Window(client)
    await window.start()
    loop = asyncio.get_running_loop()
    done = 0
    with ThreadPoolExecutor(1) as thread:
        meter.mark(0)
        while done < work.count:
            rows = await loop.run_in_executor(thread, outbox.unsent)
            if not rows:
                raise RuntimeError(f"{done} events are in the outbox, not {work.count}")
            await window.publish(rows)
            await loop.run_in_executor(thread, outbox.mark, [row[0] for row in rows])
            done += len(rows)
    meter.mark(done)
    check = found(await stored_data(context, name, subject))
    await client.close()
    return check


if __name__ == "__main__":
    run(relay)
