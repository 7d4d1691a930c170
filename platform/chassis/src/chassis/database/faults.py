"""Errors of the database classified by their codes: what to do, and whose fault they are.

The codes are those of PostgreSQL's appendix A (SQLSTATE) and of SQLite's rescode.html.
"""

import sqlite3
from collections import deque
from collections.abc import Mapping
from enum import Enum, auto
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from chassis.errors import Unavailable

__all__ = [
    "ConnectionLost",
    "DatabaseAtFault",
    "DatabaseDown",
    "Fault",
    "database_failure",
    "fault_of",
    "fault_of_sqlite",
    "find_cause",
    "first_line",
]

E = TypeVar("E", bound=BaseException)


class DatabaseDown(Exception):
    """A database that can do no work now, because it refuses connections or writes.

    The same work may succeed later.
    """


class ConnectionLost(Exception):
    """A connection that broke during a transaction; whether its commit took effect is unknown."""


class DatabaseAtFault(Unavailable):
    """A failure of this work that the database caused; other work may succeed.

    Examples are a table that does not exist yet, a missing grant and a damaged page. It delays an
    event, for at most `task_max_age_seconds`, and uses up none of its tries. `reason` is the
    database's message, which is not passed on to callers.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("the database cannot do this now", retry_after=5)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class Fault(Enum):
    """The kind of an error of the database."""

    RETRY = auto()
    """A conflict such as a deadlock: the same work will probably succeed at once."""
    LOST = auto()
    """The connection broke."""
    READ_ONLY = auto()
    """The connection leads to a server that takes no writes."""
    DOWN = auto()
    """No write will succeed until an operator has repaired something."""
    DOUBTFUL = auto()
    """Either all work fails or this work alone; the work is not to blame."""
    UNKNOWN = auto()
    """Either all work fails or this work alone, which may be to blame."""
    STATEMENT = auto()
    """The statement is to blame."""


# A class of codes (two characters) stands for all of its codes that are not listed themselves. The
# code 57014 (query_canceled) is not listed, so the statement is to blame: otherwise a statement
# that takes longer than the statement_timeout would be retried without end.
_SQLSTATES: Mapping[str, Fault] = {
    # serialization_failure and deadlock_detected are conflicts with other transactions.
    "40001": Fault.RETRY,
    "40P01": Fault.RETRY,
    # A standby or a former primary reports read_only_sql_transaction.
    "25006": Fault.READ_ONLY,
    # The disk is full, all connections are in use, or the server is stopping, crashed or starting.
    "53100": Fault.DOWN,
    "53300": Fault.DOWN,
    "57P": Fault.DOWN,
    # A connection exception means one of a foreign server, because one of ours is LOST.
    "08": Fault.DOUBTFUL,
    # A schema, table or column is missing while the migration has not run.
    "3F000": Fault.DOUBTFUL,
    "42P01": Fault.DOUBTFUL,
    "42703": Fault.DOUBTFUL,
    # A grant is missing.
    "42501": Fault.DOUBTFUL,
    # Memory or a configured limit is exhausted.
    "53": Fault.DOUBTFUL,
    # The operating system reports an error of its own.
    "58": Fault.DOUBTFUL,
    # Data or an index is corrupted, perhaps only where this work reads.
    "XX001": Fault.DOUBTFUL,
    "XX002": Fault.DOUBTFUL,
}

_SQLITE_CODES: Mapping[int, Fault] = {
    sqlite3.SQLITE_BUSY: Fault.RETRY,
    sqlite3.SQLITE_LOCKED: Fault.RETRY,
    sqlite3.SQLITE_SCHEMA: Fault.RETRY,
    sqlite3.SQLITE_PROTOCOL: Fault.RETRY,
    sqlite3.SQLITE_READONLY: Fault.READ_ONLY,
    sqlite3.SQLITE_FULL: Fault.DOWN,
    sqlite3.SQLITE_NOTADB: Fault.DOWN,
    sqlite3.SQLITE_CANTOPEN: Fault.DOUBTFUL,
    sqlite3.SQLITE_CORRUPT: Fault.DOUBTFUL,
    sqlite3.SQLITE_IOERR: Fault.DOUBTFUL,
    sqlite3.SQLITE_PERM: Fault.DOUBTFUL,
    sqlite3.SQLITE_NOLFS: Fault.DOUBTFUL,
}
# SQLite has no code for a missing table or column.
_SQLITE_LACKS = ("no such table:", "no such column:", "has no column named")

_MAY_BE_DOWN = {"OperationalError", "InterfaceError", "InternalError"}


def fault_of(error: DBAPIError) -> Fault:
    """Return the kind of an error."""
    if isinstance(error.orig, sqlite3.Error):
        fault = fault_of_sqlite(error.orig)
    elif error.connection_invalidated:
        # The code does not count, because a handler that ends its connection gets the code of a
        # server's shutdown.
        return Fault.LOST
    else:
        state = getattr(error.orig, "sqlstate", None) or ""
        fault = next((_SQLSTATES[s] for n in (5, 3, 2) if (s := state[:n]) in _SQLSTATES), None)
    if fault is not None:
        return fault
    return Fault.UNKNOWN if type(error).__name__ in _MAY_BE_DOWN else Fault.STATEMENT


def fault_of_sqlite(error: sqlite3.Error) -> Fault | None:
    """Return the kind of an error of SQLite, None if its code is not listed."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    if code == sqlite3.SQLITE_ERROR and any(said in str(error) for said in _SQLITE_LACKS):
        return Fault.DOUBTFUL
    # The lowest byte of an extended code is the code that is listed.
    return _SQLITE_CODES.get(code & 0xFF)


def first_line(error: DBAPIError) -> str:
    """Return the first line of the database's message."""
    return (str(error.orig).splitlines() or [type(error.orig).__name__])[0]


def database_failure(
    error: BaseException,
) -> DatabaseDown | ConnectionLost | DatabaseAtFault | None:
    """Return the failure of the database behind an error, however that was wrapped."""
    return (
        find_cause(error, DatabaseDown)
        or find_cause(error, ConnectionLost)
        or find_cause(error, DatabaseAtFault)
    )


def find_cause(error: BaseException, kind: type[E]) -> E | None:
    """Return the nearest error of a kind: the error itself, one of its causes, or one that was
    being handled when it was raised."""
    remaining, seen = deque([error]), set[int]()
    while remaining:
        each = remaining.popleft()
        if isinstance(each, kind):
            return each
        seen.add(id(each))
        behind = (each.__cause__, each.__context__)
        remaining += [e for e in behind if e is not None and id(e) not in seen]
    return None
