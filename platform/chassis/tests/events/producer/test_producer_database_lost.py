"""The producer's database is erased or restored from an older copy: its numbers go on above what
the stream holds, nothing is sent twice, and what the database no longer knows is named."""

import asyncio
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import pytest
from backup import Backup, back_up, erase, restore
from bookshop import Node, TestSettings, accountant, eventually
from nats import connect
from nats.aio.client import Client
from relaying import STREAM, Shop, StreamView, in_order
from structlog.testing import capture_logs

from chassis import EventContext
from chassis.events.jetstream.atomic_batch import publish_batch
from chassis.events.producer.relay import Relay
from chassis.events.wire.lanes import LANES
from localservers import NatsServer

pytestmark = pytest.mark.dialect

Log = list[MutableMapping[str, Any]]


@pytest.fixture
def log() -> Iterator[Log]:
    with capture_logs() as lines:
        yield lines


def unknown(log: Log) -> list[MutableMapping[str, Any]]:
    return [line for line in log if "database is older than the stream" in line["event"]]


async def all_taken(books: Node, published: list[EventContext]) -> None:
    """Wait until the accountant has written down as many events, then compare."""

    async def enough() -> bool:
        return len(await books.journal()) >= len(published)

    await eventually(enough)
    await books.settled()
    assert in_order([e.event_id for e in await books.journal()], published)


async def reconciled(relay: Relay) -> None:
    """Let the relay compare outbox and stream, and wait until it has."""
    before = relay.reconciler.compared_at
    relay.reconcile()

    async def is_compared() -> bool:
        return relay.reconciler.compared_at > before

    await eventually(is_compared, 10)


def hold_rounds(relay: Relay) -> tuple[asyncio.Event, asyncio.Event]:
    """Let the relay drain the outbox only while the first event is set.

    The second event is set while the relay waits for the first.
    """
    may_begin, waits = asyncio.Event(), asyncio.Event()
    run = relay.drain.run

    async def held(client: Client) -> bool:
        if not may_begin.is_set():
            waits.set()
            await may_begin.wait()
        return await run(client)

    vars(relay.drain)["run"] = held
    return may_begin, waits


async def test_an_erased_database_goes_on_above_the_numbers_of_its_stream(
    nats: NatsServer, new_database: Callable[[str], str], log: Log
) -> None:
    books = await Node("books", new_database("books"), nats.url, router=accountant()).start()
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(50))
        await shop.sent()
        lost = list(shop.published)
    assert not unknown(log)
    async with Shop(new_database("shop_anew")) as anew:
        relay = anew.start_relay(nats.url).relay

        async def leads() -> bool:
            return relay.leading

        await eventually(leads)
        await reconciled(relay)
        await anew.sell(range(50, 100))
        await anew.sent()
        (line,) = unknown(log)
        assert line["log_level"] == "warning"
        assert line["unknown_events"] == 50
        assert line["first_ids"][0] == lost[0].id
        assert line["last_ids"][-1] == lost[-1].id
        await all_taken(books, lost + anew.published)
    assert not books.path.readers[0].stopped_lanes.all
    await books.stop()


async def test_a_database_erased_under_a_running_relay_goes_on_above(
    nats: NatsServer, new_database: Callable[[str], str], log: Log
) -> None:
    books = await Node("books", new_database("books"), nats.url, router=accountant()).start()
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(50))
        await shop.sent()
        erase(shop.url)
        await shop.sell(range(50, 100), at_once=10)
        await shop.sent()
        assert unknown(log)[0]["unknown_events"] == 50
        await all_taken(books, shop.published)
    await books.stop()


async def test_a_restored_database_names_what_it_forgot_and_doubles_nothing(
    nats: NatsServer, new_database: Callable[[str], str], log: Log
) -> None:
    books = await Node("books", new_database("books"), nats.url, router=accountant()).start()
    url = new_database("shop")
    async with Shop(url) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(30))
        await shop.sent()
    async with Shop(url) as shop_without_relay:
        waiting = await shop_without_relay.sell(range(30, 45))  # in the backup, unnumbered
        backup = back_up(url)
    async with Shop(url) as later:
        later.start_relay(nats.url)
        await later.sell(range(45, 60))  # after the backup
        await later.sent()
    before = shop.published + waiting + later.published
    restore(url, backup)
    async with Shop(url) as restored:
        restored.start_relay(nats.url)
        await restored.sell(range(60, 80))
        await restored.sent()
        (line,) = unknown(log)
        assert line["unknown_events"] == 15
        assert line["first_ids"] == [p.id for p in later.published[:3]]
        assert line["last_ids"] == [p.id for p in later.published[-3:]]
        await all_taken(books, before + restored.published)
        assert in_order(await StreamView(nats.url).ids(), before + restored.published)
    await books.stop()


async def test_a_database_restored_under_a_running_relay_doubles_nothing(
    nats: NatsServer, new_database: Callable[[str], str], log: Log
) -> None:
    books = await Node("books", new_database("books"), nats.url, router=accountant()).start()
    async with Shop(new_database("shop")) as shop:
        relay = shop.start_relay(nats.url)
        await shop.sell(range(30))
        await shop.sent()
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
    await books.stop()


