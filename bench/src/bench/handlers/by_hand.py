"""The handlers by hand: nats-py and the bare driver, 500 events in a commit, no framework.

Variants: "one update each", "set-based", and "no database", which only fetches and acknowledges.
"""

import asyncio
import sqlite3
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import nats
import orjson
import psycopg
from nats.errors import TimeoutError as NoMessages
from nats.js.api import AckPolicy, ConsumerConfig

from bench.handlers.accounts import ACCOUNTS, account_of, found
from bench.handlers.streams import PEER_STREAM, PEER_SUBJECT
from bench.meter import Meter
from bench.worker import Check, Work, run

_BATCH = 500
_TABLES = """
CREATE TABLE inbox (consumer text NOT NULL, event_id text NOT NULL,
                    PRIMARY KEY (consumer, event_id));
CREATE TABLE outbox (id {id}, event_id text NOT NULL, subject text NOT NULL,
                     payload {bytes} NOT NULL, sent_at text);
CREATE INDEX outbox_unsent ON outbox (id) WHERE sent_at IS NULL;
CREATE TABLE account (id integer PRIMARY KEY, orders integer NOT NULL);
"""

Row = tuple[str, bytes]


class Store(Protocol):
    """A database that takes a batch in one commit."""

    def take(self, ids: list[str], accounts: list[int], published: list[Row]) -> None: ...

    def check(self) -> Check: ...


class Sqlite:
    """A SQLite file."""

    def __init__(self, url: str, *, set_based: bool) -> None:
        self._set_based = set_based
        self._connection = sqlite3.connect(
            url.split("///", 1)[1], isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode=wal")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_TABLES.format(id="integer PRIMARY KEY", bytes="blob"))
        self._connection.execute("BEGIN")
        rows = [(id,) for id in range(ACCOUNTS)]
        self._connection.executemany("INSERT INTO account VALUES (?, 0)", rows)
        self._connection.execute("COMMIT")

    def take(self, ids: list[str], accounts: list[int], published: list[Row]) -> None:
        """Take a batch in one commit."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT OR IGNORE INTO inbox VALUES ('inventory', ?)", [(id,) for id in ids]
        )
        if self._set_based:
            connection.execute(
                "UPDATE account SET orders = orders + added.count FROM"
                " (SELECT value AS id, count(*) AS count FROM json_each(?) GROUP BY value) AS added"
                " WHERE account.id = added.id",
                (orjson.dumps(accounts).decode(),),
            )
        else:
            connection.executemany(
                "UPDATE account SET orders = orders + 1 WHERE id = ?", [(n,) for n in accounts]
            )
        connection.executemany(
            "INSERT INTO outbox (event_id, subject, payload) VALUES (?, 'stock.reserved', ?)",
            published,
        )
        connection.execute("COMMIT")

    def check(self) -> Check:
        """Return what the database holds."""
        return _check(self._connection)


class Postgres:
    """A PostgreSQL database, with psycopg's pipeline."""

    def __init__(self, url: str, *, set_based: bool) -> None:
        self._set_based = set_based
        self._connection = psycopg.connect(url.replace("+psycopg", ""))
        id = "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
        for statement in _TABLES.format(id=id, bytes="bytea").split(";")[:-1]:
            self._connection.execute(statement.encode())
        self._connection.execute(
            "INSERT INTO account SELECT id, 0 FROM generate_series(0, %s) AS id", (ACCOUNTS - 1,)
        )
        self._connection.commit()

    def take(self, ids: list[str], accounts: list[int], published: list[Row]) -> None:
        """Take a batch in one commit."""
        with self._connection.cursor() as cursor, self._connection.pipeline():
            cursor.execute(
                "INSERT INTO inbox SELECT 'inventory', unnest(%s::text[]) ON CONFLICT DO NOTHING",
                (ids,),
            )
            if self._set_based:
                cursor.execute(
                    "UPDATE account SET orders = orders + added.count FROM (SELECT id, count(*) AS"
                    " count FROM unnest(%s::int[]) AS id GROUP BY id) AS added"
                    " WHERE account.id = added.id",
                    (accounts,),
                )
            else:
                cursor.executemany(
                    "UPDATE account SET orders = orders + 1 WHERE id = %s", [(n,) for n in accounts]
                )
            cursor.execute(
                "INSERT INTO outbox (event_id, subject, payload) SELECT id, 'stock.reserved', data"
                " FROM unnest(%s::text[], %s::bytea[]) AS row (id, data)",
                ([id for id, _ in published], [data for _, data in published]),
            )
        self._connection.commit()

    def check(self) -> Check:
        """Return what the database holds."""
        return _check(self._connection)


def _check(connection: Any) -> Check:
    rows = connection.execute("SELECT id, orders FROM account WHERE orders > 0").fetchall()
    payloads = connection.execute("SELECT payload FROM outbox").fetchall()
    events = [orjson.loads(payload)["data"] for (payload,) in payloads]
    published = [(data["order_id"], int(data["total"]["amount"])) for data in events]
    return found(sum(orders for _, orders in rows), dict(rows), published)


def take(store: Store | None, messages: list[bytes]) -> None:
    """Handle a batch of messages."""
    events = [orjson.loads(message) for message in messages]
    if store is None:
        return
    store.take(
        [event["id"] for event in events],
        [account_of(event["data"]["order_id"]) for event in events],
        [_reserved(event) for event in events],
    )


def _reserved(received: dict[str, Any]) -> Row:
    """Return the row of the event that answers an order."""
    order = received["data"]
    id = str(uuid.uuid4())
    event = {
        "specversion": "1.0",
        "id": id,
        "source": "inventory",
        "type": "shop.inventory.v1.StockReserved",
        "subject": order["order_id"],
        "time": "2026-01-01T00:00:00Z",
        "correlationid": received["correlationid"],
        "causationid": received["id"],
        "data": {name: order[name] for name in ("order_id", "customer_id", "total")},
    }
    return id, orjson.dumps(event)


def open_store(work: Work) -> Store | None:
    """Return the database of the work; None if it has none."""
    if work.variant == "no database":
        return None
    kind = Postgres if work.database.startswith("postgresql") else Sqlite
    return kind(work.database, set_based=work.variant == "set-based")


async def handle(work: Work, meter: Meter) -> Check:
    """Handle the events of the stream."""
    store = open_store(work)
    client = await nats.connect(work.nats)
    durable = f"bench-{uuid.uuid4().hex}"
    subscription = await client.jetstream().pull_subscribe(
        PEER_SUBJECT,
        durable,
        PEER_STREAM,
        config=ConsumerConfig(
            durable_name=durable, ack_policy=AckPolicy.EXPLICIT, max_ack_pending=5000
        ),
    )
    loop = asyncio.get_running_loop()
    handled = 0
    with ThreadPoolExecutor(1) as thread:
        while handled < work.count:
            try:
                messages = await subscription.fetch(min(_BATCH, work.count - handled), timeout=2)
            except NoMessages:
                continue
            await loop.run_in_executor(thread, take, store, [m.data for m in messages])
            for message in messages:
                await message.ack()
            before, handled = handled, handled + len(messages)
            if before < work.warm <= handled:
                meter.mark(handled)
    await client.flush()
    meter.mark(handled)
    await client.close()
    return store.check() if store else {}


if __name__ == "__main__":
    run(handle)
