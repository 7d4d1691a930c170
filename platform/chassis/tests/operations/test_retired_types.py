"""An operator retires a type that no version handles; its tasks become dead letters."""

from collections.abc import Callable

import pytest
from bookshop import Node, TestSettings, eventually, sold, write_down
from reading import returned_by
from relaying import Shop
from shell import Shell
from sqlalchemy import select
from task_store import TaskStore

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.database import tables
from chassis.exit_codes import FAILED, NOTHING, OK, UNAVAILABLE, USAGE
from chassis.operations.retired_types import bury_tasks_of
from localservers import NatsServer

NewDatabase = Callable[[str], str]
SOLD, RETURNED = "bookstore.v1.BookSold", "bookstore.v1.BookReturned"
RETIRE = ("events", "retire", "BookReturned", "--yes")


def selling() -> EventRouter:
    """Return the handlers of the version after the retirement."""
    router = EventRouter()

    @router.on(BookSold)
    def sell(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    return router


def both() -> EventRouter:
    """Return the handlers of the version before, which fails for returned books."""
    router = selling()

    @router.on(BookReturned)
    def take_back(book: BookReturned, tx: Transaction) -> None:
        raise ValueError("not now")

    return router


async def positions_of(task_store: TaskStore, type: str) -> int:
    rows = await task_store.select_all(select(tables.positions.c.subject))
    return sum(row.subject.startswith(f"{type}.") for row in rows)


async def test_retiring_a_type_removes_its_rows_and_later_events_of_its_keys_continue(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    task_store = TaskStore(new_database("books"))
    settings = TestSettings(task_backoff_seconds=600)
    old = Shell("books", task_store.url, nats.url, router=both())
    new = Shell("books", task_store.url, nats.url, router=selling())
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        async with Node(
            "books", task_store.url, nats.url, router=both(), settings=settings
        ) as node:
            await shop.publish(*(returned_by(n) for n in range(3)), sold(0))
            await shop.sent()

            async def all_wait() -> bool:
                return len(await task_store.rows()) == 4

            await eventually(all_wait)
            # Refused by a version that handles the type, and while such a member runs.
            assert (await old.run(*RETIRE)).code == USAGE
            assert (await new.run("events", "retire", "all")).code == USAGE
            ran = await new.run(*RETIRE)
            assert (ran.code, "stop them" in ran.err) == (FAILED, True)
            assert len(await task_store.rows()) == 4
            assert node.path.members

        ran = await new.run("events", "retire", "BookReturned", "--dry-run", "--json")
        assert ran.rows == [{"type": RETURNED, "positions": 20, "tasks": 3}]
        assert await positions_of(task_store, RETURNED) == 20

        ran = await new.run(*RETIRE)
        assert ran.code == OK
        assert (await positions_of(task_store, RETURNED), await positions_of(task_store, SOLD)) == (
            0,
            20,
        )
        assert {letter.type for letter in await task_store.dead()} == {RETURNED}
        assert len(await task_store.dead()) == 3
        async with Node("books", task_store.url, nats.url, router=selling(), settings=settings):

            async def is_sold() -> bool:
                return len(await task_store.written()) == 1 and await task_store.is_empty()

            await eventually(is_sold)
        assert (await new.run(*RETIRE)).code in (NOTHING, USAGE)
    task_store.close()


async def test_a_type_is_not_retired_while_the_members_are_unknown(
    new_database: NewDatabase,
) -> None:
    task_store = TaskStore(new_database("books"))
    await task_store.add(BookReturned(book_id="a"))
    ran = await Shell("books", task_store.url, router=selling()).run(*RETIRE)
    assert ran.code == UNAVAILABLE
    assert len(await task_store.rows()) == 1
    task_store.close()


@pytest.mark.dialect
async def test_tasks_are_buried_in_commits_of_a_bounded_size_and_in_order(
    new_database: NewDatabase,
) -> None:
    task_store = TaskStore(new_database("books"))
    contexts = await task_store.add(*(BookReturned(book_id=f"{n % 3}") for n in range(7)))
    counts = [
        await task_store.database.transaction(
            lambda tx: bury_tasks_of(tx.session, RETURNED, limit=3)
        )
        for _ in range(4)
    ]
    assert counts == [3, 3, 1, 0]
    assert [letter.event_id for letter in await task_store.dead()] == [c.id for c in contexts]
    task_store.close()