async def test_a_database_restored_between_publishing_and_recording_loses_nothing(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(10))
        await shop.sent()
        backup = back_up(shop.url)
        restored = asyncio.Event()

        async def then_restore(*arguments: Any) -> int:
            sequence = await publish_batch(*arguments)
            if not restored.is_set():
                await asyncio.to_thread(restore, shop.url, backup)
                await shop.sell(range(40, 50))
                restored.set()
            return sequence

        monkeypatch.setattr("chassis.events.producer.sending.publish_batch", then_restore)
        await shop.sell(range(10, 40))
        shop.wake()
        await restored.wait()
        await shop.sent()
        assert in_order(await StreamView(nats.url).ids(), shop.published)


async def test_what_the_backup_held_numbered_but_not_marked_as_sent_is_not_doubled(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_database("shop")
    backups: list[Backup] = []
    publish = publish_batch

    async def back_up_first(*arguments: Any) -> int:
        backups.append(await asyncio.to_thread(back_up, url))
        return await publish(*arguments)

    async with Shop(url) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(20))
        await shop.sent()
        monkeypatch.setattr("chassis.events.producer.sending.publish_batch", back_up_first)
        await shop.sell(range(20, 40))
        await shop.sent()
    monkeypatch.undo()
    backup = backups[-1]
    rows = backup.rows["slipway_outbox"]
    assert max(row["rank"] for row in rows) > backup.rows["slipway_relay"][0]["sent_rank"]
    # First erased, so that the stream's generation is a younger one; then the backup is found.
    erase(url)
    async with Shop(url) as erased:
        erased.start_relay(nats.url)
        await erased.sell(range(40, 50))
        await erased.sent()
    restore(url, backup)
    async with Shop(url) as restored:
        restored.start_relay(nats.url)
        await restored.sell(range(50, 60))
        await restored.sent()
    published = shop.published + erased.published + restored.published
    assert in_order(await StreamView(nats.url).ids(), published)


async def test_new_events_of_a_backup_that_the_stream_never_held_are_sent(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("shop")
    async with Shop(url) as shop:
        relay = shop.start_relay(nats.url)
        await shop.sell(range(20))
        await shop.sent()
        await relay.stop()
        await shop.sell(range(20, 30))
        backup = back_up(url)
    erase(url)
    async with Shop(url) as erased:
        erased.start_relay(nats.url)
        await erased.sell(range(30, 40))
        await erased.sent()
    restore(url, backup)
    async with Shop(url) as restored:
        restored.start_relay(nats.url)
        await restored.sent()
    ids = await StreamView(nats.url).ids()
    everything = shop.published[:20] + erased.published + shop.published[20:]
    assert in_order(ids, everything)


async def test_numbers_given_before_the_loss_was_noticed_are_given_anew(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("shop")
    patient = TestSettings(relay_sweep_seconds=60, relay_reconcile_seconds=600)
    async with Shop(url, settings=patient) as shop:
        one = shop.start_relay(nats.url, uses_lock=False).relay
        other = shop.start_relay(nats.url, uses_lock=False).relay
        may_look, waits = hold_rounds(other)
        may_look.set()
        await shop.sell(range(20))

        async def both_know() -> bool:
            shop.wake()
            return one.drain.rank == other.drain.rank == 20

        await eventually(both_know)
        may_look.clear()
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
        # More than was forgotten: what the stream ends with has a rank that is known, and taken.
        await shop.sell(range(60, 120))
        assert other.drain.rank == 20
        may_look.set()
        await eventually(sent)
        assert in_order(await StreamView(nats.url).ids(), shop.published)


async def test_a_backup_from_before_the_stream_was_made_anew_doubles_nothing(
    nats: NatsServer, new_database: Callable[[str], str], log: Log
) -> None:
    url = new_database("shop")
    async with Shop(url) as shop:
        relay = shop.start_relay(nats.url)
        await shop.sell(range(30))
        await shop.sent()
        view = StreamView(nats.url)
        await view.api(f"STREAM.PURGE.{STREAM}")
        relay.relay.reconcile()

        async def filled() -> bool:
            # At higher sequences than it will have when it is made anew.
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


async def test_messages_of_strangers_do_not_mislead_an_erased_database(
    nats: NatsServer, new_database: Callable[[str], str], log: Log
) -> None:
    url = new_database("shop")
    books = await Node("books", new_database("books"), nats.url, router=accountant()).start()
    async with Shop(url) as shop:
        relay = shop.start_relay(nats.url)
        await shop.sell(range(40))
        await shop.sent()
        await relay.stop()
        async with await connect(nats.url) as stranger:
            for lane in range(LANES):
                headers = {"ce-sequence": "many", "slipway-rank": "first"}
                await stranger.request(f"bookstore.v1.BookSold.{lane}", b"", headers=headers)
        erase(url)
        shop.start_relay(nats.url)
        await shop.sell(range(40, 80))
        await shop.sent()
        assert unknown(log)[0]["unknown_events"] == 40
        await all_taken(books, shop.published)
    await books.stop()
