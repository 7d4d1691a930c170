"""Work that ends its transaction fails, even if it catches the error."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from bookshop import journal, sold
from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError
from sqlalchemy.orm import Session, registry
from structlog.testing import capture_logs

from bookstore.v1 import BookSold
from chassis import ReadTransaction, Transaction
from chassis.database import Database, TransactionMisused
from chassis.database.tables import outbox
from chassis.events.producer.event_factory import EventFactory
from localservers import PostgresServer

pytestmark = pytest.mark.dialect

NewDatabase = Callable[[str], str]
Misuse = Callable[[Session], object]


class Line:
    """A line of the journal as an ORM object."""

    id: int


registry().map_imperatively(Line, journal)


@pytest.fixture
def database(new_database: NewDatabase) -> Iterator[Database]:
    database = Database(new_database("books"), EventFactory("bookstore", (BookSold,)))
    yield database
    database.close()


def write(session: Session, id: int) -> None:
    session.execute(insert(journal).values(id=id, event_id=str(id)))


async def lines(database: Database) -> list[int]:
    def ids(tx: ReadTransaction) -> list[int]:
        return list(tx.session.scalars(select(journal.c.id).order_by(journal.c.id)))

    return await database.read(ids)


def leave(session: Session) -> None:
    with session:
        pass


def driver(session: Session) -> Any:
    return session.connection().connection.dbapi_connection


REFUSED: dict[str, Misuse] = {
    "commit": lambda session: session.commit(),
    "rollback": lambda session: session.rollback(),
    "close": lambda session: session.close(),
    "begin": lambda session: session.begin(),
    "reset": lambda session: session.reset(),
    "invalidate": lambda session: session.invalidate(),
    "with": leave,
    "its transaction's commit": lambda session: session.get_transaction().commit(),  # type: ignore[union-attr]
    "its connection's commit": lambda session: session.connection().commit(),
    "COMMIT": lambda session: session.execute(text("COMMIT")),
    "ROLLBACK": lambda session: session.execute(text("  /* again */ rollback")),
    "END": lambda session: session.connection().exec_driver_sql("END"),
}
# SQLAlchemy considers the transaction ended after these, although the commit was refused.
SPENT = {"its transaction's commit", "its connection's commit"}
UNREFUSED: dict[str, Misuse] = {
    "its transaction's rollback": lambda session: session.get_transaction().rollback(),  # type: ignore[union-attr]
    "its transaction's close": lambda session: session.get_transaction().close(),  # type: ignore[union-attr]
    "its connection's rollback": lambda session: session.connection().rollback(),
    "its connection's close": lambda session: session.connection().close(),
    "its driver's rollback": lambda session: driver(session).rollback(),
    "a ROLLBACK past SQLAlchemy": lambda session: driver(session).execute("ROLLBACK"),
}


async def test_ending_the_transaction_is_refused_at_the_call(database: Database) -> None:
    for how, end in REFUSED.items():

        def work(tx: Transaction, how: str = how, end: Misuse = end) -> None:
            write(tx.session, 1)
            with pytest.raises(TransactionMisused, match=r"begin_nested\(\)"):
                end(tx.session)
            if how not in SPENT:
                # The transaction is still open.
                write(tx.session, 2)
                assert tx.session.scalar(select(func.count()).select_from(journal)) == 2
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await database.transaction(work)
        assert await lines(database) == [], how


async def test_work_that_continues_after_ending_its_transaction_changes_nothing(
    database: Database,
) -> None:
    for how, end in {**REFUSED, **UNREFUSED}.items():

        def work(tx: Transaction, end: Misuse = end) -> None:
            write(tx.session, 1)
            with suppress(Exception):
                end(tx.session)
            with suppress(Exception):
                write(tx.session, 2)
            tx.publish(sold(1))

        with pytest.raises(TransactionMisused, match=r"begin_nested\(\)"):
            await database.transaction(work)
        assert await lines(database) == [], how
        # The connection can still be used.
        await database.transaction(lambda tx: write(tx.session, 3))
        assert await lines(database) == [3], how
        await database.transaction(lambda tx: tx.session.execute(delete(journal)))


async def test_no_statement_runs_after_a_commit_through_the_driver(database: Database) -> None:
    def work(tx: Transaction) -> None:
        write(tx.session, 1)
        driver(tx.session).commit()
        with suppress(Exception):
            write(tx.session, 2)

    with pytest.raises(TransactionMisused):
        await database.transaction(work)
    assert await lines(database) == [1]


async def test_a_failed_flush_that_is_swallowed_fails_the_transaction(database: Database) -> None:
    await database.transaction(lambda tx: write(tx.session, 1))

    def work(tx: Transaction) -> None:
        write(tx.session, 2)
        tx.session.add(Line(id=1))  # type: ignore[call-arg]
        with suppress(IntegrityError):
            tx.session.flush()

    with pytest.raises(TransactionMisused, match="a failed flush"):
        await database.transaction(work)
    assert await lines(database) == [1]


async def test_a_swallowed_error_never_rolls_back_silently(
    database: Database,
) -> None:
    """PostgreSQL answers the COMMIT of a failed transaction by rolling back, without an error."""
    await database.transaction(lambda tx: write(tx.session, 1))

    def work(tx: Transaction) -> None:
        write(tx.session, 2)
        with suppress(IntegrityError):
            write(tx.session, 1)

    # SQLite undoes only the failed statement.
    if database.sqlite:
        await database.transaction(work)
        assert await lines(database) == [1, 2]
    else:
        with pytest.raises(TransactionMisused, match="a statement failed"):
            await database.transaction(work)
        assert await lines(database) == [1]


@pytest.mark.parametrize("way", ["statement", "flush", "by hand", "begin(nested=True)"])
async def test_a_failure_within_a_savepoint_leaves_other_changes(
    database: Database, way: str
) -> None:
    await database.transaction(lambda tx: write(tx.session, 1))

    def work(tx: Transaction) -> None:
        session = tx.session
        write(session, 2)
        if way == "by hand":
            savepoint = session.begin_nested()
            write(session, 3)
            savepoint.rollback()
        else:
            begin = nested(session) if way == "begin(nested=True)" else session.begin_nested
            try:
                with begin():
                    write(session, 3)
                    fail(session, flush=way == "flush")
            except IntegrityError:
                write(session, 6)
        with session.begin_nested():
            write(session, 4)
        write(session, 5)
        tx.publish(sold(1))

    await database.transaction(work)
    assert await lines(database) == [1, 2, 4, 5] + ([] if way == "by hand" else [6])


def fail(session: Session, *, flush: bool) -> None:
    """Write a line that exists already."""
    if flush:
        session.add(Line(id=1))  # type: ignore[call-arg]
        session.flush()
    write(session, 1)


def nested(session: Session) -> Callable[[], Any]:
    return lambda: session.begin(nested=True)


async def unsent(database: Database) -> int | None:
    statement = select(func.count()).select_from(outbox)
    return await database.read(lambda tx: tx.session.scalar(statement))


async def test_a_transaction_that_is_over_refuses_to_publish(
    database: Database,
) -> None:
    kept: list[Transaction] = []
    sessions: list[Session] = []

    def work(tx: Transaction) -> None:
        kept.append(tx)
        sessions.append(tx.session)

    def fail(tx: Transaction) -> None:
        work(tx)
        raise ZeroDivisionError

    await database.transaction(work)
    with pytest.raises(ZeroDivisionError):
        await database.transaction(fail)
    for tx in kept:
        with pytest.raises(TransactionMisused, match="too late to publish"):
            tx.publish(sold(1))
        with pytest.raises(TransactionMisused, match="over"):
            tx.after_commit(lambda: None)
        with pytest.raises(TransactionMisused, match="over"):
            tx.session.execute(delete(journal))
    for session in sessions:
        with pytest.raises(InvalidRequestError):
            session.execute(delete(journal))


async def test_a_thread_that_kept_the_transaction_is_refused(database: Database) -> None:
    over = threading.Event()
    errors: list[Exception] = []

    def late(tx: Transaction) -> None:
        over.wait(20)
        for use in (lambda: tx.publish(sold(1)), lambda: write(tx.session, 1)):
            try:
                use()
            except Exception as error:
                errors.append(error)

    def work(tx: Transaction) -> threading.Thread:
        thread = threading.Thread(target=late, args=(tx,))
        thread.start()
        return thread

    thread = await database.transaction(work)
    over.set()
    thread.join()
    assert [type(error) for error in errors] == [TransactionMisused] * 2
    assert await lines(database) == []


async def test_a_call_after_the_commit_publishes_nothing_and_undoes_nothing(
    database: Database,
) -> None:
    called: list[str] = []

    def work(tx: Transaction) -> None:
        write(tx.session, 1)
        tx.after_commit(lambda: called.append(tx.publish(sold(1)).id))
        tx.after_commit(lambda: called.append("the next"))

    with capture_logs() as logs:
        await database.transaction(work)
    assert (called, await lines(database), await unsent(database)) == (["the next"], [1], 0)
    assert [line["log_level"] for line in logs] == ["error"]


async def test_work_that_did_not_run_is_an_error(database: Database) -> None:
    async def waits(tx: Transaction) -> None:
        write(tx.session, 1)

    def yields(tx: Transaction) -> Iterator[int]:
        write(tx.session, 1)
        yield 1

    for work in (waits, yields):
        with pytest.raises(TransactionMisused, match="did not run"):
            await database.transaction(work)
    assert await lines(database) == []


async def test_a_read_transaction_writes_nothing(database: Database) -> None:
    def add(tx: ReadTransaction) -> None:
        tx.session.add(Line(id=1))  # type: ignore[call-arg]

    def change(tx: ReadTransaction) -> None:
        line = tx.session.scalars(select(Line)).one()
        line.id = 3

    def remove(tx: ReadTransaction) -> None:
        tx.session.delete(tx.session.scalars(select(Line)).one())

    await database.transaction(lambda tx: write(tx.session, 2))
    for work in (add, change, remove):
        with pytest.raises(TransactionMisused, match="take a Transaction"):
            await database.read(work)
    for statement in (insert(journal).values(id=1), text("DELETE FROM journal")):
        with pytest.raises(DBAPIError, match=r"read-?only"):
            await database.read(lambda tx, statement=statement: tx.session.execute(statement))  # type: ignore[misc]
    with pytest.raises(TransactionMisused, match=r"session.commit\(\)"):
        await database.read(lambda tx: tx.session.commit())
    assert await lines(database) == [2]


async def test_a_read_may_continue_after_a_failed_statement(database: Database) -> None:
    def look(tx: ReadTransaction) -> str:
        with suppress(DBAPIError):
            tx.session.execute(text("SELECT * FROM no_such_table"))
        return "there is none"

    assert await database.read(look) == "there is none"


async def test_a_dead_pooled_connection_does_not_fail_a_transaction(
    postgres: PostgresServer,
) -> None:
    database = Database(postgres.create_database("died"), EventFactory("bookstore"))
    try:
        own = text("SELECT pg_backend_pid()")
        pid = await database.transaction(lambda tx: tx.session.scalar(own))
        end = text("SELECT pg_terminate_backend(:pid, 10000)")
        assert await database.read(lambda tx: tx.session.scalar(end, {"pid": pid}))
        assert await database.transaction(lambda tx: tx.session.scalar(own)) not in (None, pid)
    finally:
        database.close()
