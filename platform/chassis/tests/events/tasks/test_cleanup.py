"""Dead letters and lane marks of members that have ended are deleted at their maximum age."""

import time
from collections.abc import Callable

import pytest
from bookshop import Node, TestSettings, accountant, eventually
from desk import Desk
from sqlalchemy import insert, select

from chassis.database import Database
from chassis.database.tables import marks
from chassis.events.cleanup import Cleanup
from chassis.events.tasks import dead_letter_rows
from localservers import NatsServer

pytestmark = pytest.mark.dialect

NewDatabase = Callable[[str], str]
HOUR = 3600.0


async def die(desk: Desk, count: int, hours_ago: float) -> None:
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
    await desk.database.transaction(lambda tx: dead_letter_rows.store(tx.session, letters))


async def marked(database: Database) -> set[tuple[str, str]]:
    rows = await database.read(lambda tx: tx.session.execute(select(marks)).all())
    return {(row.member, row.stream) for row in rows}


def node(desk: Desk, nats: NatsServer, settings: TestSettings) -> Node:
    return Node("books", desk.url, nats.url, router=accountant(), settings=settings, member="one")


async def test_dead_letters_are_deleted_at_their_maximum_age_and_not_before(
    desk: Desk, nats: NatsServer
) -> None:
    await die(desk, 700, hours_ago=3)
    await die(desk, 5, hours_ago=1)
    async with node(desk, nats, TestSettings(dead_letter_max_age_seconds=2 * HOUR)):

        async def old_ones_are_gone() -> bool:
            return len(await desk.dead()) == 5

        await eventually(old_ones_are_gone)
    assert {letter.event_id.split()[0] for letter in await desk.dead()} == {"1"}


async def test_without_a_maximum_age_dead_letters_are_kept(desk: Desk, nats: NatsServer) -> None:
    await die(desk, 2, hours_ago=24 * 365)
    async with node(desk, nats, TestSettings()) as books:
        assert books.path.consuming
        await books.path.consuming.cleanup.look()
    assert len(await desk.dead()) == 2


async def test_marks_are_deleted_when_their_member_has_been_absent_for_long_and_not_before(
    desk: Desk, nats: NatsServer
) -> None:
    left = {"member": "gone", "stream": "no longer read", "lane": 7}
    await desk.database.transaction(lambda tx: tx.session.execute(insert(marks).values(left)))
    mark = ("gone", "no longer read")
    async with node(desk, nats, TestSettings(mark_max_age_seconds=HOUR)) as books:
        members = books.path.members
        assert members
        assert books.path.consuming
        cleanup = books.path.consuming.cleanup

        async def is_known() -> bool:
            return members.others_known

        await eventually(is_known)
        for _ in range(2):
            await cleanup.look()
            assert mark in await marked(desk.database)
        at_once = TestSettings().model_copy(update={"mark_max_age_seconds": 0})
        await Cleanup(desk.database, members, at_once).look()
        assert mark not in await marked(desk.database)
        # Marks of living members are kept.
        await desk.database.transaction(
            lambda tx: tx.session.execute(insert(marks).values({**left, "member": "one"}))
        )
        await cleanup.look()
        assert ("one", "no longer read") in await marked(desk.database)
