"""A producer's database with any number of relays."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Self

from bookshop import TestSettings, eventually, prepare_database, sold
from google.protobuf.message import Message
from sqlalchemy import update

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, Transaction
from chassis.database import Database, tables
from chassis.event_settings import EventSettings
from chassis.events.jetstream.api import api_request
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.jetstream.stored_messages import Stored, read_from
from chassis.events.jetstream.streams import stream_state
from chassis.events.producer import outbox, sent_marks
from chassis.events.producer.event_factory import EventFactory
from chassis.events.producer.relay import Relay
from chassis.events.waiting import end
from chassis.events.wire import event_headers
from chassis.events.wire.contracts import event_type

STREAM = "bookstore"
TYPES = (BookSold, BookReturned)


class RunningRelay:
    """A relay that runs in this process until it is stopped."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self._task = asyncio.create_task(relay.run())

    async def stop(self) -> None:
        await end([self._task])

    async def ended(self) -> None:
        """Wait until the relay has ended by itself."""
        await asyncio.wait_for(self._task, 60)


class Shop:
    """A producer of BookSold and BookReturned; a test starts its relays."""

    def __init__(self, url: str, *, settings: EventSettings | None = None) -> None:
        self.url = url
        self.settings = settings or TestSettings()
        event_factory = EventFactory(STREAM, TYPES, max_bytes=self.settings.event_max_bytes)
        self.database = Database(url, event_factory)
        self.relays: list[RunningRelay] = []
        self.published: list[EventContext] = []
        self.fatal: list[Exception] = []

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(prepare_database, self.url)
        return self

    async def __aexit__(self, *_: object) -> None:
        for relay in self.relays:
            await relay.stop()
        await asyncio.to_thread(self.database.close)

    def start_relay(
        self,
        nats_url: str,
        *,
        types: Sequence[type[Message]] = TYPES,
        settings: EventSettings | None = None,
        **options: Any,
    ) -> RunningRelay:
        relay = RunningRelay(
            Relay(
                self.database,
                stream=STREAM,
                types=tuple(event_type(message) for message in types),
                nats_url=nats_url,
                settings=settings or self.settings,
                on_fatal=self.fatal.append,
                **options,
            )
        )
        self.relays.append(relay)
        return relay

    async def publish(self, *messages: Message) -> list[EventContext]:
        published = await self.database.transaction(lambda tx: [tx.publish(m) for m in messages])
        self.published += published
        return published

    async def sell(self, numbers: range, *, at_once: int = 1000) -> list[EventContext]:
        """Publish BookSold for each number, with `at_once` events in a transaction."""
        published = []
        for start in range(numbers.start, numbers.stop, at_once):
            some = range(start, min(start + at_once, numbers.stop))
            published += await self.publish(*(sold(n) for n in some))
        return published

    def wake(self) -> None:
        for relay in self.relays:
            relay.relay.wake()

    async def unsent(self) -> int:
        return await self.database.read(lambda tx: outbox.unsent_count(tx.session))

    async def sent(self, seconds: float = 60) -> None:
        """Wait until the outbox is empty."""

        async def is_sent() -> bool:
            self.wake()
            return await self.unsent() == 0

        await eventually(is_sent, seconds)

    async def marked(self, rank: int) -> None:
        """Wait until a sent mark exists for this rank."""

        async def is_marked() -> bool:
            return await self.database.read(lambda tx: sent_marks.highest(tx.session)) >= rank

        for running in self.relays:
            running.relay.reconcile()
        await eventually(is_marked)

    async def pass_time(self, seconds: float, *, broker: bool = True, host: bool = True) -> None:
        """Make sent events `seconds` older, by the broker's clock, the host's, or both."""

        def change(tx: Transaction) -> None:
            at = tables.sent_marks.c
            tx.session.execute(
                update(tables.sent_marks).values(
                    sent_at=at.sent_at - seconds * broker, noted_at=at.noted_at - seconds * host
                )
            )

        await self.database.transaction(change)


@contextlib.asynccontextmanager
async def relay_process(url: str, nats_url: str, *steps: str) -> AsyncIterator[Process]:
    """Run a process of `relay_process.py`, and kill it at the end of the block."""
    arguments = [str(Path(__file__).with_name("relay_process.py")), url, nats_url, *steps]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class StreamView:
    """The messages of a stream, read over a connection of its own."""

    def __init__(self, nats_url: str, stream: str = STREAM) -> None:
        self._url = nats_url
        self._stream = stream

    async def messages(self) -> list[Stored]:
        async with connection(NatsOptions(self._url), "view") as client:
            state = await stream_state(client, self._stream)
            return [m async for m in read_from(client, self._stream, state.first_sequence)]

    async def ranks(self) -> list[int]:
        return [
            int(event_headers.header(m.headers, event_headers.RANK) or 0)
            for m in await self.messages()
        ]

    async def ids(self) -> list[str]:
        return [event_headers.header(m.headers, "ce-id") or "" for m in await self.messages()]

    async def api(self, subject: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request to the JetStream API, as an administrator does."""
        async with connection(NatsOptions(self._url), "view") as client:
            return await api_request(client, subject, body)


def in_order(view: Sequence[str], published: Sequence[EventContext]) -> bool:
    """Whether ids are those of the published events, each once, and in order for each key."""
    return by_key(published, view) == by_key(published, [p.id for p in published])


def by_key(published: Sequence[EventContext], ids: Sequence[str]) -> dict[str, list[str]]:
    key = {p.id: p.partition_key or "" for p in published}
    keys: dict[str, list[str]] = {k: [] for k in key.values()}
    for id in ids:
        keys.setdefault(key.get(id, "unknown"), []).append(id)
    return keys


def once(call: Callable[[], None]) -> Callable[[], None]:
    """Return a function that calls only once."""
    calls = [call]
    return lambda: calls.pop()() if calls else None
