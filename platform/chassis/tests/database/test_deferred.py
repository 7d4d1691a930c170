"""Changes that wait for each other take effect as if each had been sent at once."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    Engine,
    Integer,
    MetaData,
    Table,
    bindparam,
    delete,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, ResourceClosedError
from sqlalchemy.orm import Session

from bookstore.v1 import BookSold
from chassis import Transaction
from chassis.database import Database, DeferredFailed
from chassis.database.work import Work
from chassis.events.producer.event_factory import EventFactory

pytestmark = pytest.mark.dialect

NewDatabase = Callable[[str], str]

shelves = Table(
    "shelves",
    MetaData(),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("copies", Integer, CheckConstraint("copies >= 0"), nullable=False),
)
_IS_THIS = shelves.c.id == bindparam("shelf")
_PUT = update(shelves).where(_IS_THIS).values(copies=shelves.c.copies + bindparam("copies"))
_DOUBLE = update(shelves).where(_IS_THIS).values(copies=shelves.c.copies * 2)
_CLEAR = delete(shelves).where(_IS_THIS)
_COPIES = select(shelves.c.copies).order_by(shelves.c.id)
_SHELVES = 4


def run_each(tx: Transaction) -> None:
    """Run each statement once; from its second run on it is known to be built once."""
    for statement, values in ((_PUT, {"copies": 0}), (_DOUBLE, {}), (_CLEAR, {})):
        tx.session.execute(statement, {"shelf": 99, **values})


@pytest.fixture
def database(new_database: NewDatabase) -> Iterator[Database]:
    database = Database(new_database("books"), EventFactory("bookstore", (BookSold,)))
    shelves.create(database.engine)
    rows = [{"id": n, "copies": n} for n in range(_SHELVES)]
    with database.engine.begin() as connection:
        connection.execute(insert(shelves), rows)
    database.transact(run_each)
    yield database
    database.close()


@pytest.fixture
def work(database: Database) -> Iterator[Work]:
    with Work(database.engine) as work:
        work.start()
        work.session.defers = True
        yield work


@pytest.fixture
def sent(database: Database) -> list[int]:
    """The changes that were sent, by the number of those that went together."""
    sent: list[int] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def execute(_connection: Any, _cursor: Any, text: str, values: Any, *_: Any) -> None:
        if text.startswith(("UPDATE", "DELETE")):
            sent.append(len(values) if isinstance(values, list) else 1)

    return sent


def put(session: Session, shelf: int, copies: int = 1) -> Any:
    return session.execute(_PUT, {"shelf": shelf, "copies": copies})


def stored(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.execute(_COPIES).scalars())


def test_changes_of_one_statement_are_sent_together_at_the_end(
    database: Database, work: Work, sent: list[int]
) -> None:
    for shelf in range(_SHELVES):
        put(work.session, shelf)
    assert sent == []
    work.flush()
    work.finish()
    assert sent == [_SHELVES]
    assert stored(database.engine) == [1, 2, 3, 4]


def test_changes_of_several_statements_keep_their_order(work: Work, sent: list[int]) -> None:
    session = work.session
    put(session, 1)
    put(session, 1)
    session.execute(_DOUBLE, {"shelf": 1})
    put(session, 1)
    session.execute(_CLEAR, {"shelf": 0})
    assert list(session.scalars(_COPIES)) == [7, 2, 3]
    assert sent == [2, 1, 1, 1]


def _read(session: Session) -> object:
    return session.execute(_COPIES).all()


def _save_point(session: Session) -> object:
    with session.begin_nested():
        return None


SENDING: dict[str, Callable[[Session], object]] = {
    "a read": _read,
    "an insertion": lambda session: session.execute(insert(shelves), {"id": 9, "copies": 9}),
    "a change that is built now": lambda session: session.execute(
        update(shelves).values(id=shelves.c.id)
    ),
    "a list of changes": lambda session: session.execute(_PUT, [{"shelf": 3, "copies": 0}]),
    "options": lambda session: session.execute(_COPIES, execution_options={"a": 1}),
    "a flush": lambda session: session.flush(),
    "a savepoint": _save_point,
    "the connection": lambda session: session.connection(),
    "the driver": lambda session: session.connection().exec_driver_sql("SELECT 1"),
}


@pytest.mark.parametrize("name", SENDING)
def test_what_waits_is_sent_before_anything_else(work: Work, sent: list[int], name: str) -> None:
    for shelf in range(_SHELVES):
        put(work.session, shelf)
    SENDING[name](work.session)
    assert sent[0] == _SHELVES
    assert list(work.connection.execute(_COPIES).scalars())[:_SHELVES] == [1, 2, 3, 4]


def test_a_result_is_true_when_it_is_asked_for(work: Work, sent: list[int]) -> None:
    put(work.session, 0)
    put(work.session, 1)
    assert put(work.session, 2).rowcount == 1
    assert sent == [2, 1]
    missing = put(work.session, 77)
    found = put(work.session, 3)
    put(work.session, 3)
    put(work.session, 3)
    work.flush()
    assert sent == [2, 1, 1, 1, 2]
    assert (missing.rowcount, found.rowcount, found.returns_rows) == (0, 1, False)


ROW_READS: dict[str, Callable[[Any], object]] = {
    "all": lambda result: result.all(),
    "a list": list,
    "the next row": next,
    "a loop over columns": lambda result: list(result.scalars()),
}


@pytest.mark.parametrize("name", ROW_READS)
def test_reading_rows_of_a_result_fails_as_without_deferring(work: Work, name: str) -> None:
    deferred = put(work.session, 0)
    work.session.defers = False
    sent = put(work.session, 1)
    assert type(sent) is not type(deferred)
    for result in (sent, deferred):
        with pytest.raises(ResourceClosedError):
            ROW_READS[name](result)


def test_a_result_in_a_with_statement_is_closed_and_its_change_is_sent(
    work: Work, sent: list[int]
) -> None:
    with put(work.session, 0) as result:
        assert sent == []
    assert sent == [1]
    assert result.closed


def test_a_change_that_fails_raises_where_it_is_sent_and_the_work_cannot_commit(
    database: Database,
) -> None:
    found: list[str] = []

    def fail(tx: Transaction) -> None:
        tx.defer_changes()
        for copies in (1, -5, 1):
            put(tx.session, 2, copies)
        with pytest.raises(IntegrityError):
            tx.session.execute(_COPIES)
        found.append("caught")
        with suppress(Exception):
            put(tx.session, 1)
            tx.session.execute(_COPIES)

    with pytest.raises(DeferredFailed):
        database.transact(fail)
    assert found == ["caught"]
    assert stored(database.engine) == [0, 1, 2, 3]


@pytest.mark.parametrize("asks", [False, True])
def test_work_whose_change_fails_at_the_end_raises_that_it_was_deferred(
    database: Database, asks: bool
) -> None:
    def fail(tx: Transaction) -> None:
        tx.defer_changes()
        result = put(tx.session, 2, -5)
        if asks:
            result.rowcount  # noqa: B018

    with pytest.raises(DeferredFailed):
        database.transact(fail)
    assert stored(database.engine) == [0, 1, 2, 3]


def test_without_deferring_the_error_comes_at_its_place(database: Database) -> None:
    def fail(tx: Transaction) -> None:
        with pytest.raises(IntegrityError), tx.session.begin_nested():
            put(tx.session, 2, -5)
        put(tx.session, 2, 5)

    database.transact(fail)
    assert stored(database.engine) == [0, 1, 7, 3]


def test_an_error_of_the_work_itself_stays_what_it_is(database: Database) -> None:
    def fail(tx: Transaction) -> None:
        tx.defer_changes()
        put(tx.session, 2)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        database.transact(fail)
    assert stored(database.engine) == [0, 1, 2, 3]
