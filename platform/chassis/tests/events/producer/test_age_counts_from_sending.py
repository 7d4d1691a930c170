"""Sent marks tell which events a recreated stream needs: by the time of sending, not of publish."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from bookshop import Node, TestSettings, accountant, eventually
from reading import has_taken, taken_ids
from relaying import Shop, StreamView, in_order
from sqlalchemy import select, update

from chassis.database import ReadTransaction, Transaction
from chassis.database.tables import outbox, sent_marks
from chassis.events.producer import sent_marks as marks
from chassis.events.producer.sending import Sender
from localservers import NatsServer

AN_HOUR = TestSettings(stream_max_age_seconds=3600)
LONG = 7200.0


async def lose_the_disk(nats: NatsServer) -> None:
    nats.kill()
    nats.erase()
    nats.start()


async def stream_holds(nats: NatsServer, ranks: list[int]) -> None:
    async def holds_ranks() -> bool:
        return await StreamView(nats.url).ranks() == ranks

    await eventually(holds_ranks)


async def test_events_that_waited_long_are_sent_again_and_those_sent_long_ago_are_not(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    async with Shop(new_database("shop"), settings=AN_HOUR) as shop:
        shop.start_relay(nats.url)
        async with Node("books", url, nats.url, router=accountant()) as books:
            await shop.sell(range(40))
            await has_taken(books, 40)
        await shop.marked(40)
        await shop.pass_time(LONG)
        await shop.sell(range(40, 80))
        await shop.sent()
        # These events had waited for the broker for longer than the stream's maximum age.
        await shop.database.transaction(
            lambda tx: tx.session.execute(update(outbox).values(created_at=time.time() - LONG))
        )
        await lose_the_disk(nats)
        await stream_holds(nats, list(range(41, 81)))
        await shop.sent()
        async with Node("books", url, nats.url, router=accountant()) as books:
            await has_taken(books, 80)
            assert in_order(await taken_ids(books), shop.published)


@pytest.mark.parametrize("jumped", ["broker", "host"])
async def test_one_clock_that_jumped_ahead_makes_no_event_old(
    jumped: str, nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop"), settings=AN_HOUR) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(20))
        await shop.sent()
        await shop.marked(20)
        await shop.pass_time(LONG, broker=jumped == "broker", host=jumped == "host")
        await lose_the_disk(nats)
        await stream_holds(nats, list(range(1, 21)))


async def test_events_without_a_mark_are_sent_again(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    no_reconcile = TestSettings(stream_max_age_seconds=3600, relay_reconcile_seconds=600)
    async with Shop(new_database("shop"), settings=no_reconcile) as shop:
        running = shop.start_relay(nats.url)
        await shop.sell(range(20))
        await shop.sent()
        await running.stop()
        await shop.database.transaction(lambda tx: marks.delete_all(tx.session))
        await lose_the_disk(nats)
        shop.start_relay(nats.url)
        await stream_holds(nats, list(range(1, 21)))


async def test_events_that_were_never_sent_are_sent_however_long_they_waited(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop"), settings=AN_HOUR) as shop:
        relay = shop.start_relay(nats.url)
        await shop.sell(range(20))
        await shop.sent()
        await shop.marked(20)
        await relay.stop()
        await shop.sell(range(20, 30))
        await shop.database.transaction(
            lambda tx: tx.session.execute(update(outbox).values(created_at=time.time() - LONG))
        )
        await shop.pass_time(LONG)
        await lose_the_disk(nats)
        shop.start_relay(nats.url)
        await stream_holds(nats, list(range(21, 31)))


async def test_a_relay_that_never_runs_out_of_events_records_marks(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TestSettings(stream_max_age_seconds=3600, relay_reconcile_seconds=0.1)
    send = Sender.send
    async with Shop(new_database("shop"), settings=settings) as shop:

        async def publish_then_send(*arguments: Any) -> tuple[int, int] | None:
            await shop.sell(range(5))
            return await send(*arguments)

        monkeypatch.setattr(Sender, "send", publish_then_send)
        await shop.sell(range(5))
        shop.start_relay(nats.url)

        async def marked() -> bool:
            return await shop.database.read(lambda tx: marks.highest(tx.session)) > 0

        await eventually(marked)
        monkeypatch.undo()
        await shop.sent()


async def test_marks_are_few_however_often_they_could_be_made(
    new_database: Callable[[str], str],
) -> None:
    """Marks are a five-hundredth of the age apart, so an event is needed for that much longer."""
    age = 500 * 60.0

    def record_marks(tx: Transaction) -> None:
        for second in range(600):
            at = 1e9 + second
            marks.mark(tx.session, second + 1, at, age, broker_time=at)
        # The last event, seen again some time later while no other event was published.
        marks.mark(tx.session, 600, 1e9 + 599, age, broker_time=1e9 + 700)
        marks.mark(tx.session, 601, 1e9 + 600, age)
        # Rank 400 is known to have been sent before.
        marks.mark(tx.session, 400, 1e9 + 9999, age)

    def recorded_ranks(tx: ReadTransaction) -> list[int]:
        rows = select(sent_marks.c.rank).order_by(sent_marks.c.rank)
        return list(tx.session.execute(rows).scalars())

    async with Shop(new_database("shop")) as shop:
        await shop.database.transaction(record_marks)
        assert await shop.database.read(recorded_ranks) == [*range(1, 601, 60), 600, 601]
