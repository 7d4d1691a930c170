"""A consumer that misses events asks their producer, which sends them again from its outbox."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Any

import pytest
from bookshop import Node, TestSettings, accountant, eventually, sold
from prometheus_client import REGISTRY
from reading import has_taken, is_stopped, position_of, remove, subject_of_key, taken_ids
from relaying import StreamView, in_order
from sqlalchemy import delete, select, text
from structlog.testing import capture_logs

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext
from chassis.database import Database, tables
from chassis.events.consumer import position_rows
from chassis.events.consumer.producer_requests import CannotResend, request_resend
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.producer import resender
from chassis.events.producer.event_factory import EventFactory
from chassis.events.wire import control_subjects, event_headers
from chassis.events.wire.resending import Missing
from localservers import NatsServer

TYPE = "bookstore.v1.BookSold"
SUBJECT = subject_of_key("book-0")
RETRY_SOON = TestSettings(stopped_retry_seconds=0.1, net_seconds=0.1)


@asynccontextmanager
async def shop(url: str, nats: NatsServer) -> AsyncIterator[Node]:
    """Run the producer, which relays and answers requests for missing events."""
    async with Node("bookstore", url, nats.url, publishes=[BookSold, BookReturned]) as node:
        yield node


async def sell_and_lose(
    node: Node, nats: NatsServer, lost: range, published: int = 20
) -> tuple[list[EventContext], list[str]]:
    """Publish events of one key and remove some from the stream.

    Return all events, and the ids of those removed.
    """
    events = [(await node.publish(sold(0)))[0] for _ in range(published)]
    await eventually(lambda: is_sent(node))
    ids = [events[n].id for n in lost]
    for id in ids:
        await remove(StreamView(nats.url), id)
    return events, ids


def lost_events() -> float:
    """Return the counted events that were missing in the stream."""
    return REGISTRY.get_sample_value("events_lost_total", {"type": TYPE}) or 0


async def is_sent(node: Node) -> bool:
    return not (await node.path.ledger()).unsent


async def test_events_missing_in_the_stream_come_from_the_producer_once_and_in_order(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with shop(new_database("shop"), nats) as producer:
        events, lost = await sell_and_lose(producer, nats, range(5, 8))
        async with Node("books", new_database("books"), nats.url, router=accountant()) as books:
            await has_taken(books, len(events))
            more = await producer.publish(*map(sold, range(40)))
            await has_taken(books, len(events) + 40)
            assert in_order(await taken_ids(books), events + more)
            assert (await books.path.ledger()).stopped == ()
        # The missing events were sent to the consumer and not into the stream.
        assert not {*await StreamView(nats.url).ids()} & {*lost}
        async with Node("books", books.url, nats.url, router=accountant()) as books:
            last = await producer.publish(sold(0))
            await has_taken(books, len(events) + 41)
            assert (await taken_ids(books))[-1] == last[0].id


async def test_many_missing_events_come_in_several_answers(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resender, "MOST_EVENTS", 4)
    lost_before = lost_events()
    async with shop(new_database("shop"), nats) as producer:
        events, _ = await sell_and_lose(producer, nats, range(3, 17))
        async with Node("books", new_database("books"), nats.url, router=accountant()) as books:
            await has_taken(books, len(events))
            assert await taken_ids(books) == [event.id for event in events]
    assert lost_events() - lost_before == 14


async def test_an_event_that_the_producer_has_deleted_stops_the_lane_until_an_operator_skips_it(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with shop(new_database("shop"), nats) as producer:
        events, lost = await sell_and_lose(producer, nats, range(5, 8))
        rows = delete(tables.outbox).where(tables.outbox.c.event_id.in_(lost[:2]))
        await producer.database.transaction(lambda tx: tx.session.execute(rows))
        async with Node(
            "books", new_database("books"), nats.url, router=accountant(), settings=RETRY_SOON
        ) as books:

            async def is_said() -> bool:
                (said,) = await is_stopped(books)
                assert "number 6 is no longer in the outbox" in said
                assert "`events skip`" in said
                return True

            await eventually(is_said)
            await has_taken(books, 5)
            await books.database.transaction(lambda tx: position_rows.skip(tx.session, SUBJECT, 7))
            # The producer still has the last of the three missing events.
            await has_taken(books, len(events) - 2)
            kept = [event.id for event in events if event.id not in lost[:2]]
            assert await taken_ids(books) == kept
            assert (await books.path.ledger()).stopped == ()


async def test_a_producer_that_does_not_answer_is_asked_again(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("shop")
    async with shop(url, nats) as producer:
        events, _ = await sell_and_lose(producer, nats, range(5, 8))
    async with Node(
        "books", new_database("books"), nats.url, router=accountant(), settings=RETRY_SOON
    ) as books:

        async def is_said() -> bool:
            (said,) = await is_stopped(books)
            return "no replica of bookstore is running" in said

        await eventually(is_said)
        async with shop(url, nats):
            await has_taken(books, len(events))
            assert await taken_ids(books) == [event.id for event in events]


async def test_a_skip_moves_a_position_forward_only(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with shop(new_database("shop"), nats) as producer:
        await producer.publish(*[sold(0)] * 3)
        async with Node("books", new_database("books"), nats.url, router=accountant()) as books:
            await has_taken(books, 3)
            with pytest.raises(ValueError, match="at number 3 already"):
                await books.database.transaction(
                    lambda tx: position_rows.skip(tx.session, SUBJECT, 3)
                )
            with pytest.raises(LookupError, match=r"no position in a\.b\.C\.1"):
                await books.database.transaction(
                    lambda tx: position_rows.skip(tx.session, "a.b.C.1", 3)
                )
            # The skip takes effect while a member runs the lane: it reads its positions again.
            await books.database.transaction(lambda tx: position_rows.skip(tx.session, SUBJECT, 5))
            published = await producer.publish(*[sold(0)] * 4)
            await has_taken(books, 5)
            assert (await taken_ids(books))[3:] == [event.id for event in published[2:]]
            assert (await position_of(books, SUBJECT)).number == 7


async def test_old_events_are_found_by_several_queries_and_their_ranks_are_cached(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resender, "RANKS_AT_ONCE", 7)
    parts: list[object] = []
    select_missing = resender.select_missing

    def counted(*arguments: Any) -> Any:
        parts.append(arguments)
        return select_missing(*arguments)

    monkeypatch.setattr(resender, "select_missing", counted)
    async with (
        shop(new_database("shop"), nats) as producer,
        connection(NatsOptions(nats.url), "test") as client,
    ):
        await producer.publish(*[sold(0)] * 4, *[sold(1, keys=2)] * 50, sold(0))
        await eventually(lambda: is_sent(producer))
        generation = await producer.database.read(
            lambda tx: tx.session.execute(select(tables.relay.c.generation)).scalar_one()
        )
        missing = Missing(SUBJECT, 3, 4, generation, 55)
        for _ in range(2):
            answer = await request_resend(client, "bookstore", missing)
            assert [event_headers.integer(h, event_headers.NUMBER) for h, _ in answer] == [3, 4]
        assert len(parts) == 8
        rows = delete(tables.outbox).where(tables.outbox.c.rank <= 50)
        await producer.database.transaction(lambda tx: tx.session.execute(rows))
        with pytest.raises(CannotResend, match="no longer"):
            await request_resend(client, "bookstore", missing)
        # The search ends at the lowest rank of the outbox.
        parts.clear()
        with pytest.raises(CannotResend, match="no longer"):
            await request_resend(client, "bookstore", replace(missing, first=2))
        assert len(parts) == 1


async def test_only_events_that_this_database_has_numbered_are_sent_again(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        shop(new_database("shop"), nats) as producer,
        connection(NatsOptions(nats.url), "test") as client,
    ):
        events, _ = await sell_and_lose(producer, nats, range(0))
        relay = await producer.database.read(
            lambda tx: tx.session.execute(select(tables.relay)).one()
        )
        missing = Missing(SUBJECT, 3, 6, relay.generation, relay.rank + 1)

        async def numbers(asked: Missing) -> list[int]:
            answer = await request_resend(client, "bookstore", asked)
            assert [h["ce-id"] for h, _ in answer] == [
                events[event_headers.integer(h, event_headers.NUMBER) - 1].id for h, _ in answer
            ]
            return [event_headers.integer(h, event_headers.NUMBER) for h, _ in answer]

        held = await StreamView(nats.url).messages()
        (again, *_) = await request_resend(client, "bookstore", missing)
        as_relayed = {k: v for k, v in held[2].headers.items() if not k.startswith("Nats-")}
        assert as_relayed.pop(event_headers.STORED_AT) == "3"
        assert again == (as_relayed, held[2].data)
        assert await numbers(missing) == [3, 4, 5, 6]
        assert await numbers(replace(missing, below_rank=6)) == [3, 4, 5]
        monkeypatch.setattr(resender, "MAX_BYTES", 1)
        assert await numbers(missing) == [3]
        for gone, why in {
            replace(missing, generation="another"): "not the one that numbered",
            replace(missing, first=30, last=31): "no longer in the outbox",
            replace(missing, below_rank=3): "no longer in the outbox",
            replace(missing, first=0): "numbers must be above 0",
        }.items():
            with pytest.raises(CannotResend, match=why):
                await request_resend(client, "bookstore", gone)
        with pytest.raises(LookupError, match="no replica of library"):
            await request_resend(client, "library", missing)
        for garbage in garbled(missing):
            answer = await client.request(
                control_subjects.resend_subject("bookstore"), garbage, timeout=20
            )
            assert answer.data.startswith(b"the request to send again is not valid: ")
        assert await numbers(missing) == [3]


async def test_a_request_without_an_inbox_is_not_answered_and_logged_once(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    with capture_logs() as logs:
        async with (
            shop(new_database("shop"), nats) as producer,
            connection(NatsOptions(nats.url), "test") as client,
        ):
            await sell_and_lose(producer, nats, range(0))
            heard = await client.subscribe("bookstore.v1.>")
            subject = control_subjects.resend_subject("bookstore")
            for _ in range(2):
                await client.publish(subject, b"{}", reply="bookstore.v1.BookSold.1")
            await client.publish(subject, b"{}")
            # This answer comes after those to the requests before it.
            await client.request(subject, b"{}", timeout=20)
            assert heard.pending_msgs == 0
    logged = [line for line in logs if line["event"].startswith("request for missing events")]
    assert [line["reply"] for line in logged] == ["bookstore.v1.BookSold.1"]


def garbled(missing: Missing) -> Sequence[bytes]:
    asked = asdict(missing)
    wrong = [asked | {"first": "3"}, asked | {"subject": 3}, asked | {"last": 1 << 70}, {}, [], 3]
    return [b"", b"\xff", b"[" * 10_000, *(json.dumps(each).encode() for each in wrong)]


def test_the_search_for_missing_events_reads_the_outbox_by_rank(
    new_database: Callable[[str], str],
) -> None:
    database = Database(new_database("shop"), EventFactory("bookstore", (BookSold,)))
    try:
        statement = resender.select_missing(Missing(SUBJECT, 3, 6, "", 100), 1, 100)
        engine = database.read_engine
        compiled = statement.compile(engine, compile_kwargs={"literal_binds": True})
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                plan = connection.execute(text(f"EXPLAIN QUERY PLAN {compiled}"))
            else:
                connection.execute(text("SET enable_seqscan = off"))
                plan = connection.execute(text(f"EXPLAIN {compiled}"))
            steps = " ".join(str(row) for row in plan)
        assert "slipway_outbox_rank" in steps
        assert "SORT" not in steps.upper()
    finally:
        database.close()
