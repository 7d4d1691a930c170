"""A stream has more subjects than one request to the broker may name, which are 1,024."""

from pathlib import Path

import pytest
from bookshop import Node, TestSettings, eventually, prepare_database
from many_types import KEYS, all_subjects, many_types
from relaying import RunningRelay

from chassis import EventRouter, Transaction
from chassis.database import Database
from chassis.events.jetstream import stored_messages
from chassis.events.jetstream.api import api_request
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.jetstream.stored_messages import last_messages
from chassis.events.jetstream.streams import stream_state
from chassis.events.producer.event_factory import EventFactory
from chassis.events.producer.relay import Relay
from chassis.events.wire.contracts import event_type
from localservers import NatsServer


@pytest.mark.long
async def test_their_events_are_taken_and_their_lag_is_counted(
    nats: NatsServer, tmp_path: Path
) -> None:
    types = many_types(53)
    taken: list[object] = []
    router = EventRouter()
    for type in types:

        def handle(message: object, tx: Transaction) -> None:
            taken.append(message)

        handle.__annotations__["message"] = type
        router.on(type)(handle)
    url, books_url = (f"sqlite:///{tmp_path}/{name}.db" for name in ("shop", "books"))
    prepare_database(url)
    database = Database(url, EventFactory("bookstore", tuple(types)))
    relay = RunningRelay(
        Relay(
            database,
            stream="bookstore",
            types=tuple(map(event_type, types)),
            nats_url=nats.url,
            settings=TestSettings(),
        )
    )

    async def publish() -> None:
        await database.transaction(lambda tx: [tx.publish(t(key=k)) for t in types for k in KEYS])
        await relay.relay.flushed()

    try:
        await publish()
        async with Node("books", books_url, nats.url, router=router) as books:
            await books.settled(60)
            assert len(taken) == len(types) * len(KEYS)
        await publish()
        async with Node("books", books_url, nats.url, router=router) as books:
            await books.settled(60)
            assert len(taken) == 2 * len(types) * len(KEYS)
    finally:
        await relay.stop()
        database.close()


async def test_the_last_messages_of_all_subjects_are_read_in_parts(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_messages, "PAGE_BYTES", 10_000)
    subjects = all_subjects(many_types(60))
    async with connection(NatsOptions(nats.url), "test") as client:
        config = {"name": "bookstore", "subjects": ["many.>"], "allow_direct": True}
        await api_request(client, "STREAM.CREATE.bookstore", config)
        for data in (b"first", b"last" * 20):
            for subject in subjects:
                await client.publish(subject, data)

        async def is_stored() -> bool:
            return (await stream_state(client, "bookstore")).messages == 2 * len(subjects)

        await eventually(is_stored)
        held = [stored async for stored in last_messages(client, "bookstore", subjects)]
    assert {s.subject: s.data for s in held} == dict.fromkeys(subjects, b"last" * 20)
    assert len(held) == len(subjects)
