"""A handler that ends its transaction harms no event but its own, and its own fails loudly."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from bookshop import Node, TestSettings, eventually, journal, sold, write_down
from shop_and_books import dead, in_one_batch, settled, shop_and_books
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transact, Transaction
from localservers import NatsServer

pytestmark = pytest.mark.dialect

NewDatabase = Callable[[str], str]


class Settings(TestSettings):
    net_seconds: float = 60
    task_tries: int = 2


def is_faulty(book: BookSold) -> bool:
    return int(book.customer_id) % 10 == 5


def insert_or_roll_back(tx: Transaction) -> None:
    """Roll back after a conflict, as tutorials often do."""
    try:
        tx.session.execute(insert(journal).values(id=1))
        tx.session.execute(insert(journal).values(id=1))
    except IntegrityError:
        tx.session.rollback()


def commit_and_continue(tx: Transaction) -> None:
    with suppress(Exception):
        tx.session.commit()


async def dead_letters(books: Node, count: int) -> list[Any]:
    """Wait until there are `count` dead letters, and return them."""

    async def holds() -> bool:
        return len(await dead(books)) == count

    await eventually(holds)
    return await dead(books)


@pytest.mark.parametrize("misuse", [insert_or_roll_back, commit_and_continue])
async def test_a_batch_with_such_handlers_loses_and_doubles_nothing(
    nats: NatsServer, new_database: NewDatabase, misuse: Callable[[Transaction], None]
) -> None:
    events = EventRouter()

    @events.on(BookSold)
    def on_sold(book: BookSold, event: EventContext, tx: Transaction) -> None:
        write_down(tx, event)
        if is_faulty(book):
            misuse(tx)

    async with shop_and_books(nats, new_database, events, settings=Settings()) as (shop, books):
        async with in_one_batch(shop, books):
            published = await shop.publish(*(sold(n) for n in range(30)))
        faulty = {published[n].id for n in range(5, 30, 10)}
        letters = await dead_letters(books, 3)
        await settled(books)
        assert {letter.event_id for letter in letters} == faulty
        assert all("begin_nested()" in letter.reason for letter in letters)
        written = sorted(line.event_id for line in await books.journal())
        assert written == sorted({event.id for event in published} - faulty)


async def test_an_async_handler_whose_work_ends_the_transaction_is_not_done(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    events = EventRouter()

    def work(tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)
        commit_and_continue(tx)

    async def waits(tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    @events.on(BookSold)
    async def on_sold(book: BookSold, event: EventContext, transact: Transact) -> None:
        await transact(work, event)

    @events.on(BookReturned)
    async def on_returned(book: BookReturned, event: EventContext, transact: Transact) -> None:
        # The check of types finds this mistake, too.
        await transact(waits, event)  # type: ignore[unused-coroutine]

    async with shop_and_books(nats, new_database, events, settings=Settings()) as (shop, books):
        await shop.publish(sold(1), BookReturned(book_id="other"))
        reasons = sorted(letter.reason for letter in await dead_letters(books, 2))
        assert ["did not run" in reason for reason in reasons] == [False, True]
        assert await books.journal() == []
