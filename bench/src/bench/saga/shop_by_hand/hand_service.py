"""A service that takes events from an ordered consumer and publishes without waiting."""

import os
import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import nats
import orjson
import psycopg
from fastapi import FastAPI
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from bench import asgi
from bench.saga.variables import DATABASE, KEY, NATS, subject_of

__all__ = ["Data", "HandService", "Row"]

Data = dict[str, Any]
Row = Sequence[Any]
Handler = Callable[[Data], Awaitable[None]]


class HandService:
    """A service of the shop, whose database has `tables`, in statements that end with ;."""

    client: Client

    def __init__(self, name: str, tables: str) -> None:
        self.name = name
        self.app = FastAPI(lifespan=self._lifespan)
        self._tables = tables
        self._handlers: dict[str, Handler] = {}
        self._answers: dict[str, Callable[[Msg], Awaitable[None]]] = {}
        url = os.environ[DATABASE]
        self._postgres = url.startswith("postgresql")
        self._connection: Any = (
            psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
            if self._postgres
            else sqlite3.connect(url.split("///", 1)[1], isolation_level=None)
        )

    def on(self, type: str, handle: Handler) -> None:
        """Handle each event of a type."""
        self._handlers[type] = handle

    def answer(self, subject: str, respond: Callable[[Msg], Awaitable[None]]) -> None:
        """Respond to each request on a subject."""
        self._answers[subject] = respond

    def begin(self) -> None:
        """Begin a transaction."""
        self._connection.execute("BEGIN" if self._postgres else "BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit the transaction."""
        self._connection.execute("COMMIT")

    def run(self, statement: str, values: Row = ()) -> Any:
        """Run a statement with ? in the places of its values; return the driver's cursor."""
        return self._connection.execute(self._placed(statement), values)

    def run_many(self, statement: str, rows: Sequence[Row]) -> None:
        """Run a statement for each row."""
        self._connection.cursor().executemany(self._placed(statement), rows)

    def in_list(self, values: Sequence[object]) -> str:
        """Return the places of these values in a list."""
        return f"({', '.join('?' for _ in values)})"

    async def publish(self, type: str, data: Data) -> None:
        """Publish an event of an order, without waiting until it is stored."""
        event = {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "source": self.name,
            "type": type,
            "subject": data["order_id"],
            "time": datetime.now(UTC).isoformat(),
            "datacontenttype": "application/json",
            "data": data,
        }
        headers = {KEY: data["order_id"]}
        await self.client.publish(subject_of(type), orjson.dumps(event), headers=headers)

    async def prepare(self) -> None:
        """Create the tables. A service that needs rows in them overrides this."""
        if not self._postgres:
            self._connection.execute("PRAGMA journal_mode=wal")
            self._connection.execute("PRAGMA synchronous=NORMAL")
        for statement in self._tables.split(";")[:-1]:
            self._connection.execute(statement)

    def serve(self) -> None:
        """Serve until the process ends."""
        asgi.serve(self.app)

    def _placed(self, statement: str) -> str:
        return statement.replace("?", "%s") if self._postgres else statement

    @asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        await self.prepare()
        self.client = await nats.connect(os.environ[NATS])
        for type, handle in self._handlers.items():
            await self._subscribe(type, handle)
        for subject, respond in self._answers.items():
            await self.client.subscribe(subject, cb=respond)
        yield
        await self.client.close()
        self._connection.close()

    async def _subscribe(self, type: str, handle: Handler) -> None:
        async def receive(message: Msg) -> None:
            await handle(orjson.loads(message.data)["data"])

        await self.client.jetstream().subscribe(
            subject_of(type), cb=receive, ordered_consumer=True, deliver_policy=DeliverPolicy.NEW
        )
