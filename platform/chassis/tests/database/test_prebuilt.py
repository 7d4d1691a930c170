"""Statements that are built once have the effect that they have in SQLAlchemy's own way."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    DateTime,
    Delete,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Update,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from chassis.database.engine import make_engine
from chassis.database.prebuilt import prebuilt_text
from chassis.database.work import Work

pytestmark = pytest.mark.dialect

NewDatabase = Callable[[str], str]
Given = Mapping[str, Any]

metadata = MetaData()
books = Table(
    "books",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("title", String(50)),
    Column("copies", Integer),
    Column("tags", JSON),
    Column("at", DateTime(timezone=True)),
    Column("changed", Integer, onupdate=lambda: 7),
)
plain = Table(
    "plain",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("title", String(50)),
    Column("copies", Integer),
)
_COPIES = plain.c.copies
OF = plain.c.id == bindparam("of")


@pytest.fixture
def engine(empty_database: NewDatabase) -> Iterator[Engine]:
    engine = make_engine(empty_database("books"), 2)
    with engine.begin() as connection:
        metadata.create_all(connection)
    yield engine
    engine.dispose()


def fill(connection: Connection) -> None:
    for table in (books, plain):
        connection.execute(delete(table))
        rows = [{"id": n, "title": f"book % {n}", "copies": n} for n in range(5)]
        connection.execute(insert(table), rows)


def rows(connection: Connection, *tables: Table) -> list[Any]:
    return [
        row
        for table in tables or (books, plain)
        for row in connection.execute(select(table).order_by(table.c.id))
    ]


# By name: a statement, what its calls give, and whether the second call goes to the driver.
CASES: dict[str, tuple[Update | Delete, list[Given], bool]] = {
    "parameters and a constant": (
        update(plain).where(OF).values(copies=_COPIES + 10),
        [{"of": 1}, {"of": 2}, {"of": 99}],
        True,
    ),
    "a parameter that occurs twice": (
        update(plain).where(OF).values(copies=bindparam("of") + 1),
        [{"of": 1}, {"of": 2}],
        True,
    ),
    "a column given by the call": (
        update(plain).where(OF),
        [{"of": 1, "title": "100 %"}, {"of": 2, "title": "'; --"}, {"of": 3, "title": None}],
        True,
    ),
    "a default of a parameter that is not given": (
        update(plain).where(OF).values(copies=_COPIES + bindparam("more", 5)),
        [{"of": 1}, {"of": 2}, {"of": 3, "more": 6}],
        True,
    ),
    "a text with a percent sign": (
        update(plain).where(plain.c.title.like("% 3"), OF).values(title="50 %"),
        [{"of": 3}, {"of": 3}, {"of": 2}],
        True,
    ),
    "a deletion": (delete(plain).where(OF), [{"of": 1}, {"of": 2}, {"of": 1}], True),
    "no parameters": (update(plain).values(copies=_COPIES * 2), [{}, {}], True),
    "a list": (
        delete(plain).where(plain.c.id.in_(bindparam("ids", expanding=True))),
        [{"ids": [1]}, {"ids": [2, 3]}, {"ids": []}],
        False,
    ),
    "a type that converts": (
        update(books).where(books.c.id == bindparam("of")).values(changed=1),
        [{"of": 1, "tags": {"a": [1]}}, {"of": 2, "tags": ["b"]}],
        False,
    ),
    "a default of a column": (
        update(books).where(books.c.id == bindparam("of")).values(copies=3),
        [{"of": 1}, {"of": 2}],
        False,
    ),
    "rows that are returned": (
        update(plain).where(OF).values(copies=3).returning(plain.c.copies),
        [{"of": 1}, {"of": 2}],
        False,
    ),
    "a function": (
        update(plain).where(OF).values(title=func.lower(bindparam("of_title"))),
        [{"of": 1, "of_title": "ABC"}, {"of": 2, "of_title": "DEF"}],
        True,
    ),
}


@pytest.mark.parametrize("defers", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_each_call_has_the_effect_of_sqlalchemys_own(
    engine: Engine, name: str, defers: bool
) -> None:
    statement, calls, _ = CASES[name]

    def outcome(result: Any) -> Any:
        return result.all() if result.returns_rows else result.rowcount

    with engine.connect() as connection:
        fill(connection)
        expected = [outcome(connection.execute(statement, given)) for given in calls]
        after = rows(connection)
    with Work(engine) as work:
        work.start()
        work.session.defers = defers
        for _ in range(2):
            fill(work.connection)
            found = [outcome(work.session.execute(statement, dict(given))) for given in calls]
            assert found == expected
            assert rows(work.connection) == after


@pytest.mark.parametrize("name", CASES)
def test_statements_go_to_the_driver_if_nothing_else_is_done_with_them(
    engine: Engine, name: str
) -> None:
    statement, calls, goes = CASES[name]
    again = statement.where(True)  # type: ignore[arg-type]
    assert prebuilt_text(engine.dialect, again, calls[0]) is None
    assert (prebuilt_text(engine.dialect, again, calls[1]) is not None) == goes


@pytest.mark.parametrize("given", [{}, {"off": 1}])
def test_wrong_parameters_are_the_same_errors(engine: Engine, given: dict[str, Any]) -> None:
    statement = update(plain).where(OF).values(copies=1)
    with Work(engine) as work:
        work.start()
        fill(work.connection)
        for _ in range(3):
            with pytest.raises(SQLAlchemyError) as expected, work.connection.begin_nested():
                work.connection.execute(statement, given)
            with pytest.raises(type(expected.value)), work.session.begin_nested():
                work.session.execute(statement, given)
    with Work(engine) as work:
        work.start()
        for _ in range(3):
            work.session.execute(statement, {"of": 1})
            with pytest.raises(type(expected.value)):
                work.session.execute(statement, given)


def test_a_statement_that_is_made_of_another_one_has_its_own_text(engine: Engine) -> None:
    statement = update(plain).where(OF).values(copies=0)
    with Work(engine) as work:
        work.start()
        fill(work.connection)
        for _ in range(3):
            work.session.execute(statement, {"of": 1})
        narrower = statement.where(_COPIES > 100)
        for _ in range(3):
            assert work.session.execute(narrower, {"of": 2}).rowcount == 0  # type: ignore[attr-defined]
