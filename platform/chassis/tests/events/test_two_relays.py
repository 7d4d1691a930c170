"""However many relays work on one outbox, its stream is as if there had been one."""

import asyncio
from collections.abc import Callable

from bookshop import Node, accountant, eventually, sold
from proxy import Proxy
from relaying import STREAM, TYPES, Shop, StreamView, in_order
from sqlalchemy import insert
from sqlalchemy.orm import Session

from chassis.database.tables import outbox
from chassis.events import wire
from chassis.events.publisher import Publisher
from chassis.testing import NatsServer, PostgresServer


async def test_two_relays_at_once_number_and_publish_each_event_once(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("shop")
    books = await Node("books", new_database("books"), nats.url, router=accountant()).start()
    async with Shop(url) as one, Shop(url) as other:
        published = []
        for shop in (one, other):
            shop.start_relay(nats.url, alone=False, batch_events=7)
        for start in range(0, 600, 20):
            published += await one.sell(range(start, start + 20))
            one.wake()
            other.wake()
        await one.sent(40)
        stream = StreamView(nats.url)
        assert await stream.ranks() == list(range(1, 601))
        assert in_order(await stream.ids(), published)
        await books.settled()
        assert in_order([e.event_id for e in await books.journal()], published)
    await books.stop()


async def test_a_publish_delayed_past_another_relays_is_refused(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("shop")
    async with Shop(url) as one, Shop(url) as other, Proxy(nats.port) as proxy:
        held = asyncio.Event()

        def hold() -> None:
            proxy.hold("to_server")
            held.set()

        proxy.when("to_server", b"Nats-Batch-Commit", hold)
        published = await one.sell(range(30))
        one.start_relay(proxy.url, alone=False)
        await held.wait()
        other.start_relay(nats.url, alone=False)
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
        held = asyncio.Event()

        def hold() -> None:
            proxy.hold("to_server")
            held.set()

        proxy.when("to_server", b"Nats-Expected-Last-Sequence", hold)
        published = await one.sell(range(1))
        stopped = one.start_relay(proxy.url)
        await held.wait()
        stopping = asyncio.create_task(stopped.stop())
        other.start_relay(nats.url, alone=False)
        await other.sent()
        proxy.release()
        await stopping
        published += await other.sell(range(1, 10))
        await other.sent()
        assert await StreamView(nats.url).ranks() == list(range(1, 11))


async def test_the_answer_to_a_publish_may_be_lost(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop, Proxy(nats.port) as proxy:
        stream = StreamView(nats.url)
        shop.start_relay(proxy.url)
        await shop.sell(range(5))
        await shop.sent()
        for marker, events in ((b"Nats-Batch-Commit", 20), (b"Nats-Expected-Last-Sequence", 1)):
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


async def test_an_event_committed_late_keeps_the_number_it_was_given_late(
    nats: NatsServer, postgres: PostgresServer
) -> None:
    shop_url = postgres.create_database("late_shop")
    books_url = postgres.create_database("late_books")
    books = await Node("books", books_url, nats.url, router=accountant()).start()
    async with Shop(shop_url) as shop:
        shop.start_relay(nats.url)
        early, row = Publisher(STREAM, TYPES).outgoing(sold(1), None)
        with Session(shop.database._engine) as session:
            session.execute(insert(outbox), [row])  # takes the lower id
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

        # Sent once more as a whole, it is the same: by rank, not by the outbox's id.
        nats.kill()
        nats.erase()
        nats.start()
        await eventually(both)
        assert await stream.ids() == order
        numbers = [wire.header(m.headers, wire.NUMBER) for m in await stream.messages()]
        assert numbers == [wire.number_value(1), wire.number_value(2)]
        await books.settled()
        assert [e.event_id for e in await books.journal()] == order
    await books.stop()
