"""Checks that a database can be reached and takes writes."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from chassis.database.dialects import BEGIN
from chassis.database.engine import database_file, is_sqlite
from chassis.database.faults import DatabaseDown, Fault, fault_of, fault_of_sqlite, first_line

__all__ = ["reach", "write"]

_WRITE = "UPDATE slipway_probe SET written = written + 1"


def reach(engine: Engine) -> None:
    """Check by an engine for reading that the server answers and is a primary.

    Raises:
        DatabaseDown: it does not answer, or is read-only.
    """
    sqlite = is_sqlite(engine.url)
    try:
        with _without_transaction(engine) as connection:
            query = "SELECT 1" if sqlite else "SHOW transaction_read_only"
            answer = connection.execute(text(query)).scalar()
    except DBAPIError as error:
        raise DatabaseDown(first_line(error)) from error
    except Exception as error:
        raise DatabaseDown((str(error).splitlines() or [type(error).__name__])[0]) from error
    if answer == "on":
        raise DatabaseDown("the server is read-only")


def write(engine: Engine) -> None:
    """Check that the database takes writes, by a commit of its own to the table slipway_probe.

    Only a commit shows that the disk is full. The check passes if the table does not exist yet, or
    if another process writes to it at this moment.

    Raises:
        DatabaseDown: the database refused the write.
    """
    if is_sqlite(engine.url):
        _write_sqlite(engine)
        return
    try:
        with _without_transaction(engine) as connection:
            connection.execute(text(_WRITE))
    except DBAPIError as error:
        if fault_of(error) not in (Fault.RETRY, Fault.DOUBTFUL, Fault.STATEMENT):
            raise DatabaseDown(first_line(error)) from error


@contextmanager
def _without_transaction(engine: Engine) -> Iterator[Connection]:
    """Connect; each statement within the block commits by itself."""
    with engine.connect() as connection:
        info = connection.info
        begin = info.get(BEGIN)
        info[BEGIN] = ""
        try:
            yield connection
        finally:
            if begin is None:
                del info[BEGIN]
            else:
                info[BEGIN] = begin


def _write_sqlite(engine: Engine) -> None:
    """Write on a connection that does not wait for locks, because SQLite has one writer at a time
    and a second one is not a fault."""
    file = database_file(engine.url)
    try:
        with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_WRITE)
    except sqlite3.Error as error:
        if fault_of_sqlite(error) is not Fault.RETRY and "no such table" not in str(error):
            raise DatabaseDown(str(error)) from error
