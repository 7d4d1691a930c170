"""Sent rows of the outbox are deleted once no stream can need them; no others are."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from bookshop import Node, TestSettings, accountant, eventually
from reading import has_taken, taken_ids
from relaying import STREAM, Shop, StreamView, in_order
from sqlalchemy import func, select, text, update

from chassis import Transaction
from chassis.database.tables import outbox, sent_marks
from chassis.events.producer import outbox as outbox_rows
from chassis.events.producer import outbox_cleanup
from chassis.events.producer import sent_marks as marks
from chassis.events.producer.counters import lock_counters, number_new, record_sent
from chassis.events.producer.outbox_cleanup import clean, keep_seconds
from localservers import NatsServer

DAY = 24 * 3600.0
KEPT = TestSettings(stream_max_age_seconds=7 * DAY, outbox_keep_seconds=0)


def rows_of(tx: Any, table: Any) -> int:
    return int(tx.session.execute(select(func.count()).select_from(table)).scalar_one())


@pytest.mark.long
async def test_in_a_year_the_outbox_holds_no_more_than_it_keeps(
    new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred events a day for a year, with one clean-up a day."""
    age = keep_seconds(KEPT, 7 * DAY)
    assert age
    now = 1e9
    monkeypatch.setattr(time, "time", lambda: now)
    most_rows, most_marks, deleted, above = 0, 0, 0, 0

    def live_a_day(tx: Transaction) -> None:
        nonlocal most_rows, most_marks, deleted, above
        session = tx.session
        session.execute(PUBLISH[session.get_bind().dialect.name])
        counters, _ = number_new(session, lock_counters(session), 100, 1 << 20)
        record_sent(session, counters.rank, counters.rank)
        marks.mark(session, counters.rank, now, 7 * DAY, broker_time=now)
        while (cleaned := clean(session, broker_time=now, age=age, above=above, limit=500)).rows:
            deleted, above = deleted + cleaned.rows, cleaned.up_to_rank
        most_rows = max(most_rows, rows_of(tx, outbox))
        most_marks = max(most_marks, rows_of(tx, sent_marks))

    async with Shop(new_database("shop")) as shop:
        for _ in range(365):
            now += DAY
            await shop.database.transaction(live_a_day)
        assert most_rows == 8 * 100
        assert most_marks <= 10
        assert deleted == 365 * 100 - most_rows


PUBLISH = {
    dialect: text(
        "INSERT INTO slipway_outbox (event_id, subject, headers, data, created_at) "
        f"SELECT 'id', 'type.' || (i % 20), {nothing}, {nothing}, i FROM ({series}) AS s"
    )
    for dialect, nothing, series in (
        (
            "sqlite",
            "x''",
            "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 100) "
            "SELECT i FROM s",
        ),
        ("postgresql", "''", "SELECT i FROM generate_series(1, 100) AS i"),
    )
}


async def sell_long_ago(shop: Shop, nats: NatsServer, events: int) -> None:
    """Sell `events` books that were sent longer ago than any event is kept."""
    there = len(shop.published)
    await shop.sell(range(there, there + events))
    await shop.sent()
    rank = await shop.database.read(lambda tx: outbox_rows.sent_rank(tx.session))

    def long_ago(tx: Transaction) -> None:
        then = time.time() - 10 * DAY
        tx.session.execute(update(sent_marks).values(sent_at=then, noted_at=then))
        marks.mark(tx.session, rank, then, 7 * DAY)
        tx.session.execute(update(sent_marks).values(noted_at=then))

    await shop.database.transaction(long_ago)


async def kept_ranks(shop: Shop) -> list[int | None]:
    statement = select(outbox.c.rank).order_by(outbox.c.id)
    return await shop.database.read(lambda tx: list(tx.session.execute(statement).scalars()))


@pytest.mark.dialect
async def test_a_relay_deletes_all_events_but_those_that_its_stream_may_need(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_cleanup, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(outbox_cleanup, "ROWS_AT_ONCE", 7)
    url = new_database("books")
    async with Shop(new_database("shop"), settings=KEPT) as shop:
        shop.start_relay(nats.url)
        async with Node("books", url, nats.url, router=accountant()) as books:
            await sell_long_ago(shop, nats, 40)
            await shop.sell(range(40, 60))
            await has_taken(books, 60)

        async def is_clean() -> bool:
            return await kept_ranks(shop) == list(range(41, 61))

        await eventually(is_clean)
        nats.kill()
        nats.erase()
        nats.start()
        await shop.sell(range(60, 80))
        view = StreamView(nats.url)

        async def is_whole() -> bool:
            return await view.ranks() == list(range(41, 81))

        await eventually(is_whole)
        await shop.sent()
        async with Node("books", url, nats.url, router=accountant()) as books:
            await has_taken(books, 80)
            assert in_order(await taken_ids(books), shop.published)
            assert (await books.path.ledger()).stopped == ()


@pytest.mark.dialect
async def test_no_event_is_deleted_that_was_not_sent_or_is_kept_forever(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    # A stream that keeps events forever may lose them.
    assert keep_seconds(KEPT, 0) is None
    async with Shop(new_database("shop"), settings=KEPT) as shop:
        relay = shop.start_relay(nats.url)
        await sell_long_ago(shop, nats, 20)
        await relay.stop()
        # The stream has lost five events that are not sent again yet; others have no number yet.
        await shop.database.transaction(lambda tx: record_sent(tx.session, 15, 15))
        await shop.sell(range(20, 25))
        cleaned = await shop.database.transaction(
            lambda tx: clean(tx.session, broker_time=time.time(), age=9 * DAY, above=0, limit=500)
        )
        assert (cleaned.rows, cleaned.up_to_rank) == (15, 15)
        assert await kept_ranks(shop) == [16, 17, 18, 19, 20, None, None, None, None, None]


@pytest.mark.dialect
async def test_events_of_an_earlier_generation_are_deleted_together_with_those_of_the_present(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with (
        Shop(new_database("shop"), settings=KEPT) as shop,
        Shop(new_database("other")) as other,
    ):
        relay = shop.start_relay(nats.url)
        await shop.sell(range(20))
        await shop.sent()
        await relay.stop()
        # Another database publishes into a new stream; then the first database is used again.
        await StreamView(nats.url).api(f"STREAM.DELETE.{STREAM}")
        relay = other.start_relay(nats.url)
        await other.sell(range(5))
        await other.sent()
        await relay.stop()
        shop.start_relay(nats.url)
        await shop.sell(range(20, 30))
        await shop.sent()
        ranks = await kept_ranks(shop)
        assert ranks == [None] * 20 + list(range(21, 31))
        await sell_long_ago(shop, nats, 10)

        def clean_all(tx: Transaction) -> int:
            deleted = above = 0
            while True:
                cleaned = clean(
                    tx.session, broker_time=time.time(), age=9 * DAY, above=above, limit=7
                )
                if not cleaned.rows:
                    return deleted
                deleted, above = deleted + cleaned.rows, cleaned.up_to_rank

        assert await shop.database.transaction(clean_all) == 40
        assert await kept_ranks(shop) == []
        # An outbox without rows continues its ranks.
        await shop.sell(range(40, 45))
        await shop.sent()
        assert await kept_ranks(shop) == list(range(41, 46))
