"""Migrations run once for all processes, and create the tables that the code declares."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from forked_python import run_code, start_code
from sqlalchemy import NullPool, create_engine

from chassis.database import migrate, tables

pytestmark = pytest.mark.dialect

NewDatabase = Callable[[str], str]
# A script that migrates when the file exists that its second argument names.
_MIGRATES = """
import os, sys, time
from chassis.database import migrate
print("here", flush=True)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.001)
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


@pytest.mark.long
def test_one_of_several_concurrent_migrations_does_the_work(
    empty_database: NewDatabase, tmp_path: Path
) -> None:
    url, start = empty_database("books"), tmp_path / "start"
    outputs = [tmp_path / f"{number}.txt" for number in range(4)]
    processes = [start_code(_MIGRATES, url, str(start), stdout=output) for output in outputs]
    for process, output in zip(processes, outputs, strict=True):
        while output.read_text(encoding="utf-8") != "here\n":
            assert process.is_alive()
            time.sleep(0.01)
    start.touch()
    for process in processes:
        process.join(100)
    said = sorted(output.read_text(encoding="utf-8") for output in outputs)
    assert said == ["here\nFalse\n"] * 3 + ["here\nTrue\n"]
    assert not migrate(url).changed


@pytest.mark.long
def test_a_killed_migration_can_be_continued(empty_database: NewDatabase) -> None:
    url = empty_database("books")
    for changes in (3, 5, 5, 9):
        assert run_code(_DIES, url, str(changes)).returncode == 9
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
