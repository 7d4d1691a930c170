"""Handlers of all kinds fail at random on two replicas, and each key keeps its order."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from bookshop import TestSettings, write_down
from shop_and_books import dead, running_books, running_shop

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Reject, Transact, Transaction, Unavailable
from localservers import NatsServer

EVENTS = 240
KEYS = 12


class Chance:
    """A handler that fails at random: most events up to three times, some always."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.failed: Counter[str] = Counter()

    def take(self, number: int, event: EventContext) -> None:
        if number % 41 == 40:
            raise Reject("never")
        if self.failed[event.id] < 3 and self._random.random() < 0.15:
            self.failed[event.id] += 1
            raise self._random.choice([ValueError("no"), Unavailable("away"), KeyError("x")])


def unlucky(chance: Chance, batch: bool) -> EventRouter:
    router = EventRouter()

    if batch:

        @router.on_batch(BookSold)
        def many(
            books: Sequence[BookSold], events: Sequence[EventContext], tx: Transaction
        ) -> None:
            for book, event in zip(books, events, strict=True):
                write_down(tx, event)
                chance.take(int(book.customer_id), event)
    else:

        @router.on(BookSold)
        def one(book: BookSold, event: EventContext, tx: Transaction) -> None:
            write_down(tx, event)
            chance.take(int(book.customer_id), event)

    @router.on(BookReturned)
    async def waiting(book: BookReturned, event: EventContext, transact: Transact) -> None:
        await asyncio.sleep(0.001)
        chance.take(int(book.customer_id), event)
        await transact(write_down, event)
        if not int(book.customer_id) % 5:
            raise ValueError("too late")

    return router


SEEDS = [7, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 6))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(False, marks=pytest.mark.dialect, id="on"),
        pytest.param(True, marks=pytest.mark.long, id="on_batch"),
    ],
)
async def test_each_event_takes_effect_once_in_the_order_of_its_key_whatever_fails(
    nats: NatsServer, new_database: Callable[[str], str], batch: bool, seed: int
) -> None:
    chance = Chance(seed)
    settings = TestSettings(task_tries=5, task_backoff_max_seconds=0.02, task_lease_seconds=10)
    url = new_database("books")
    async with (
        running_shop(nats, new_database) as shop,
        running_books(nats, url, unlucky(chance, batch), settings=settings) as books,
    ):
        contexts: list[EventContext] = []

        async def publish(numbers: range) -> None:
            for n in numbers:
                kind = BookReturned if n % 3 == 0 else BookSold
                message = kind(book_id=f"key {n % KEYS}", customer_id=str(n))
                contexts.extend(await shop.publish(message))

        await publish(range(EVENTS // 3))
        async with running_books(nats, url, unlucky(chance, batch), settings=settings):
            await publish(range(EVENTS // 3, EVENTS * 2 // 3))
        await publish(range(EVENTS * 2 // 3, EVENTS))
        await shop.settled()
        await books.settled(60)

        rejected = {context.id for n, context in enumerate(contexts) if n % 41 == 40}
        assert {letter.event_id for letter in await dead(books)} == rejected
        entries = [(entry.book_id, entry.event_id) for entry in await books.journal()]
        for key in {context.partition_key for context in contexts}:
            assert [id for k, id in entries if k == key] == [
                context.id
                for context in contexts
                if context.partition_key == key and context.id not in rejected
            ]
    assert len(chance.failed) > 10
