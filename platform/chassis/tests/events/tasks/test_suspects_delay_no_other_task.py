"""Suspects wait until the gate is free, and lanes and other tasks continue."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from bookshop import Node, TestSettings, eventually, write_down
from relaying import Shop
from task_store import TaskStore

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transact, Transaction
from chassis.events.tasks import claims, queue
from chassis.events.tasks.gate import Gate
from chassis.events.tasks.queue import TaskFilter
from localservers import NatsServer

SETTINGS = TestSettings(task_lease_seconds=2, task_tries=2)
TYPES = ["bookstore.v1.BookSold", "bookstore.v1.BookReturned"]


class Outside:
    """Handlers of sold books, which wait until the test releases them, and of returned books."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.calls: Counter[str] = Counter()
        self.router = EventRouter()

        @self.router.on(BookSold)
        async def tell(book: BookSold, event: EventContext, transact: Transact) -> None:
            self.calls[event.id] += 1
            await self.answers.wait()
            await transact(write_down, event)

        @self.router.on(BookReturned)
        def note(book: BookReturned, tx: Transaction, event: EventContext) -> None:
            write_down(tx, event)


async def all_done(task_store: TaskStore, contexts: list[EventContext]) -> None:
    """Wait until each event has taken effect once, without a failure."""
    await eventually(task_store.is_empty)
    assert sorted(await task_store.written()) == sorted(context.id for context in contexts)
    assert await task_store.dead() == []


@pytest.mark.parametrize("alone", [False, True], ids=["among others", "alone"])
async def test_an_async_handler_that_hangs_stops_neither_lanes_nor_suspects(
    nats: NatsServer, task_store: TaskStore, tmp_path: Path, alone: bool
) -> None:
    outside = Outside()
    contexts = await task_store.add(
        *(BookSold(book_id=f"hangs {n}") for n in range(2)), alone=alone
    )
    async with (
        Shop(f"sqlite:///{tmp_path}/shop.db") as shop,
        Node("books", task_store.url, nats.url, router=outside.router, settings=SETTINGS) as node,
    ):
        shop.start_relay(nats.url)

        async def hangs() -> bool:
            return bool(outside.calls)

        await eventually(hangs)
        contexts += await task_store.add(BookReturned(book_id="suspect"), alone=True)
        assert node.path.consuming
        node.path.consuming.task_runner.wake()
        contexts += await shop.publish(*(BookReturned(book_id=f"key {n}") for n in range(20)))
        await shop.sent()

        async def the_rest_is_done() -> bool:
            return len(await task_store.written()) == 21

        await eventually(the_rest_is_done)
        # The tries of a task that runs alone include its running attempt.
        assert all(row.tries <= int(alone) for row in await task_store.rows())
        outside.answers.set()
        await all_done(task_store, contexts)


async def test_hanging_tasks_in_all_places_keep_no_suspect_waiting(task_store: TaskStore) -> None:
    outside = Outside()
    settings = TestSettings(task_lease_seconds=2, task_concurrency=3)
    contexts = await task_store.add(*(BookSold(book_id=f"hangs {n}") for n in range(2)))
    async with task_store.member("one", outside.router, settings):

        async def hang() -> bool:
            return len(outside.calls) == 2

        await eventually(hang)
        contexts += await task_store.add(BookReturned(book_id="suspect"), alone=True)

        async def suspect_is_done() -> bool:
            return len(await task_store.written()) == 1

        await eventually(suspect_is_done)
        outside.answers.set()
        await all_done(task_store, contexts)


async def test_many_suspects_keep_no_other_task_from_being_claimed(task_store: TaskStore) -> None:
    await task_store.add(*(BookReturned(book_id=f"suspect {n}") for n in range(5)), alone=True)
    (other,) = await task_store.add(BookSold(book_id="other"))
    claimed, _ = await task_store.database.transaction(
        lambda tx: claims.claim(
            tx.session, TaskFilter(TYPES), dict.fromkeys(TYPES, 3), owner="one", lease_seconds=600
        )
    )
    assert [task.event_id for task in claimed] == [other.id]
    seen = await task_store.database.read(lambda tx: queue.find_due(tx.session, TaskFilter(TYPES)))
    assert list(seen.suspects) == ["bookstore.v1.BookReturned"]


async def test_an_exclusive_wait_that_times_out_lets_others_in() -> None:
    gate = Gate()
    async with gate.shared():
        with pytest.raises(TimeoutError):
            async with gate.exclusive(0.01):
                raise AssertionError("the gate is not empty")
        async with asyncio.timeout(20), gate.shared():
            pass
    async with gate.exclusive(0.01):
        pass


async def test_an_exclusive_holder_that_continues_to_share_is_waited_for_by_the_next() -> None:
    gate, may_end = Gate(), asyncio.Event()
    async with gate.exclusive():
        staying = asyncio.create_task(may_end.wait())
        gate.share_until_done(staying)
    async with asyncio.timeout(20), gate.shared():
        pass
    with pytest.raises(TimeoutError):
        async with gate.exclusive(0.01):
            raise AssertionError("the gate is not empty")
    may_end.set()
    async with gate.exclusive(20):
        assert staying.done()
