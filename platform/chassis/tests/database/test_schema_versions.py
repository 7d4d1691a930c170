"""Newer code waits for its migrations, and older code runs on a newer database."""

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from bookstore_process import BookstoreProcess
from sqlalchemy import NullPool, create_engine, text

from chassis.database import migrate, schema
from chassis.database.migrate import Diverged
from chassis.database.schema import Code
from localservers import PostgresServer, free_port

NewDatabase = Callable[[str], str]
pytestmark = [pytest.mark.dialect, pytest.mark.timeout(300)]

FIRST = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels = "shelves_0001", None, ("shelves",)

def upgrade() -> None:
    op.create_table("shelf", sa.Column("place", sa.Integer, primary_key=True))
"""
SECOND = """
import sqlalchemy as sa
from alembic import op
revision: str = "shelves_0002"
down_revision = "shelves_0001"

def upgrade() -> None:
    op.add_column("shelf", sa.Column("label", sa.String(64)))
"""


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two packages of migrations, of which the newer has one more revision."""
    folder = tmp_path_factory.mktemp("versions")
    for name, revisions in {"older": [FIRST], "newer": [FIRST, SECOND]}.items():
        package = folder / f"shelves_{name}"
        package.mkdir()
        (package / "__init__.py").touch()
        for number, revision in enumerate(revisions, start=1):
            (package / f"{number:04}_shelf.py").write_text(revision, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def importable(versions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(versions)


def newest_of_chassis() -> str:
    (head,) = Code(None).heads
    return head


def test_the_result_of_a_migration_is_one_line(empty_database: NewDatabase) -> None:
    url, chassis = empty_database("books"), newest_of_chassis()
    older, newer = f"{chassis}, shelves_0001", f"{chassis}, shelves_0002"
    assert str(migrate(url, "shelves_older")) == f"migrated from nothing to {older}"
    assert str(migrate(url, "shelves_older")) == f"nothing to migrate: the database is at {older}"
    assert str(migrate(url, "shelves_newer")) == f"migrated from {older} to {newer}"
    assert str(migrate(url, "shelves_older")) == (
        f"nothing to migrate: the database ({newer}) is newer than this code"
    )
    # Older code has not changed what newer code recorded.
    assert str(migrate(url, "shelves_newer")) == f"nothing to migrate: the database is at {newer}"


def test_missing_and_unknown_revisions_are_found(empty_database: NewDatabase) -> None:
    url = empty_database("books")
    migrate(url, "shelves_older")
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        assert schema.compare(connection, Code("shelves_newer")).missing == ("shelves_0002",)
    migrate(url, "shelves_newer")
    with engine.connect() as connection:
        found = schema.compare(connection, Code("shelves_older"))
    assert (found.missing, found.unknown) == ((), ("shelves_0002",))


def test_a_diverged_database_is_refused(empty_database: NewDatabase) -> None:
    url = empty_database("books")
    migrate(url, "shelves_newer")
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        # The state that code leaves whose service is newer and whose chassis is older.
        older = "UPDATE slipway_schema SET digest = '', revisions = replace(revisions, :newest, '')"
        connection.execute(text(older), {"newest": newest_of_chassis()})
    with pytest.raises(Diverged, match=f"has shelves_0002, .* lacks {newest_of_chassis()}"):
        migrate(url, "shelves_older")


def test_a_migration_that_was_killed_before_its_record_runs_again(
    empty_database: NewDatabase,
) -> None:
    url = empty_database("books")
    migrate(url, "shelves_newer")
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM slipway_schema"))
    assert migrate(url, "shelves_newer").changed
    assert not migrate(url, "shelves_newer").changed


def test_an_up_to_date_database_is_opened_without_alembic(
    empty_database: NewDatabase,
) -> None:
    url = empty_database("books")
    migrate(url)
    asks = (
        "import sys; from chassis.database import migrate; migrate(sys.argv[1]); "
        "print([name for name in sys.modules if name.startswith('alembic')])"
    )
    ran = subprocess.run([sys.executable, "-c", asks, url], capture_output=True, encoding="utf-8")
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_a_migration_that_an_unavailable_database_prevents_can_be_retried(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    away = BookstoreProcess(
        tmp_path, database_url=f"postgresql+psycopg://u@127.0.0.1:{free_port()}/books"
    )
    url = postgres.create_database(f"read_only_{uuid.uuid4().hex[:8]}")
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        setting = "SET default_transaction_read_only = on"
        connection.execute(text(f"ALTER DATABASE {engine.url.database} {setting}"))
    read_only = BookstoreProcess(tmp_path, database_url=url)
    for bookstore, reason in ((away, "refused"), (read_only, "read-only transaction")):
        ran = bookstore.command("migrate")
        assert (ran.returncode, ran.stdout) == (69, "")
        (line,) = ran.stderr.splitlines()
        assert line.startswith("not migrated: ")
        assert reason in line


async def test_a_migration_may_wait_for_its_database(
    tmp_path: Path, own_postgres: PostgresServer
) -> None:
    own_postgres.stop()
    bookstore = BookstoreProcess(tmp_path, database_url=own_postgres.url())
    migration = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bookstore_service", "migrate", "--wait", "60",
        env=bookstore.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert migration.stderr
    assert (await migration.stderr.readline()).startswith(b"waiting: ")
    own_postgres.start()
    output, errors = await migration.communicate()
    assert (migration.returncode, errors) == (0, b"")
    assert output.startswith(b"migrated from nothing to ")


async def test_a_start_on_a_database_that_takes_no_writes_waits_for_it(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    url = postgres.create_database(f"read_only_{uuid.uuid4().hex[:8]}")
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)

    def only_reads(setting: str) -> None:
        with engine.connect() as connection:
            connection.execute(text("SET default_transaction_read_only = off"))
            connection.execute(text(f"ALTER DATABASE {engine.url.database} {setting}"))

    only_reads("SET default_transaction_read_only = on")
    with BookstoreProcess(tmp_path, database_url=url) as bookstore:
        await bookstore.wait_for_log("waiting for the database", reason="the server is read-only")
        assert (await bookstore.wait_for_answer("/readyz", 503)).json()["status"] == "starting"
        only_reads("RESET default_transaction_read_only")
        await bookstore.wait_for_answer("/readyz", 200)


async def test_newer_code_in_production_is_not_ready_until_its_own_migrations_have_run(
    tmp_path: Path, versions: Path
) -> None:
    bookstore = BookstoreProcess(tmp_path, environment="production")
    bookstore.environment["PYTHONPATH"] += f":{versions}"
    bookstore.environment["STALL_MIGRATIONS"] = "shelves_newer"
    url = bookstore.environment["APP_DATABASE_URL"]
    migrate(url, "shelves_older")
    with bookstore:
        await bookstore.wait_for_log(
            "waiting for the database",
            reason="migrations are missing: run `python -m bookstore migrate`",
            lacks="shelves_0002",
        )
        report = (await bookstore.wait_for_answer("/readyz", 503)).json()
        assert report["status"] == "starting"
        assert report["dependencies"]["schema"] == "lacks shelves_0002"
        migrate(url, "shelves_newer")
        report = (await bookstore.wait_for_answer("/readyz", 200)).json()
        assert "schema" not in report["dependencies"]


@pytest.mark.parametrize("environment", ["production", "development"])
async def test_older_code_runs_on_a_newer_database_with_a_warning(
    tmp_path: Path, versions: Path, environment: str
) -> None:
    bookstore = BookstoreProcess(tmp_path, environment=environment)
    bookstore.environment["PYTHONPATH"] += f":{versions}"
    bookstore.environment["STALL_MIGRATIONS"] = "shelves_older"
    migrate(bookstore.environment["APP_DATABASE_URL"], "shelves_newer")
    with bookstore:
        await bookstore.wait_for_answer("/readyz", 200)
        (said,) = (
            line for line in bookstore.log_lines() if "newer than this code" in line["event"]
        )
        assert (said["level"], said["unknown_revisions"]) == ("warning", ["shelves_0002"])
