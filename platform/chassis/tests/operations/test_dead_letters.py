"""An operator lists and reads dead letters."""

import asyncio
import contextlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from bookshop import accountant
from letters import bury, letter, remaining
from shell import Shell
from task_store import TaskStore
from terminal import typed_on_a_terminal

from bookstore.v1 import BookSold
from chassis.database.engine import database_file, is_sqlite
from chassis.exit_codes import CONFIGURATION, FAILED, NOTHING, OK, UNAVAILABLE, USAGE
from localservers import NatsServer

pytestmark = pytest.mark.dialect

NewDatabase = Callable[[str], str]
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
    ("--version 1.3.0", [2]),
    ("--version 1.2.0 --key b-2", []),
    ("--limit 2", [0, 1]),
]


async def test_dead_letters_are_listed_by_type_key_reason_version_and_age_oldest_first(
    new_database: NewDatabase,
) -> None:
    with contextlib.closing(TaskStore(new_database("books"))) as task_store:
        ids = await bury(
            task_store,
            letter(ago=7 * 86400),
            letter(ago=7200),
            letter("b-2", "Reject: 100% sold", version="1.3.0"),
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
            SERVICE,
            *folders,
            *arguments,
            columns=columns,
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
