"""What a stream made anew still needs is told by when events were sent, by the broker's clock."""

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


async def holds(nats: NatsServer, ranks: list[int]) -> None:
    async def are_there() -> bool:
        return await StreamView(nats.url).ranks() == ranks

    await eventually(are_there)


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
        # They had waited for the broker, longer than its stream keeps anything.
        await shop.database.transaction(
            lambda tx: tx.session.execute(update(outbox).values(created_at=time.time() - LONG))
        )
        await lose_the_disk(nats)
        await holds(nats, list(range(41, 81)))
        await shop.sent()
        async with Node("books", url, nats.url, router=accountant()) as books:
            await has_taken(books, 80)
            assert in_order(await taken_ids(books), shop.published)


@pytest.mark.parametrize("jumped", ["broker", "host"])
async def test_one_clock_that_jumped_ahead_makes_nothing_old(
    jumped: str, nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop"), settings=AN_HOUR) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(20))
        await shop.sent()
        await shop.marked(20)
        await shop.pass_time(LONG, broker=jumped == "broker", host=jumped == "host")
        await lose_the_disk(nats)
        await holds(nats, list(range(1, 21)))


async def test_what_bears_no_mark_is_sent_again(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    never = TestSettings(stream_max_age_seconds=3600, relay_reconcile_seconds=600)
    async with Shop(new_database("shop"), settings=never) as shop:
        running = shop.start_relay(nats.url)
        await shop.sell(range(20))
        await shop.sent()
        await running.stop()
        await shop.database.transaction(lambda tx: marks.delete_all(tx.session))
        await lose_the_disk(nats)
        shop.start_relay(nats.url)
        await holds(nats, list(range(1, 21)))


async def test_what_never_was_sent_goes_out_however_long_it_waited(
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
        await holds(nats, list(range(21, 31)))


async def test_a_relay_that_has_always_something_to_send_makes_marks_nevertheless(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TestSettings(stream_max_age_seconds=3600, relay_reconcile_seconds=0.1)
    send = Sender.send
    async with Shop(new_database("shop"), settings=settings) as shop:

        async def and_more_comes(*arguments: Any) -> tuple[int, int] | None:
            await shop.sell(range(5))
            return await send(*arguments)

        monkeypatch.setattr(Sender, "send", and_more_comes)
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
    """One in a five-hundredth of the age: an event is sent again needlessly for that long."""
    age = 500 * 60.0

    def note(tx: Transaction) -> None:
        for second in range(600):
            at = 1e9 + second
            marks.mark(tx.session, second + 1, at, age, broker_time=at)
        # The last of them, when it is asked for a while later, and nothing has come since.
        marks.mark(tx.session, 600, 1e9 + 599, age, broker_time=1e9 + 700)
        marks.mark(tx.session, 601, 1e9 + 600, age)
        marks.mark(tx.session, 400, 1e9 + 9999, age)  # known to have been sent before

    def noted(tx: ReadTransaction) -> list[int]:
        rows = select(sent_marks.c.rank).order_by(sent_marks.c.rank)
        return list(tx.session.execute(rows).scalars())

    async with Shop(new_database("shop")) as shop:
        await shop.database.transaction(note)
        assert await shop.database.read(noted) == [*range(1, 601, 60), 600, 601]
