"""An operator redrives and drops dead letters."""

from collections.abc import Callable

import pytest
from bookshop import Node, accountant, eventually
from letters import bury, letter, remaining, waiting
from reading import taken_ids
from shell import Shell
from shop_and_books import dead
from sqlalchemy.orm import Session
from structlog.testing import capture_logs
from task_store import TaskStore

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.database import DatabaseDown
from chassis.exit_codes import FAILED, NOTHING, OK, UNAVAILABLE, USAGE
from chassis.operations import DeadLetterFilter, redrive_dead_letters
from localservers import NatsServer

pytestmark = pytest.mark.dialect

NewDatabase = Callable[[str], str]


async def test_a_redriven_event_keeps_its_id_and_those_of_a_key_their_order(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    broken = True
    events = EventRouter()
    told = accountant()

    @events.on(BookSold)
    def sold(book: BookSold, tx: Transaction, event: EventContext) -> None:
        if broken:
            raise ValueError("not yet")
        told.subscriptions[0].function(book, tx, event)

    async with (
        Node("bookstore", new_database("shop"), nats.url, publishes=[BookSold]) as shop,
        Node("books", new_database("books"), nats.url, router=events) as books,
    ):
        published = await shop.publish(
            *(BookSold(book_id=f"b-{number % 3}", price=number) for number in range(9))
        )

        async def all_are_dead() -> bool:
            return len(await dead(books)) == 9

        await eventually(all_are_dead)
        broken = False
        shell = Shell("books", books.url, nats.url, router=events)
        with capture_logs() as logs:
            ran = await shell.run("dead-letters", "redrive", "--all", "--yes", "--by", "Ada")
            assert ran.code == OK
            await books.settled()

            async def is_logged_by_the_member_too() -> bool:
                return sum("operator" in line["event"] for line in logs) == 2

            await eventually(is_logged_by_the_member_too)
        taken = await taken_ids(books)
        for key in ("b-0", "b-1", "b-2"):
            of_key = [event.id for event in published if event.partition_key == key]
            assert [id for id in taken if id in of_key] == of_key
        assert len(taken) == 9
        line, again = [line for line in logs if "operator" in line["event"]]
        assert line == again
        assert (line["event"], line["verb"]) == ("operator changed data", "dead-letters redrive")
        assert (line["who"], line["changed"]) == ("Ada", 9)
        assert line["what"] == "redrive 9 dead letters (keys: b-0, b-1, b-2)"


async def test_only_selected_dead_letters_are_redriven(task_store: TaskStore) -> None:
    ids = await bury(task_store, letter(), letter("b-2"), letter(reason="Reject: no"))
    shell = Shell("books", task_store.url)
    ran = await shell.run("dead-letters", "redrive", "--reason", "ValueError", "--yes")
    assert ran.code == OK
    assert "done: 2 dead letters\n" in ran.err
    assert await remaining(task_store) == [ids[2]]
    assert await waiting(task_store) == ids[:2]
    ran = await shell.run("dead-letters", "redrive", "3", "--yes")
    assert ran.code == OK
    assert "books: redrive 1 dead letter (keys: b-1)\n" in ran.err
    assert "done: 1 dead letter\n" in ran.err
    assert await remaining(task_store) == []


async def test_many_are_redriven_in_commits_of_a_bounded_size(task_store: TaskStore) -> None:
    ids = await bury(task_store, *(letter(f"b-{number}") for number in range(1200)))
    sizes = []
    while count := await task_store.database.transaction(
        lambda tx: redrive_dead_letters(tx.session, DeadLetterFilter())
    ):
        sizes.append(count)
    assert sizes == [500, 500, 200]
    assert await waiting(task_store) == ids


async def test_any_number_of_ids_can_be_given(
    task_store: TaskStore,
) -> None:
    await bury(task_store, *(letter(f"b-{number}") for number in range(1200)))
    named = DeadLetterFilter(ids=range(1, 100_000))
    while await task_store.database.transaction(lambda tx: redrive_dead_letters(tx.session, named)):
        pass
    assert await remaining(task_store) == []


async def test_changes_before_a_failure_are_logged(
    task_store: TaskStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bury(task_store, *(letter(f"b-{number}") for number in range(700)))
    calls = 0
    redrive = redrive_dead_letters

    def failing_later(session: Session, chosen: DeadLetterFilter) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise DatabaseDown("gone")
        return redrive(session, chosen)

    verb = "chassis.operations.command_line.dead_letters.redrive_dead_letters"
    monkeypatch.setattr(verb, failing_later)
    with capture_logs() as logs:
        ran = await Shell("books", task_store.url).run("dead-letters", "redrive", "--all", "--yes")
    assert ran.code == UNAVAILABLE
    assert "the database cannot be reached: gone" in ran.err
    (line,) = [line for line in logs if "operator" in line["event"]]
    assert line["changed"] == 500
    assert len(await remaining(task_store)) == 200


async def test_later_dead_letters_are_not_changed(task_store: TaskStore) -> None:
    ids = await bury(task_store, letter(), letter())
    seen = DeadLetterFilter(up_to_id=1)
    await task_store.database.transaction(lambda tx: redrive_dead_letters(tx.session, seen))
    assert await remaining(task_store) == ids[1:]


@pytest.mark.parametrize("verb", ["redrive", "drop"])
async def test_a_change_is_described_and_must_be_confirmed(
    task_store: TaskStore, verb: str
) -> None:
    ids = await bury(task_store, letter(), letter("b-2"))
    shell = Shell("books", task_store.url)

    dry = await shell.run("dead-letters", verb, "--all", "--dry-run")
    assert dry.code == OK
    assert "bookstore.v1.BookSold       2     2" in dry.out
    assert f"books: {verb} 2 dead letters (keys: b-1, b-2)" in dry.err
    assert "nothing was changed" in dry.err

    no_terminal = await shell.run("dead-letters", verb, "--all")
    assert no_terminal.code == USAGE
    assert "give --yes; nothing was changed" in no_terminal.err

    no = await shell.run("dead-letters", verb, "--all", answer="\n")
    assert no.code == FAILED
    assert no.out.startswith("type ")
    assert no.err.endswith("continue? [y/N] nothing was changed\n")
    assert await remaining(task_store) == ids

    yes = await shell.run("dead-letters", verb, "--all", answer="y\n")
    assert yes.code == OK
    assert await remaining(task_store) == []
    assert await waiting(task_store) == (ids if verb == "redrive" else [])


async def test_a_change_without_a_selection_is_refused(task_store: TaskStore) -> None:
    await bury(task_store, letter())
    ran = await Shell("books", task_store.url).run("dead-letters", "drop", "--yes")
    assert (ran.code, ran.err) == (
        USAGE,
        "name the dead letters to drop: IDs, a filter, or --all\n",
    )
    assert len(await remaining(task_store)) == 1


async def test_a_selection_without_matches_has_its_own_exit_code(task_store: TaskStore) -> None:
    ran = await Shell("books", task_store.url).run("dead-letters", "drop", "--key", "b", "--yes")
    assert (ran.code, ran.out) == (NOTHING, "")
    assert ran.err == "nothing matches; nothing was changed\n"
