"""An operator lists, reads, redrives and drops dead letters."""

import asyncio
import contextlib
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bookshop import Node, accountant, eventually
from reading import taken_ids
from shell import Shell
from shop_and_books import dead
from sqlalchemy.orm import Session
from structlog.testing import capture_logs
from task_store import TaskStore
from terminal import typed_on_a_terminal

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.database import DatabaseDown
from chassis.database.engine import database_file, is_sqlite
from chassis.events.producer.event_factory import EventFactory
from chassis.events.tasks import dead_letter_rows
from chassis.exit_codes import CONFIGURATION, FAILED, NOTHING, OK, UNAVAILABLE, USAGE
from chassis.operations import DeadLetterFilter, redrive_dead_letters
from localservers import NatsServer

pytestmark = pytest.mark.dialect

NewDatabase = Callable[[str], str]
PUBLISHER = EventFactory("bookstore", (BookSold, BookReturned))


def letter(
    key: str = "b-1", reason: str = "ValueError: no", *, ago: float = 0, returned: bool = False
) -> dict[str, Any]:
    """Return the row of a dead letter."""
    message = (BookReturned if returned else BookSold)(book_id=key, customer_id="me")
    context, row = PUBLISHER.create(message, None)
    return {
        "source": context.source,
        "key": key,
        "event_id": context.id,
        "type": context.type,
        **{name: row[name] for name in ("subject", "headers", "data")},
        "reason": reason,
        "tries": 5,
        "died_at": time.time() - ago,
    }


@pytest.fixture
def task_store(prepared_sqlite: str, tmp_path: Path) -> Iterator[TaskStore]:
    made = TaskStore(f"sqlite:///{shutil.copy(prepared_sqlite, tmp_path / 'books.db')}")
    yield made
    made.close()


async def bury(task_store: TaskStore, *letters: dict[str, Any]) -> list[str]:
    """Store dead letters; return the ids of their events."""
    await task_store.database.transaction(lambda tx: dead_letter_rows.store(tx.session, letters))
    return [row["event_id"] for row in letters]


async def remaining(task_store: TaskStore) -> list[str]:
    return [row.event_id for row in await task_store.dead()]


async def waiting(task_store: TaskStore) -> list[str]:
    return [row.event_id for row in await task_store.rows()]


FILTERS = [
    ("", [0, 1, 2, 3]),
    ("--type BookReturned", [3]),
    ("--type bookstore.v1.BookSold", [0, 1, 2]),
    ("--type Sold", []),
    ("--key b-2", [2]),
    ("--reason 100%", [2]),
    ("--reason VALUEERROR", [0, 1]),
    ("--older-than 1h", [0, 1]),
    ("--newer-than 1h", [2, 3]),
    ("--older-than 1h --newer-than 2d", [1]),
    ("--limit 2", [0, 1]),
]


async def test_dead_letters_are_listed_by_type_key_reason_and_age_oldest_first(
    new_database: NewDatabase,
) -> None:
    with contextlib.closing(TaskStore(new_database("books"))) as task_store:
        ids = await bury(
            task_store,
            letter(ago=7 * 86400),
            letter(ago=7200),
            letter("b-2", "Reject: 100% sold"),
            letter(returned=True, reason="KeyError: 1000"),
        )
        for typed, found in FILTERS:
            shell = Shell("books", task_store.url)
            ran = await shell.run("dead-letters", "list", "--json", *typed.split())
            assert [row["event_id"] for row in ran.rows] == [ids[index] for index in found], typed
            assert ran.code == (OK if found else NOTHING)


async def test_a_list_says_how_many_it_leaves_out(task_store: TaskStore) -> None:
    await bury(task_store, *(letter() for _ in range(3)))
    ran = await Shell("books", task_store.url).run("dead-letters", "list", "--limit", "2")
    assert len(ran.out.splitlines()) == 1 + 2
    assert ran.err == "and 1 more; --limit shows them\n"


async def test_a_dead_letter_is_shown_completely_with_its_data(task_store: TaskStore) -> None:
    (id,) = await bury(task_store, letter("b-7", "ValueError: line\none"))
    shell = Shell("books", task_store.url, router=accountant())
    (row,) = (await shell.run("dead-letters", "show", "1", "--json")).rows
    assert row["data"] == {"book_id": "b-7", "customer_id": "me"}
    assert row["headers"]["ce-id"] == id
    assert (row["reason"], row["tries"]) == ("ValueError: line\none", 5)

    shown = await shell.run("dead-letters", "show", "1", "2")
    assert f"event id  {id}\n" in shown.out
    # A line break within the error must not break the line of output.
    assert r"ValueError: line\none" in shown.out
    assert "there is no dead letter 2" in shown.err


async def test_data_that_cannot_be_decoded_is_shown_as_bytes(task_store: TaskStore) -> None:
    await bury(task_store, {**letter(), "data": b"\xff\x00"})
    shell = Shell("books", task_store.url, router=accountant())
    (row,) = (await shell.run("dead-letters", "show", "1", "--json")).rows
    assert row["data_base64"] == "/wA="


