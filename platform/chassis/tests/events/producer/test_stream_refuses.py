"""A stream that refuses an event, or all events: nothing is lost, and the operator is told."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import nats as nats_py
import pytest
from bookshop import Node, accountant, eventually, sold
from locks import is_blocked, next_begin
from proxy import Proxy
from reading import has_taken, taken_ids
from relaying import STREAM, TYPES, RunningRelay, Shop, StreamView, in_order
from round_trips import BrokerRequests
from sqlalchemy import delete, select, update
from structlog.testing import capture_logs

from bookstore.v1 import BookSold
from chassis import EventContext, Transaction
from chassis.database.tables import outbox
from chassis.events.jetstream.ordered_batch import BatchPublisher, Stored
from chassis.events.producer import outbox as outbox_rows
from chassis.events.producer import refused, relay, sent_marks
from chassis.events.producer.counters import lock_counters, number_new, record_sent
from chassis.events.producer.event_factory import EventTooLarge
from chassis.events.producer.renumbering import lift_counters, revoke_unsent
from chassis.events.wire import event_headers
from chassis.events.wire.lanes import LANES
from localservers import NatsServer

Log = list[MutableMapping[str, Any]]


@pytest.fixture
def log() -> Iterator[Log]:
    with capture_logs() as lines:
        yield lines


def big(number: int = 0) -> BookSold:
    return BookSold(book_id=f"book-{number % 40}", customer_id="x" * 20_000, price=number)


async def limit(view: StreamView, **limits: Any) -> None:
    """Change the stream's limits, as an operator does."""
    config = (await view.api(f"STREAM.INFO.{STREAM}"))["config"]
    await view.api(f"STREAM.UPDATE.{STREAM}", {**config, **limits})


async def refused_events(shop: Shop) -> list[refused.Refused]:
    return await shop.database.read(lambda tx: refused.list_all(tx.session))


async def is_compared_after(running: RunningRelay, moment: float) -> bool:
    """Whether the relay has compared outbox and stream after a moment (monotonic seconds)."""
    return running.relay.reconciler.compared_at > moment


@asynccontextmanager
async def limited(
    nats: NatsServer, url: str, **limits: Any
) -> AsyncIterator[tuple[Shop, RunningRelay, StreamView]]:
    """Run a shop that has sold twenty books before its stream was limited."""
    view = StreamView(nats.url)
    async with Shop(url) as shop:
        running = shop.start_relay(nats.url)
        await shop.sell(range(20))
        await shop.sent()
        await limit(view, **limits)
        yield shop, running, view


@pytest.mark.dialect
async def test_an_event_larger_than_the_stream_accepts_is_set_apart_and_later_events_are_sent(
    nats: NatsServer, new_database: Callable[[str], str], log: Log
) -> None:
    books = Node("books", new_database("books"), nats.url, router=accountant())
    async with limited(nats, new_database("shop"), max_msg_size=8192) as (shop, _, view), books:
        before = list(shop.published)
        # The large events are numbered in one batch, as the first, a middle and the last event.
        some = await shop.publish(big(1), *map(sold, range(30)), big(2), sold(2), big(3))
        await shop.sent()
        small = before + [some[n] for n in (*range(1, 31), 32)]
        await has_taken(books, len(small))
        assert in_order(await taken_ids(books), small)
        assert (await books.path.ledger()).stopped == ()
        assert await view.ranks() == list(range(1, len(small) + 1))
        assert [r.event_id for r in await refused_events(shop)] == [some[n].id for n in (0, 31, 33)]
        assert {r.reason for r in await refused_events(shop)} == {
            "message size exceeds maximum allowed"
        }
        told = [line["event_id"] for line in log if "refused an event" in line["event"]]
        assert told == [some[n].id for n in (0, 31, 33)]

        # After the limit is raised, the events can be sent again, as the last ones.
        await limit(view, max_msg_size=-1)
        ids = [r.id for r in await refused_events(shop)]
        assert await shop.database.transaction(lambda tx: refused.send_again(tx.session, ids)) == 3
        await shop.sent()
        await has_taken(books, len(small) + 3)
        assert (await taken_ids(books))[-3:] == [some[n].id for n in (0, 31, 33)]
        assert await refused_events(shop) == []


