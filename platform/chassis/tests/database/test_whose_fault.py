"""Errors of the database are classified by their codes: its own fault, or the work's."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from bookshop import journal, prepare_database
from sqlalchemy import NullPool, create_engine, insert, text
from sqlalchemy.exc import DBAPIError

from chassis.database import Database, DatabaseAtFault, DatabaseDown, ReadTransaction, Transaction
from chassis.database.engine import place_of
from chassis.events.producer.event_factory import EventFactory
from localservers import PostgresServer

pytestmark = pytest.mark.dialect

NewDatabase = Callable[[str], str]
LARGE = "x" * 100_000


@pytest.fixture
def on_postgres(postgres: PostgresServer, prepared_postgres: str) -> Iterator[Database]:
    name = f"faults_{uuid.uuid4().hex[:8]}"
    url = postgres.create_database(name, template=prepared_postgres)
    database = Database(url, EventFactory("books"))
    yield database
    database.close()


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path}/books.db"
    prepare_database(url)
    database = Database(url, EventFactory("books"))
    yield database
    database.close()


def line(tx: Transaction, said: str) -> None:
    tx.session.execute(insert(journal).values(event_id="1", type=said))


def lines(database: Database) -> int:
    with database.read_engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM journal")).scalar_one())


def fill_disk(tx: Transaction) -> None:
    """Allow no more pages to this connection, which is the only one that writes."""
    pages = tx.session.execute(text("PRAGMA page_count")).scalar_one()
    tx.session.execute(text(f"PRAGMA max_page_count = {pages}"))


def only_reads(url: str, setting: str) -> None:
    """Change the setting for new sessions; open ones keep theirs."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("SET default_transaction_read_only = off"))
        connection.execute(text(f"ALTER DATABASE {engine.url.database} {setting}"))


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        (("53100", "53300", "57P01", "57P03"), DatabaseDown),
        (("08006", "53200", "58030", "XX001", "42P01", "42703", "42501"), DatabaseAtFault),
        (("23505", "22012", "57014", "55P03", "P0001"), DBAPIError),
    ],
)
def test_errors_are_classified_by_their_codes(
    on_postgres: Database, codes: tuple[str, ...], kind: type[Exception]
) -> None:
    raises = "DO $$ BEGIN RAISE 'said so' USING ERRCODE = '{}'; END $$"
    for code in codes:
        with pytest.raises(kind, match="said so"):
            on_postgres.transact(
                lambda tx, code=code: tx.session.execute(text(raises.format(code)))  # type: ignore[misc]
            )


def test_errors_of_a_commit_are_classified_too(on_postgres: Database) -> None:
    def prepare(tx: Transaction) -> None:
        tx.session.execute(
            text(
                "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END $$"
            )
        )
        tx.session.execute(
            text(
                "CREATE CONSTRAINT TRIGGER no_room AFTER INSERT ON journal "
                "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION no_room()"
            )
        )

    on_postgres.transact(prepare)
    with pytest.raises(DatabaseDown, match="could not extend file"):
        on_postgres.transact(lambda tx: line(tx, "one"))


def wrapped(tx: Transaction) -> None:
    try:
        line(tx, LARGE)
    except DBAPIError as error:
        raise ValueError("it did not work") from error


def renamed(tx: Transaction) -> None:
    try:
        line(tx, LARGE)
    except DBAPIError:
        raise ValueError("it did not work") from None


def raised_later(tx: Transaction) -> None:
    failed = False
    try:
        line(tx, LARGE)
    except DBAPIError:
        failed = True
    if failed:
        raise ValueError("it did not work")


def swallowed(tx: Transaction) -> None:
    line(tx, "before")
    with suppress(DBAPIError):
        line(tx, LARGE)


def gone_on(tx: Transaction) -> None:
    swallowed(tx)
    line(tx, "after")


@pytest.mark.parametrize("work", [wrapped, renamed, raised_later, swallowed, gone_on])
def test_a_full_disk_is_noticed_whatever_the_work_does_with_the_error(
    on_sqlite: Database, work: Callable[[Transaction], None]
) -> None:
    """SQLite rolls back by itself; later statements would each be committed on their own."""
    on_sqlite.transact(fill_disk)
    with pytest.raises(DatabaseDown, match="disk is full"):
        on_sqlite.transact(work)
    assert lines(on_sqlite) == 0


async def test_a_server_that_became_read_only_is_down_until_a_connection_finds_a_writable_one(
    on_postgres: Database,
) -> None:
    only_reads(on_postgres.url, "SET default_transaction_read_only = on")
    for _ in range(2):
        with pytest.raises(DatabaseDown, match="the server is read-only"):
            await on_postgres.transaction(lambda tx: line(tx, "one"))
        with pytest.raises(DatabaseDown, match="the server is read-only"):
            await on_postgres.check()
    only_reads(on_postgres.url, "RESET default_transaction_read_only")
    # The pooled connections stay read-only until they are closed.
    await on_postgres.transaction(lambda tx: line(tx, "one"))
    await on_postgres.check(write=True)
    assert lines(on_postgres) == 1


