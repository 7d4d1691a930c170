"""The producer's database is erased or restored from an older copy.

Its numbers continue above those in the stream, nothing is sent twice, and a log line names the
events that the database does not know.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from typing import Any

import pytest
from backup import Backup, back_up, erase, restore
from bookshop import Node, TestSettings, accountant, eventually
from nats import connect
from relaying import STREAM, RunningRelay, Shop, StreamView, in_order
from structlog.testing import capture_logs

from chassis import EventContext
from chassis.events.jetstream.ordered_batch import BatchPublisher, Stored
from chassis.events.producer.relay import Relay
from chassis.events.wire.lanes import LANES
from localservers import NatsServer

pytestmark = pytest.mark.dialect

Log = list[MutableMapping[str, Any]]


@pytest.fixture
def log() -> Iterator[Log]:
    with capture_logs() as lines:
        yield lines


@pytest.fixture
async def books(nats: NatsServer, new_database: Callable[[str], str]) -> AsyncIterator[Node]:
    """A running consumer that writes down what it handles."""
    async with Node("books", new_database("books"), nats.url, router=accountant()) as node:
        yield node


def unknown(log: Log) -> list[MutableMapping[str, Any]]:
    return [line for line in log if "database is older than the stream" in line["event"]]


async def all_taken(books: Node, published: list[EventContext]) -> None:
    """Wait until the accountant has written down all published events, and compare them."""

    async def enough() -> bool:
        return len(await books.journal()) >= len(published)

    await eventually(enough)
    await books.settled()
    assert in_order([e.event_id for e in await books.journal()], published)


async def relay_sales(shop: Shop, nats: NatsServer, numbers: range) -> RunningRelay:
    """Start a relay, sell books and wait until all are sent."""
    running = shop.start_relay(nats.url)
    await shop.sell(numbers)
    await shop.sent()
    return running


async def reconciled(relay: Relay) -> None:
    """Let the relay compare outbox and stream, and wait until it has."""
    before = relay.reconciler.compared_at
    relay.reconcile()

    async def is_compared() -> bool:
        return relay.reconciler.compared_at > before

    await eventually(is_compared)


def hold_rounds(relay: Relay) -> tuple[asyncio.Event, asyncio.Event]:
    """Let the relay drain the outbox only while the first event is set.

    The second event is set while the relay waits for the first.
    """
    may_begin, waits = asyncio.Event(), asyncio.Event()
    run = relay.drain.run

    async def held(publisher: BatchPublisher) -> bool:
        if not may_begin.is_set():
            waits.set()
            await may_begin.wait()
        return await run(publisher)

    vars(relay.drain)["run"] = held
    return may_begin, waits


async def test_an_erased_database_continues_above_the_numbers_of_its_stream(
    nats: NatsServer, new_database: Callable[[str], str], books: Node, log: Log
) -> None:
    async with Shop(new_database("shop")) as shop:
        await relay_sales(shop, nats, range(50))
        lost = list(shop.published)
    assert not unknown(log)
    async with Shop(new_database("new_shop")) as new_shop:
        relay = new_shop.start_relay(nats.url).relay

        async def leads() -> bool:
            return relay.leading

        await eventually(leads)
        await reconciled(relay)
        await new_shop.sell(range(50, 100))
        await new_shop.sent()
        (line,) = unknown(log)
        assert line["log_level"] == "warning"
        assert line["unknown_events"] == 50
        assert line["first_ids"][0] == lost[0].id
        assert line["last_ids"][-1] == lost[-1].id
        await all_taken(books, lost + new_shop.published)
    assert not books.path.readers[0].stopped_lanes.all


async def test_a_database_erased_under_a_running_relay_continues_above(
    nats: NatsServer, new_database: Callable[[str], str], books: Node, log: Log
) -> None:
    async with Shop(new_database("shop")) as shop:
        await relay_sales(shop, nats, range(50))
        erase(shop.url)
        await shop.sell(range(50, 100), at_once=10)
        await shop.sent()
        assert unknown(log)[0]["unknown_events"] == 50
        await all_taken(books, shop.published)


async def test_a_restored_database_names_the_forgotten_events_and_doubles_nothing(
    nats: NatsServer, new_database: Callable[[str], str], books: Node, log: Log
) -> None:
    url = new_database("shop")
    async with Shop(url) as shop:
        await relay_sales(shop, nats, range(30))
    async with Shop(url) as shop_without_relay:
        # The backup contains these events without numbers.
        waiting = await shop_without_relay.sell(range(30, 45))
        backup = back_up(url)
    async with Shop(url) as later:
        # The backup does not contain these events.
        await relay_sales(later, nats, range(45, 60))
    before = shop.published + waiting + later.published
    restore(url, backup)
    async with Shop(url) as restored:
        await relay_sales(restored, nats, range(60, 80))
        (line,) = unknown(log)
        assert line["unknown_events"] == 15
        assert line["first_ids"] == [p.id for p in later.published[:3]]
        assert line["last_ids"] == [p.id for p in later.published[-3:]]
        await all_taken(books, before + restored.published)
        assert in_order(await StreamView(nats.url).ids(), before + restored.published)


async def test_a_database_restored_under_a_running_relay_doubles_nothing(
    nats: NatsServer, new_database: Callable[[str], str], books: Node, log: Log
) -> None:
    async with Shop(new_database("shop")) as shop:
        relay = await relay_sales(shop, nats, range(30))
        backup = back_up(shop.url)
        forgotten = await shop.sell(range(30, 60))
        await shop.sent()
        restore(shop.url, backup)
        await shop.sell(range(60, 100), at_once=10)
        relay.relay.wake()
        await shop.sent()
        assert unknown(log)[0]["unknown_events"] == len(forgotten)
        assert in_order(await StreamView(nats.url).ids(), shop.published)
        await all_taken(books, shop.published)


async def test_a_database_restored_between_publishing_and_recording_loses_nothing(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Shop(new_database("shop")) as shop:
        await relay_sales(shop, nats, range(10))
        backup = back_up(shop.url)
        restored = asyncio.Event()
        publish = BatchPublisher.publish

        async def then_restore(*arguments: Any) -> Stored:
            stored = await publish(*arguments)
            if not restored.is_set():
                await asyncio.to_thread(restore, shop.url, backup)
                await shop.sell(range(40, 50))
                restored.set()
            return stored

        monkeypatch.setattr(BatchPublisher, "publish", then_restore)
        await shop.sell(range(10, 40))
        shop.wake()
        await restored.wait()
        await shop.sent()
        assert in_order(await StreamView(nats.url).ids(), shop.published)


async def test_events_that_the_backup_holds_numbered_but_not_as_sent_are_not_doubled(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_database("shop")
    backups: list[Backup] = []
    publish = BatchPublisher.publish

    async def back_up_first(*arguments: Any) -> Stored:
        backups.append(await asyncio.to_thread(back_up, url))
        return await publish(*arguments)

    async with Shop(url) as shop:
        await relay_sales(shop, nats, range(20))
        monkeypatch.setattr(BatchPublisher, "publish", back_up_first)
        await shop.sell(range(20, 40))
        await shop.sent()
    monkeypatch.undo()
    backup = backups[-1]
    rows = backup.rows["slipway_outbox"]
    assert max(row["rank"] for row in rows) > backup.rows["slipway_relay"][0]["sent_rank"]
    # The database is erased first, so that the stream has a newer generation than the backup.
    erase(url)
    async with Shop(url) as erased:
        await relay_sales(erased, nats, range(40, 50))
    restore(url, backup)
    async with Shop(url) as restored:
        await relay_sales(restored, nats, range(50, 60))
    published = shop.published + erased.published + restored.published
    assert in_order(await StreamView(nats.url).ids(), published)


async def test_new_events_of_a_backup_that_the_stream_never_held_are_sent(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("shop")
    async with Shop(url) as shop:
        relay = await relay_sales(shop, nats, range(20))
        await relay.stop()
        await shop.sell(range(20, 30))
        backup = back_up(url)
    erase(url)
    async with Shop(url) as erased:
        await relay_sales(erased, nats, range(30, 40))
    restore(url, backup)
    async with Shop(url) as restored:
        restored.start_relay(nats.url)
        await restored.sent()
    ids = await StreamView(nats.url).ids()
    everything = shop.published[:20] + erased.published + shop.published[20:]
    assert in_order(ids, everything)


async def test_numbers_given_before_the_restore_was_noticed_are_given_again(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("shop")
    patient = TestSettings(relay_sweep_seconds=60, relay_reconcile_seconds=600)
    async with Shop(url, settings=patient) as shop:
        one = shop.start_relay(nats.url, uses_lock=False).relay
        other = shop.start_relay(nats.url, uses_lock=False).relay
        may_drain, waits = hold_rounds(other)
        may_drain.set()
        await shop.sell(range(20))

        async def both_have_sent() -> bool:
            shop.wake()
            return one.drain.rank == other.drain.rank == 20

        await eventually(both_have_sent)
        may_drain.clear()
        other.wake()
        await asyncio.wait_for(waits.wait(), 20)
        await shop.sent()
        backup = back_up(url)
        await shop.sell(range(20, 60))
        one.wake()

        async def sent() -> bool:
            return await shop.unsent() == 0

        await eventually(sent)
        restore(url, backup)
        # More events than were forgotten, so that the rank of the stream's last event is given
        # again.
        await shop.sell(range(60, 120))
        assert other.drain.rank == 20
        may_drain.set()
        await eventually(sent)
        assert in_order(await StreamView(nats.url).ids(), shop.published)


async def test_a_backup_from_before_the_stream_was_recreated_doubles_nothing(
    nats: NatsServer, new_database: Callable[[str], str], log: Log
) -> None:
    url = new_database("shop")
    async with Shop(url) as shop:
        relay = await relay_sales(shop, nats, range(30))
        view = StreamView(nats.url)
        await view.api(f"STREAM.PURGE.{STREAM}")
        relay.relay.reconcile()

        async def filled() -> bool:
            # The sequences are higher than those of the stream that is created later.
            return [m.sequence for m in await view.messages()] == list(range(31, 61))

        await eventually(filled)
        await relay.stop()
        await shop.sell(range(30, 35))
        backup = back_up(url)
        nats.kill()
        nats.erase()
        nats.start()
        relay = shop.start_relay(nats.url)
        forgotten = await shop.sell(range(35, 40))
        await shop.sent()
        await relay.stop()
        restore(url, backup)
        shop.start_relay(nats.url)
        await shop.sell(range(40, 50))
        await shop.sent()
        assert in_order(await view.ids(), shop.published)
        (line,) = unknown(log)
        assert line["unknown_events"] == len(forgotten)
        assert line["first_ids"] == [p.id for p in forgotten[:3]]


async def test_messages_of_other_publishers_do_not_mislead_an_erased_database(
    nats: NatsServer, new_database: Callable[[str], str], books: Node, log: Log
) -> None:
    url = new_database("shop")
    async with Shop(url) as shop:
        relay = await relay_sales(shop, nats, range(40))
        await relay.stop()
        async with await connect(nats.url) as publisher:
            for lane in range(LANES):
                headers = {"ce-sequence": "many", "slipway-rank": "first"}
                await publisher.request(f"bookstore.v1.BookSold.{lane}", b"", headers=headers)
        erase(url)
        shop.start_relay(nats.url)
        await shop.sell(range(40, 80))
        await shop.sent()
        assert unknown(log)[0]["unknown_events"] == 40
        await all_taken(books, shop.published)