@pytest.mark.dialect
async def test_two_relays_at_once_set_an_event_apart_once_and_leave_no_gap(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("shop")
    async with limited(nats, url, max_msg_size=8192) as (shop, running, view):
        await running.stop()
        for _ in range(3):
            shop.start_relay(nats.url, uses_lock=False, batch_events=7)
        refused_ids = []
        for start in range(20, 140, 30):
            events = [*map(sold, range(start, start + 10)), big(start), *map(sold, range(20))]
            refused_ids.append((await shop.publish(*events))[10].id)
        await shop.sent()
        assert sorted(r.event_id for r in await refused_events(shop)) == sorted(refused_ids)
        kept = [event for event in shop.published if event.id not in refused_ids]
        assert in_order(await view.ids(), kept)
        numbers: dict[str, list[int]] = {}
        for message in await view.messages():
            number = event_headers.integer(message.headers, event_headers.NUMBER)
            numbers.setdefault(message.subject, []).append(number)
        for given in numbers.values():
            assert given == list(range(1, len(given) + 1))


async def test_attributes_larger_than_the_server_accepts_are_refused_at_publish_or_set_apart(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    too_long = EventContext(id="x", type="t", source="s", correlation_id="x" * 70_000)
    async with limited(nats, new_database("shop")) as (shop, running, view):
        with pytest.raises(EventTooLarge, match="bytes of attributes"):
            await shop.database.transaction(lambda tx: tx.publish(sold(0), cause=too_long))
        await running.stop()
        # An event in the outbox that is too large nevertheless.
        (event,) = await shop.publish(sold(0))
        headers = json.dumps({"ce-id": event.id, "ce-correlationid": "x" * 70_000}).encode()
        await shop.database.transaction(
            lambda tx: tx.session.execute(
                update(outbox).where(outbox.c.event_id == event.id).values(headers=headers)
            )
        )
        shop.start_relay(nats.url)
        await shop.sell(range(20, 40))
        await shop.sent()
        assert [r.event_id for r in await refused_events(shop)] == [event.id]
        assert await view.ranks() == list(range(1, 41))


@pytest.mark.dialect
async def test_an_event_that_was_sent_once_keeps_its_number_when_it_is_refused_later(
    nats: NatsServer, new_database: Callable[[str], str], log: Log
) -> None:
    """Consumers know its number, so that they would drop another event with the same number."""
    url = new_database("books")
    view = StreamView(nats.url)
    async with Shop(new_database("shop")) as shop:
        running = shop.start_relay(nats.url)
        async with Node("books", url, nats.url, router=accountant()) as books:
            await shop.publish(sold(1), big(1), sold(1))
            await has_taken(books, 3)
            # The stream is recreated with a lower limit.
            await running.stop()
            await view.api(f"STREAM.PURGE.{STREAM}")
            await limit(view, max_msg_size=8192)
            shop.start_relay(nats.url)
            await shop.publish(sold(1))
            await shop.sent()
            await has_taken(books, 4)
            assert await taken_ids(books) == [e.id for e in shop.published]
            assert (await books.path.ledger()).stopped == ()
        numbers = [
            event_headers.integer(m.headers, event_headers.NUMBER) for m in await view.messages()
        ]
        assert numbers == [1, 3, 4]
        assert await refused_events(shop) == []
        assert [line for line in log if "refused to store a lost event again" in line["event"]]


@pytest.mark.parametrize(
    ("limits", "held"),
    [({"max_msgs": 50, "discard": "new"}, 50), ({"sealed": True}, 20)],
    ids=["full", "sealed"],
)
async def test_a_stream_that_accepts_no_events_sets_none_apart_and_the_log_says_why(
    nats: NatsServer,
    new_database: Callable[[str], str],
    log: Log,
    limits: dict[str, Any],
    held: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay, "REFUSED_SECONDS", 0.1)
    async with limited(nats, new_database("shop"), **limits) as (shop, running, view):
        running.relay.reconcile()
        await shop.sell(range(20, 100))

        async def is_refused() -> bool:
            return running.relay.hindrance is not None and len(await view.ranks()) == held

        await eventually(is_refused)
        assert await shop.unsent() == 100 - held
        compared_at = running.relay.reconciler.compared_at
        await eventually(lambda: is_compared_after(running, compared_at))
        (said,) = [line for line in log if "accepts no events" in line["event"]]
        assert said["log_level"] == "error"
        assert any(setting in line for line in said["limits"] for setting in limits)
        assert await refused_events(shop) == []
        if "sealed" in limits:
            return
        await limit(view, max_msgs=-1)
        await shop.sent()
        assert await view.ranks() == list(range(1, 101))
        assert running.relay.hindrance is None


async def test_a_stream_without_batches_gets_events_one_by_one(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    publish = BatchPublisher.publish

    async def measured(own: BatchPublisher, messages: Any, expected: int) -> Stored:
        sizes.append(len(messages))
        return await publish(own, messages, expected)

    async with limited(nats, new_database("shop"), allow_batched=False) as (shop, running, view):
        await shop.sell(range(20, 60))
        await shop.sent()
        running.relay.reconcile()
        assert await view.ranks() == list(range(1, 61))

        async def is_told() -> bool:
            return any("allow_batched" in line for line in running.relay.reconciler.drift)

        await eventually(is_told)
        # A server that does not know batches would store what is meant to end one.
        monkeypatch.setattr(BatchPublisher, "publish", measured)
        await shop.sell(range(60, 100))
        await shop.sent()
        assert sizes == [1] * 40
        assert await view.ranks() == list(range(1, 101))


async def test_other_publishers_that_never_stop_do_not_stop_the_relay(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another publisher is faster than each batch, and than every second batch of one event."""
    sizes: list[int] = []
    books = Node("books", new_database("books"), nats.url, router=accountant())
    async with (
        Shop(new_database("shop")) as shop,
        books,
        await nats_py.connect(nats.url) as publisher,
    ):
        shop.start_relay(nats.url)
        await shop.sell(range(20))
        await shop.sent()

        publish = BatchPublisher.publish

        async def late(own: BatchPublisher, messages: Any, expected: int) -> Stored:
            sizes.append(len(messages))
            if len(messages) > 1 or len(sizes) % 2:
                await publisher.request(f"bookstore.v1.BookSold.{len(sizes) % LANES}", b"plain")
            return await publish(own, messages, expected)

        monkeypatch.setattr(BatchPublisher, "publish", late)
        await shop.sell(range(20, 80))
        await shop.sent()
        assert len(sizes) < 4 * 60
        await has_taken(books, 80)
        assert in_order(await taken_ids(books), shop.published)
        ranks = [rank for rank in await StreamView(nats.url).ranks() if rank]
        assert ranks == list(range(1, 81))


async def test_the_last_event_before_many_other_messages_is_found_in_few_requests(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    requests = BrokerRequests()
    async with Shop(new_database("shop")) as shop:
        running = shop.start_relay(nats.url)
        await shop.sell(range(5))
        await shop.sent()
        await running.stop()
        async with await nats_py.connect(nats.url) as publisher:
            for n in range(3000):
                await publisher.publish(f"bookstore.v1.BookSold.{n % LANES}", b"plain")
            await publisher.flush()
        async with Proxy(nats.port, tap=requests.connection) as proxy:
            running = shop.start_relay(proxy.url, types=TYPES)
            await shop.sell(range(5, 10))
            await shop.sent()
            await running.stop()
        assert len([s for s in requests.published if s.startswith("$JS.API.")]) < 40
        ranks = [rank for rank in await StreamView(nats.url).ranks() if rank]
        assert ranks == list(range(1, 11))


@pytest.mark.dialect
async def test_two_concurrent_resends_send_each_event_once(
    new_database: Callable[[str], str],
) -> None:
    has_sent, may_commit = threading.Event(), threading.Event()

    def set_apart(tx: Transaction) -> list[int]:
        ids = list(tx.session.execute(select(outbox.c.id)).scalars())
        for id in ids:
            refused.set_apart(tx.session, id, "too large")
        return ids

    def slowly(tx: Transaction) -> int:
        sent = refused.send_again(tx.session, ids)
        has_sent.set()
        may_commit.wait(10)
        return sent

    url = new_database("shop")
    async with Shop(url) as shop, Shop(url) as other:
        await shop.sell(range(3))
        ids = await shop.database.transaction(set_apart)
        slow = asyncio.create_task(shop.database.transaction(slowly))
        await asyncio.to_thread(has_sent.wait, 10)
        begun = next_begin(other.database)
        quick = asyncio.create_task(
            other.database.transaction(lambda tx: refused.send_again(tx.session, ids))
        )
        await is_blocked(other.database, begun, "slipway_refused")
        may_commit.set()
        assert (await slow, await quick) == (3, 0)
        assert await shop.unsent() == 3


@pytest.mark.dialect
async def test_revoking_numbers_frees_no_rank_that_was_sent_before(
    new_database: Callable[[str], str],
) -> None:
    """The stream was restored to an older copy, and the events that it lacks were cleaned up."""

    def clean_up_and_restore(tx: Transaction) -> None:
        session = tx.session
        counters, _ = number_new(session, lock_counters(session), 100, 1 << 20)
        sent_marks.mark(session, counters.rank, 0.0, 0.0)
        session.execute(delete(outbox))
        record_sent(session, 4, 4)

    def refuse(tx: Transaction) -> int:
        session = tx.session
        counters, _ = number_new(session, lock_counters(session), 100, 1 << 20)
        revoke_unsent(session, counters)
        return number_new(session, lock_counters(session), 100, 1 << 20)[0].rank

    async with Shop(new_database("shop")) as shop:
        await shop.sell(range(10))
        await shop.database.transaction(clean_up_and_restore)
        await shop.sell(range(10, 13))
        assert await shop.database.transaction(refuse) == 13


@pytest.mark.dialect
async def test_an_event_set_apart_that_the_stream_holds_is_kept_for_sending_it_again(
    new_database: Callable[[str], str],
) -> None:
    """The event was resent, and then the database was restored from a backup made before."""

    def restored(tx: Transaction) -> None:
        session = tx.session
        (first, *_) = session.execute(select(outbox.c.id)).scalars()
        refused.set_apart(session, first, "too large")

    def recovered(tx: Transaction) -> None:
        session = tx.session
        counters, _ = number_new(session, lock_counters(session), 100, 1 << 20)
        record_sent(session, 2, 2)
        lift_counters(
            session,
            lock_counters(session),
            generation=counters.generation,
            lineage="",
            numbers={},
            held=[],
            held_refused={wanted.event_id: (1, 3)},
            sequence=3,
            rank=3,
        )
        record_sent(session, 0, 0)

    async with Shop(new_database("shop")) as shop:
        await shop.sell(range(3))
        await shop.database.transaction(restored)
        (wanted,) = await refused_events(shop)
        await shop.database.transaction(recovered)
        assert await refused_events(shop) == []
        rows = await shop.database.read(
            lambda tx: outbox_rows.unsent_after(tx.session, 0, 10, 1 << 20)
        )
        assert [row.rank for row in rows] == [1, 2, 3]
        assert rows[-1].number == 1
