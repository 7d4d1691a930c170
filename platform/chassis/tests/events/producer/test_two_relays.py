"""Several relays of one outbox leave the stream as a single relay would."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from bookshop import Node, accountant, eventually, sold
from locks import is_blocked, next_begin
from proxy import Proxy
from relaying import STREAM, TYPES, Shop, StreamView, in_order
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from chassis import Transaction
from chassis.database.tables import outbox
from chassis.events.producer.counters import lock_counters, number_new
from chassis.events.producer.event_factory import EventFactory
from chassis.events.wire import event_headers
from localservers import NatsServer, PostgresServer

pytestmark = pytest.mark.dialect


async def test_two_relays_at_once_number_and_publish_each_event_once(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("shop")
    books = await Node("books", new_database("books"), nats.url, router=accountant()).start()
    async with Shop(url) as one, Shop(url) as other:
        published = []
        for shop in (one, other):
            shop.start_relay(nats.url, uses_lock=False, batch_events=7)
        for start in range(0, 600, 20):
            published += await one.sell(range(start, start + 20))
            one.wake()
            other.wake()
        await one.sent()
        stream = StreamView(nats.url)
        assert await stream.ranks() == list(range(1, 601))
        assert in_order(await stream.ids(), published)
        await books.settled()
        assert in_order([e.event_id for e in await books.journal()], published)
    await books.stop()


@pytest.mark.parametrize("first", [False, True], ids=["later", "for the first time"])
async def test_a_relay_waits_while_another_numbers_and_continues_its_ranks(
    new_database: Callable[[str], str], first: bool
) -> None:
    url = new_database("shop")
    steps: list[str] = []
    numbered, may_commit = threading.Event(), threading.Event()

    def number_ten(tx: Transaction) -> None:
        number_new(tx.session, lock_counters(tx.session), 10, 1 << 20)
        numbered.set()
        may_commit.wait(20)
        steps.append("the first commits")

    def number_the_rest(tx: Transaction) -> int:
        counters = lock_counters(tx.session)
        steps.append("the second has the counters")
        number_new(tx.session, counters, 100, 1 << 20)
        return counters.rank

    async with Shop(url) as one, Shop(url) as other:
        if not first:
            await one.database.transaction(lambda tx: lock_counters(tx.session))
        await one.sell(range(30))
        numbering = asyncio.create_task(one.database.transaction(number_ten))
        assert await asyncio.to_thread(numbered.wait, 20)
        begun = next_begin(other.database)
        waiting = asyncio.create_task(other.database.transaction(number_the_rest))
        await is_blocked(other.database, begun, "slipway_relay")
        assert not steps
        may_commit.set()
        await numbering
        assert await waiting == 10
        assert steps == ["the first commits", "the second has the counters"]
        rows = await one.database.read(lambda tx: tx.session.execute(_NUMBERED).all())
        assert [row.rank for row in rows] == list(range(1, 31))
        for subject in {row.subject for row in rows}:
            numbers = [row.number for row in rows if row.subject == subject]
            assert numbers == list(range(1, 1 + len(numbers)))


_NUMBERED = select(outbox.c.rank, outbox.c.subject, outbox.c.number).order_by(outbox.c.id)


async def test_a_publish_delayed_past_another_relays_is_refused(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("shop")
    async with Shop(url) as one, Shop(url) as other, Proxy(nats.port) as proxy:
        held = proxy.hold_at("to_server", b".3.$FI ")
        published = await one.sell(range(30))
        one.start_relay(proxy.url, uses_lock=False)
        await held.wait()
        other.start_relay(nats.url, uses_lock=False)
        await other.sent()
        proxy.release()
        published += await one.sell(range(30, 60))
        await one.sent()
        stream = StreamView(nats.url)
        assert await stream.ranks() == list(range(1, 61))
        assert in_order(await stream.ids(), published)


async def test_a_publish_delayed_past_the_end_of_its_relay_is_refused(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("shop")
    async with Shop(url) as one, Shop(url) as other, Proxy(nats.port) as proxy:
        held = proxy.hold_at("to_server", b"Nats-Expected-Last-Sequence")
        published = await one.sell(range(1))
        stopped = one.start_relay(proxy.url)
        await held.wait()
        stopping = asyncio.create_task(stopped.stop())
        other.start_relay(nats.url, uses_lock=False)
        await other.sent()
        proxy.release()
        await stopping
        published += await other.sell(range(1, 10))
        await other.sent()
        assert await StreamView(nats.url).ranks() == list(range(1, 11))


async def test_a_lost_answer_to_a_publish_doubles_nothing(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop, Proxy(nats.port) as proxy:
        stream = StreamView(nats.url)
        shop.start_relay(proxy.url)
        await shop.sell(range(5))
        await shop.sent()
        for marker, events in ((b".3.$FI ", 20), (b"Nats-Expected-Last-Sequence", 1)):
            proxy.when("to_server", marker, lambda: proxy.drop("to_client"))
            there = len(shop.published) + events
            await shop.sell(range(there - events, there))
            shop.wake()

            async def stored(there: int = there) -> bool:
                return len(await stream.ids()) == there

            await eventually(stored)
            assert await shop.unsent() == events
            proxy.cut()
            proxy.release()
            await shop.sent()
        assert await stream.ranks() == list(range(1, 27))
        assert in_order(await stream.ids(), shop.published)


async def test_an_event_that_was_committed_later_has_the_higher_number(
    nats: NatsServer, postgres: PostgresServer
) -> None:
    shop_url = postgres.create_database("late_shop")
    books_url = postgres.create_database("late_books")
    books = await Node("books", books_url, nats.url, router=accountant()).start()
    async with Shop(shop_url) as shop:
        shop.start_relay(nats.url)
        early, row = EventFactory(STREAM, TYPES).create(sold(1), None)
        with Session(shop.database.engine) as session:
            # The row gets the lower id.
            session.execute(insert(outbox), [row._asdict()])
            later = await shop.publish(sold(1))
            await shop.sent()
            session.commit()
        shop.wake()
        stream = StreamView(nats.url)

        async def both() -> bool:
            return len(await stream.ids()) == 2

        await eventually(both)
        order = [later[0].id, early.id]
        assert await stream.ids() == order
        await books.settled()

        # A stream that is filled again is the same: events are sent by rank, not by the outbox's
        # id.
        nats.kill()
        nats.erase()
        nats.start()
        await eventually(both)
        assert await stream.ids() == order
        numbers = [
            event_headers.header(m.headers, event_headers.NUMBER) for m in await stream.messages()
        ]
        assert numbers == [event_headers.number_value(1), event_headers.number_value(2)]
        await books.settled()
        assert [e.event_id for e in await books.journal()] == order
    await books.stop()
