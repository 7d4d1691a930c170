"""A database knows its service, so that two services cannot share one."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect
from sqlalchemy.pool import NullPool

from chassis.database import Database, WrongDatabase, migrate
from chassis.database.identity import claim
from chassis.events.producer.event_factory import EventFactory

pytestmark = [pytest.mark.dialect, pytest.mark.unit]

NewDatabase = Callable[[str], str]


async def identity_of(url: str, service: str) -> str:
    database = Database(url, EventFactory(service))
    try:
        return (await database.identify(service)).id
    finally:
        database.close()


async def test_a_database_belongs_to_the_service_that_migrated_it(
    empty_database: NewDatabase,
) -> None:
    url = empty_database("books")
    assert migrate(url, service="books").changed
    assert await identity_of(url, "books") == await identity_of(url, "books")
    with pytest.raises(WrongDatabase, match=r"belongs to the service 'books', .*APP_DATABASE_URL"):
        migrate(url, service="audit")
    with pytest.raises(WrongDatabase, match=r"SET service = 'audit'"):
        await identity_of(url, "audit")
    assert not migrate(url, service="books").changed


async def test_another_services_migrations_leave_no_table_behind(
    empty_database: NewDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "its_migrations"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "0001_own.py").write_text(
        'from alembic import op\nrevision = "audit_1"\ndown_revision = None\n'
        'branch_labels = ("audit",)\n\n\ndef upgrade():\n    op.create_table("audit")\n',
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    url = empty_database("books")
    migrate(url, service="books")
    with pytest.raises(WrongDatabase):
        migrate(url, "its_migrations", service="audit")
    engine = create_engine(url, poolclass=NullPool)
    assert "audit" not in inspect(engine).get_table_names()


async def test_an_older_database_belongs_to_the_service_that_starts_first(
    new_database: NewDatabase,
) -> None:
    # The fixture has migrated this database without a name.
    url = new_database("books")
    ids, errors = set[str](), list[Exception]()
    at_once = threading.Barrier(4)

    def start(service: str) -> None:
        database = Database(url, EventFactory(service))
        try:
            at_once.wait(20)
            ids.add(database.transact(lambda tx: claim(tx.session, service).id))
        except Exception as error:
            errors.append(error)
        finally:
            database.close()

    names = ["books", "audit", "books", "audit"]
    threads = [threading.Thread(target=start, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 1
    assert [type(error) for error in errors] == [WrongDatabase] * 2


async def test_a_copy_of_a_file_is_the_same_database_and_another_file_is_not(
    tmp_path: Path,
) -> None:
    for name in ("one", "two"):
        migrate(f"sqlite:///{tmp_path}/{name}.db", service="books")
    shutil.copy(tmp_path / "one.db", tmp_path / "restored.db")
    one, two, restored = [
        await identity_of(f"sqlite:///{tmp_path}/{name}.db", "books")
        for name in ("one", "two", "restored")
    ]
    assert restored == one != two