SERVICE = """
import sys
sys.path[:0] = sys.argv[1:3]
from bookshop import accountant
from chassis import Service, ServiceSettings
from chassis._commands import main
books = Service("books", settings=ServiceSettings, events=[accountant()])
sys.exit(main(books, sys.argv[3:]))
"""


@pytest.mark.parametrize("columns", [20, 0])
async def test_a_table_is_complete_whatever_the_size_of_the_terminal(
    task_store: TaskStore, columns: int
) -> None:
    await bury(task_store, letter(reason="ValueError: the reason is as long as it has to be"))
    tests = Path(__file__).parents[1]

    def typed(*arguments: str) -> str:
        folders = [str(tests / "contracts"), str(tests / "parts")]
        return typed_on_a_terminal(
            [sys.executable, "-c", SERVICE, *folders, *arguments],
            columns,
            answer="n\n",
            environment={
                "APP_DATABASE_URL": task_store.url,
                "APP_NATS_URL": "nats://127.0.0.1:1",
                "COLUMNS": "10",
            },
        )

    listed = await asyncio.to_thread(typed, "dead-letters", "list")
    assert re.search(r"^id  died .*  reason$", listed, re.M)
    assert re.search(r"as long as it has to be$", listed, re.M)
    plan = await asyncio.to_thread(typed, "dead-letters", "redrive", "--all")
    assert re.search(r"^type .*  reason$", plan, re.M)
    assert "continue? [y/N] nothing was changed" in plan
    status = await asyncio.to_thread(typed, "events", "status")
    assert re.search(r"^stream +type .*  stopped  paused  handled$", status, re.M)


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


@pytest.mark.parametrize("json", [(), ("--json",)])
@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("dead-letters list", "no dead letters match\n"),
        ("events lag", "no subject is behind, and no lane is stopped\n"),
        ("outbox refused", "no events are refused\n"),
    ],
)
async def test_an_empty_list_says_so(
    nats: NatsServer, task_store: TaskStore, typed: str, said: str, json: tuple[str, ...]
) -> None:
    ran = await Shell("books", task_store.url, nats.url).run(*typed.split(), *json)
    assert (ran.code, ran.out.strip(), ran.err) == (NOTHING, "[]" if json else "", said)


async def test_an_unavailable_database_has_its_own_exit_code() -> None:
    url = "postgresql+psycopg://ada:secret@127.0.0.1:1/books"
    ran = await Shell("books", url).run("dead-letters", "list")
    assert ran.code == UNAVAILABLE
    assert ran.err.startswith("the database cannot be reached: ")
    assert "secret" not in ran.err


async def test_a_database_without_migrations_is_an_error_with_what_to_do(
    empty_database: NewDatabase,
) -> None:
    url = empty_database("new")
    if is_sqlite(url):
        database_file(url).touch()
    ran = await Shell("books", url).run("dead-letters", "list")
    assert ran.code == FAILED
    assert "`python -m books migrate`" in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize(
    "typed", ["dead-letters list", "events status", "outbox status", "events pause all --yes"]
)
async def test_a_database_file_that_does_not_exist_is_not_created(
    tmp_path: Path, typed: str
) -> None:
    file = tmp_path / "none.db"
    shell = Shell("books", f"sqlite:///{file}", publishes=[BookSold])
    ran = await shell.run(*typed.split())
    assert (ran.code, ran.out) == (CONFIGURATION, "")
    assert ran.err == (
        f"there is no database at {file} (APP_DATABASE_URL): "
        "run the command in the service's folder, or name its database\n"
    )
    assert list(tmp_path.iterdir()) == []


async def test_another_services_database_is_refused(prepared_sqlite: str, tmp_path: Path) -> None:
    url = f"sqlite:///{shutil.copy(prepared_sqlite, tmp_path / 'films.db')}"
    with contextlib.closing(TaskStore(url)) as films:
        await films.database.identify("films")
        await bury(films, letter())
        ran = await Shell("books", url).run("dead-letters", "drop", "--all", "--yes")
        assert ran.code == CONFIGURATION
        assert "this database belongs to the service 'films'" in ran.err
        assert len(await remaining(films)) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("dead-letters",),
        ("dead-letters", "raise"),
        ("dead-letters", "list", "--tpye", "x"),
        ("dead-letters", "list", "--older-than", "3 days"),
        ("dead-letters", "show"),
    ],
)
def test_wrong_usage_exits_with_64(arguments: tuple[str, ...]) -> None:
    ran = Shell("books", "sqlite:///none.db").type(*arguments)
    assert ran.code == USAGE
    assert ran.err.startswith("usage: python -m books dead-letters")
    assert ran.out == ""


def test_help_lists_the_verbs() -> None:
    ran = Shell("books", "sqlite:///none.db").type("dead-letters", "--help")
    assert ran.code == OK
    assert [verb for verb in ("list", "show", "redrive", "drop") if verb in ran.out]