async def test_work_refused_by_a_server_that_takes_writes_again_is_not_to_blame(
    on_postgres: Database,
) -> None:
    def refused(tx: Transaction) -> None:
        tx.session.execute(text("SET TRANSACTION READ ONLY"))
        line(tx, "one")

    with pytest.raises(DatabaseAtFault, match="read-only transaction"):
        await on_postgres.transaction(refused)
    await on_postgres.transaction(lambda tx: line(tx, "one"))


async def test_a_url_with_several_hosts_finds_the_one_that_takes_writes(
    postgres: PostgresServer, own_postgres: PostgresServer
) -> None:
    name = f"hosts_{uuid.uuid4().hex[:8]}"
    for server in (postgres, own_postgres):
        prepare_database(server.create_database(name))
    hosts = "&".join(f"host=127.0.0.1:{server.port}" for server in (postgres, own_postgres))
    url = f"postgresql+psycopg://postgres@/{name}?{hosts}&target_session_attrs=read-write"
    places = f"127.0.0.1:{postgres.port} or 127.0.0.1:{own_postgres.port}"
    assert place_of(url) == f"{name} on {places}"
    database = Database(url, EventFactory("books"))

    def port(tx: Transaction) -> int:
        line(tx, "one")
        return int(tx.session.execute(text("SELECT current_setting('port')")).scalar_one())

    try:
        assert await database.transaction(port) == postgres.port
        only_reads(postgres.url(name), "SET default_transaction_read_only = on")
        # Pooled connections that survived the fail-over are read-only.
        with database.engine.connect() as connection:
            connection.execute(text("SET default_transaction_read_only = on"))
            connection.commit()
        assert await database.transaction(port) == own_postgres.port
        await database.check(write=True)
    finally:
        database.close()


async def test_a_write_in_a_reading_transaction_is_the_works_fault(
    new_database: NewDatabase,
) -> None:
    database = Database(new_database("books"), EventFactory("books"))
    with pytest.raises(DBAPIError):
        await database.read(lambda tx: tx.session.execute(text("DELETE FROM journal")))
    database.close()


async def test_a_missing_table_is_not_the_works_fault(
    new_database: NewDatabase,
) -> None:
    database = Database(new_database("books"), EventFactory("books"))
    for statement in ("SELECT unknown FROM journal", "INSERT INTO nowhere VALUES (1)"):
        with pytest.raises(DatabaseAtFault, match=r"no such|does not exist"):
            await database.transaction(lambda tx, s=statement: tx.session.execute(text(s)))  # type: ignore[misc]
        with pytest.raises(DatabaseAtFault, match=r"no such|does not exist"):
            await database.read(lambda tx, s=statement: tx.session.execute(text(s)))  # type: ignore[misc]
    database.close()


def test_a_full_disk_within_a_savepoint_fails_the_transaction(on_postgres: Database) -> None:
    def work(tx: Transaction) -> None:
        line(tx, "before")
        with suppress(DBAPIError), tx.session.begin_nested():
            raises = "DO $$ BEGIN RAISE 'no room' USING ERRCODE = '53100'; END $$"
            tx.session.execute(text(raises))
        line(tx, "after")

    with pytest.raises(DatabaseDown, match="no room"):
        on_postgres.transact(work)
    assert lines(on_postgres) == 0


def test_a_missing_table_is_not_the_works_fault_even_if_the_error_is_swallowed(
    on_postgres: Database,
) -> None:
    def passed_over(tx: Transaction) -> None:
        with suppress(DBAPIError):
            tx.session.execute(text("INSERT INTO nowhere VALUES (1)"))

    def renamed(tx: ReadTransaction) -> None:
        try:
            tx.session.execute(text("SELECT 1 FROM nowhere"))
        except DBAPIError:
            raise ValueError("it did not work") from None

    for work in (passed_over, renamed):
        with pytest.raises(DatabaseAtFault, match="does not exist"):
            on_postgres.transact(work)
    with pytest.raises(DatabaseAtFault, match="does not exist"):
        on_postgres.read_here(renamed)


async def test_a_check_that_writes_finds_what_reading_does_not(
    new_database: NewDatabase,
) -> None:
    database = Database(new_database("books"), EventFactory("books"))

    def refuse_writes(tx: Transaction) -> None:
        if database.sqlite:
            said = "BEFORE UPDATE ON slipway_probe BEGIN SELECT RAISE(FAIL, 'no room'); END"
        else:
            tx.session.execute(
                text(
                    "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS "
                    "$$ BEGIN RAISE 'no room' USING ERRCODE = '53100'; END $$"
                )
            )
            said = "BEFORE UPDATE ON slipway_probe FOR EACH ROW EXECUTE FUNCTION no_room()"
        tx.session.execute(text(f"CREATE TRIGGER no_room {said}"))

    await database.check(write=True)
    await database.transaction(refuse_writes)
    await database.check()
    with pytest.raises(DatabaseDown, match="no room"):
        await database.check(write=True)
    database.close()


async def test_a_check_that_writes_does_not_wait_for_another_writer(on_sqlite: Database) -> None:
    with on_sqlite.engine.connect() as writer:
        writer.execute(text("DELETE FROM journal"))
        await on_sqlite.check(write=True)
        writer.rollback()
