"""Tries belong to the version that made them; a dead letter has used up those of all versions."""

import json
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from bookshop import Node, TestSettings, eventually, write_down
from relaying import Shop
from task_store import TaskStore

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.events.tasks.tries import tries_columns
from localservers import NatsServer

SOLD = "bookstore.v1.BookSold"
TWO_TRIES = TestSettings(task_tries=2, task_lease_seconds=600)


def failing(calls: Counter[str], version: str) -> EventRouter:
    router = EventRouter()

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction) -> None:
        calls[version] += 1
        raise ValueError(f"{version} cannot")

    return router


def handling() -> EventRouter:
    router = EventRouter()

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    return router


def running(*versions: str) -> dict[str, Any]:
    return {"versions_of": lambda _type: set(versions)}


async def test_only_the_tries_of_every_running_version_make_a_dead_letter(
    task_store: TaskStore,
) -> None:
    calls: Counter[str] = Counter()
    await task_store.add(BookSold(book_id="a"))
    both = running("1", "2")
    async with (
        task_store.member("one", failing(calls, "1"), TWO_TRIES, version="1", **both),
        task_store.member("two", failing(calls, "2"), TWO_TRIES, version="2", **both),
    ):
        await eventually(task_store.is_empty)
    assert calls == {"1": 2, "2": 2}
    (letter,) = await task_store.dead()
    assert letter.tries == 4


async def test_an_event_that_one_version_cannot_handle_is_left_to_another(
    task_store: TaskStore,
) -> None:
    calls: Counter[str] = Counter()
    (context,) = await task_store.add(BookSold(book_id="a"), **tries_columns({"1": 1}))
    both = running("1", "2")
    async with task_store.member("one", failing(calls, "1"), TWO_TRIES, version="1", **both):

        async def is_left() -> bool:
            return bool(json.loads((await task_store.rows())[0].tried) == {"1": 2})

        await eventually(is_left)
        async with task_store.member("two", handling(), TWO_TRIES, version="2", **both):
            await eventually(task_store.is_empty)
    assert calls == {"1": 1}
    assert await task_store.written() == [context.id]
    assert await task_store.dead() == []


async def test_a_new_version_has_all_its_tries(task_store: TaskStore) -> None:
    calls: Counter[str] = Counter()
    await task_store.add(BookSold(book_id="a"), **tries_columns({"1": 1}))
    async with task_store.member(
        "two", failing(calls, "2"), TWO_TRIES, version="2", **running("2")
    ):
        await eventually(task_store.is_empty)
    assert calls == {"2": 2}
    assert [letter.tries for letter in await task_store.dead()] == [3]


async def test_a_version_that_no_longer_runs_is_not_waited_for(task_store: TaskStore) -> None:
    calls: Counter[str] = Counter()
    (context,) = await task_store.add(BookSold(book_id="a"))
    versions: set[str] | None = {"1", "2"}

    def versions_of(_type: str) -> Collection[str] | None:
        return versions

    one = failing(calls, "1")
    async with task_store.member("one", one, TWO_TRIES, version="1", versions_of=versions_of):

        async def is_left() -> bool:
            return bool(json.loads((await task_store.rows())[0].tried) == {"1": 2})

        await eventually(is_left)
        # The versions are unknown while the broker is unavailable.
        versions = None
        before = (await task_store.rows())[0].attempt

        async def is_claimed_again() -> bool:
            return bool((await task_store.rows())[0].attempt > before)

        await eventually(is_claimed_again)
        versions = {"1"}
        await eventually(task_store.is_empty)
    assert calls == {"1": 2}
    (letter,) = await task_store.dead()
    assert (letter.event_id, letter.reason) == (context.id, "ValueError: 1 cannot")


async def test_attempts_that_ended_their_process_count_for_their_version(
    task_store: TaskStore,
) -> None:
    calls: Counter[str] = Counter()
    two_each = running("1", "2")
    await task_store.add(BookSold(book_id="a"), alone=True, **tries_columns({"1": 2}))
    async with task_store.member("one", failing(calls, "1"), TWO_TRIES, version="1", **two_each):

        async def is_left() -> bool:
            (row,) = await task_store.rows()
            free = row.attempt > 1 and row.owner is None
            assert not free or json.loads(row.tried) == {"1": 2}
            return bool(free)

        await eventually(is_left)
        async with task_store.member("two", handling(), TWO_TRIES, version="2", **two_each):
            await eventually(task_store.is_empty)
    assert calls == {}


async def test_running_versions_and_their_types_are_known_by_the_members_announcements(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    both = handling()

    @both.on(BookReturned)
    def returned(book: BookReturned, tx: Transaction) -> None:
        pass

    async with (
        Node("books", url, nats.url, router=handling(), version="1") as one,
        Node("books", url, nats.url, router=both, version="2") as two,
    ):
        assert one.path.members
        assert two.path.members
        members = one.path.members

        async def known() -> bool:
            return members.versions_of(SOLD) == frozenset({"1", "2"})

        await eventually(known)
        assert members.versions_of("bookstore.v1.BookReturned") == frozenset({"2"})
        assert members.versions_of("bookstore.v1.Unknown") == frozenset()
        nats.stop()

        async def unknown() -> bool:
            return members.versions_of(SOLD) is None

        await eventually(unknown)


async def test_an_event_that_fails_in_its_lane_has_spent_a_try_of_that_version(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    calls: Counter[str] = Counter()
    settings = TestSettings(task_tries=1, task_backoff_seconds=0.01)
    async with (
        Shop(new_database("shop")) as shop,
        Node(
            "books",
            new_database("books"),
            nats.url,
            router=failing(calls, "7"),
            settings=settings,
            version="7",
        ) as books,
    ):
        shop.start_relay(nats.url)
        await shop.publish(BookSold(book_id="a"))
        await shop.sent()

        async def is_dead() -> bool:
            return (await books.path.ledger()).dead_letters == 1

        await eventually(is_dead)
    assert calls == {"7": 1}
