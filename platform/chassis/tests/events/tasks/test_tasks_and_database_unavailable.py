"""An unavailable database, or a handler that ends its connection, makes no task a suspect."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from bookshop import TestSettings, eventually, write_down
from killers import leases_run_out
from sqlalchemy import text
from task_store import TaskStore

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transact, Transaction
from localservers import PostgresServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[PostgresServer]:
    with PostgresServer(tmp_path / "server") as server:
        yield server


@pytest.fixture
async def task_store(server: PostgresServer) -> AsyncIterator[TaskStore]:
    server.create_database("tasks")
    task_store = TaskStore(server.url("tasks"))
    yield task_store
    task_store.close()


class Held:
    """Return a handler that holds sold books until the test releases them."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.calls: Counter[str] = Counter()
        self.router = EventRouter()

        @self.router.on(BookSold)
        async def handle(book: BookSold, event: EventContext, transact: Transact) -> None:
            self.calls[event.id] += 1
            await self.may_end.wait()
            await transact(write_down, event)

        @self.router.on(BookReturned)
        def note(book: BookReturned, tx: Transaction, event: EventContext) -> None:
            write_down(tx, event)


async def test_an_outage_longer_than_the_lease_makes_no_running_task_a_suspect(
    server: PostgresServer, task_store: TaskStore
) -> None:
    held = Held()
    settings = TestSettings(task_lease_seconds=6, task_concurrency=4)
    contexts = await task_store.add(*(BookSold(book_id=f"key {n}") for n in range(6)))
    async with (
        task_store.member("one", held.router, settings) as one,
        task_store.member("two", held.router, settings) as two,
    ):

        async def all_run() -> bool:
            return len(one.running.leases.held) + len(two.running.leases.held) == 6

        await eventually(all_run)
        server.stop()
        gone_at = time.monotonic()

        async def longer_than_the_lease() -> bool:
            return time.monotonic() > gone_at + settings.task_lease_seconds + 1

        await eventually(longer_than_the_lease, 30)
        server.start()
        # The pooled connections are stale.
        task_store.database.engine.dispose()
        contexts += await task_store.add(BookReturned(book_id="another"))

        async def other_is_done() -> bool:
            return len(await task_store.written()) == 1

        await eventually(other_is_done)

        async def renewed() -> bool:
            return all(row.leased_until > time.time() for row in await task_store.rows())

        await eventually(renewed, 30)
        assert {(row.alone, row.tries, row.attempt) for row in await task_store.rows()} == {
            (False, 0, 1)
        }
        held.may_end.set()
        await eventually(task_store.is_empty)
    assert set(held.calls.values()) == {1}
    assert sorted(await task_store.written()) == sorted(context.id for context in contexts)
    assert await task_store.dead() == []


async def test_a_member_never_suspects_its_running_tasks(task_store: TaskStore) -> None:
    held = Held()
    settings = TestSettings(task_lease_seconds=600)
    await task_store.add(BookSold(book_id="held"))
    async with task_store.member("one", held.router, settings) as one:

        async def runs() -> bool:
            return bool(held.calls)

        await eventually(runs)
        await leases_run_out(task_store.database)
        (other,) = await task_store.add(BookReturned(book_id="another"))
        one.wake()

        async def other_is_done() -> bool:
            return await task_store.written() == [other.id]

        await eventually(other_is_done)
        (row,) = await task_store.rows()
        assert (row.owner, row.alone, row.attempt) == ("one", False, 1)
        held.may_end.set()
        await eventually(task_store.is_empty)


async def test_events_that_always_end_their_connection_run_out_of_tries(
    task_store: TaskStore,
) -> None:
    calls: Counter[str] = Counter()
    router = EventRouter()

    def end_connection(tx: Transaction) -> None:
        tx.session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    @router.on(BookSold)
    async def handle(book: BookSold, event: EventContext, transact: Transact) -> None:
        calls[event.id] += 1
        await transact(end_connection)

    contexts = await task_store.add(*(BookSold(book_id=f"key {n}") for n in range(6)))
    settings = TestSettings(task_lease_seconds=600, task_tries=2)
    async with task_store.member("one", router, settings):

        async def all_dead() -> bool:
            return len(await task_store.dead()) == 6

        await eventually(all_dead)
    assert {letter.tries for letter in await task_store.dead()} == {2}
    # The first lost connection of each try counts as the database's fault.
    assert {context.id: 4 for context in contexts} == calls
