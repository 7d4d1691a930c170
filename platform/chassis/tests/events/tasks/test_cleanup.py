"""Dead letters and lane marks of members that have ended are deleted at their maximum age."""

import time
from collections.abc import Callable

import pytest
from bookshop import Node, TestSettings, accountant, eventually
from sqlalchemy import insert, select
from task_store import TaskStore

from chassis.database import Database
from chassis.database.tables import marks
from chassis.events.cleanup import Cleanup
from chassis.events.tasks import dead_letter_rows
from localservers import NatsServer

pytestmark = pytest.mark.dialect

NewDatabase = Callable[[str], str]
HOUR = 3600.0


async def die(task_store: TaskStore, count: int, hours_ago: float) -> None:
    letter: dict[str, object] = {
        "source": "here",
        "key": "key",
        "type": "bookstore.v1.BookSold",
        "subject": "bookstore.v1.BookSold.1",
        "headers": b"{}",
        "data": b"",
        "reason": "no reason",
        "died_at": time.time() - hours_ago * HOUR,
    }
    letters = [{**letter, "event_id": f"{hours_ago} {n}"} for n in range(count)]
    await task_store.database.transaction(lambda tx: dead_letter_rows.store(tx.session, letters))


async def marked(database: Database) -> set[tuple[str, str]]:
    rows = await database.read(lambda tx: tx.session.execute(select(marks)).all())
    return {(row.member, row.stream) for row in rows}


def node(task_store: TaskStore, nats: NatsServer, settings: TestSettings) -> Node:
    return Node(
        "books", task_store.url, nats.url, router=accountant(), settings=settings, member="one"
    )


async def test_dead_letters_are_deleted_at_their_maximum_age_and_not_before(
    task_store: TaskStore, nats: NatsServer
) -> None:
    await die(task_store, 700, hours_ago=3)
    await die(task_store, 5, hours_ago=1)
    async with node(task_store, nats, TestSettings(dead_letter_max_age_seconds=2 * HOUR)):

        async def old_ones_are_gone() -> bool:
            return len(await task_store.dead()) == 5

        await eventually(old_ones_are_gone)
    assert {letter.event_id.split()[0] for letter in await task_store.dead()} == {"1"}


async def test_without_a_maximum_age_dead_letters_are_kept(
    task_store: TaskStore, nats: NatsServer
) -> None:
    await die(task_store, 2, hours_ago=24 * 365)
    async with node(task_store, nats, TestSettings()) as books:
        assert books.path.consuming
        await books.path.consuming.cleanup.look()
    assert len(await task_store.dead()) == 2


async def test_marks_are_deleted_when_their_member_has_been_absent_for_long_and_not_before(
    task_store: TaskStore, nats: NatsServer
) -> None:
    left = {"member": "gone", "stream": "no longer read", "lane": 7}
    await task_store.database.transaction(lambda tx: tx.session.execute(insert(marks).values(left)))
    mark = ("gone", "no longer read")
    async with node(task_store, nats, TestSettings(mark_max_age_seconds=HOUR)) as books:
        members = books.path.members
        assert members
        assert books.path.consuming
        cleanup = books.path.consuming.cleanup

        async def is_known() -> bool:
            return members.others_known

        await eventually(is_known)
        for _ in range(2):
            await cleanup.look()
            assert mark in await marked(task_store.database)
        at_once = TestSettings().model_copy(update={"mark_max_age_seconds": 0})
        await Cleanup(task_store.database, members, at_once).look()
        assert mark not in await marked(task_store.database)
        # Marks of living members are kept.
        await task_store.database.transaction(
            lambda tx: tx.session.execute(insert(marks).values({**left, "member": "one"}))
        )
        await cleanup.look()
        assert ("one", "no longer read") in await marked(task_store.database)
