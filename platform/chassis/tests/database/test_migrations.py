"""Migrations run once for all processes, and create the tables that the code declares."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import NullPool, create_engine

from chassis.database import migrate, tables

pytestmark = pytest.mark.dialect

NewDatabase = Callable[[str], str]
_MIGRATES = """
import sys
import alembic.command
from chassis.database import migrate
print("here", flush=True)
sys.stdin.readline()
print(migrate(sys.argv[1]).changed)
"""
# A script that ends its process after the given number of changes of the schema.
_DIES = """
import os, sys
from sqlalchemy import Engine, event
from chassis.database import migrate
changes = 0
@event.listens_for(Engine, "after_cursor_execute")
def count(_connection, _cursor, statement, *_):
    global changes
    changes += statement.lstrip().upper().startswith(("CREATE", "ALTER", "DROP"))
    if changes == int(sys.argv[2]):
        os._exit(9)
migrate(sys.argv[1])
"""


def test_one_of_several_concurrent_migrations_does_the_work(
    empty_database: NewDatabase,
) -> None:
    url = empty_database("books")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _MIGRATES, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [process.communicate(timeout=100) for process in processes]
    assert [errors for _, errors in ended] == [""] * 4
    assert sorted(said for said, _ in ended) == ["False\n"] * 3 + ["True\n"]
    assert not migrate(url).changed


def test_a_killed_migration_can_be_continued(empty_database: NewDatabase) -> None:
    url = empty_database("books")
    for changes in (3, 5, 5, 9):
        killed = subprocess.run([sys.executable, "-c", _DIES, url, str(changes)], timeout=60)
        assert killed.returncode == 9
    assert migrate(url).changed
    assert not migrate(url).changed


def test_a_migrated_database_has_the_chassis_tables_as_they_are_declared(
    empty_database: NewDatabase,
) -> None:
    url = empty_database("books")
    assert migrate(url).changed
    ours = set(tables.metadata.tables)

    def is_ours(_: object, name: str | None, kind: str, *__: object) -> bool:
        return kind != "table" or name in ours

    with create_engine(url, poolclass=NullPool).connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_object": is_ours,
                "compare_type": True,
                "compare_server_default": True,
            },
        )
        assert compare_metadata(context, tables.metadata) == []
