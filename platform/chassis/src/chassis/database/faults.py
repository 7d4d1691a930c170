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

    RETRY = auto()  # A conflict such as a deadlock: the same work will probably succeed at once.
    LOST = auto()  # The connection broke.
    READ_ONLY = auto()  # The connection leads to a server that takes no writes.
    DOWN = auto()  # No write will succeed until an operator has repaired something.
    DOUBTFUL = auto()  # Either all work fails or this work alone; the work is not to blame.
    UNKNOWN = auto()  # Either all work fails or this work alone, which may be to blame.
    STATEMENT = auto()  # The statement is to blame.


# A class of codes (two characters) stands for all of its codes that are not listed themselves.
_SQLSTATES: Mapping[str, Fault] = {
    "08": Fault.DOUBTFUL,  # connection exception of a foreign server; one of ours is LOST
    "25006": Fault.READ_ONLY,  # read_only_sql_transaction: a standby, a former primary
    "40001": Fault.RETRY,  # serialization_failure
    "40P01": Fault.RETRY,  # deadlock_detected
    "3F000": Fault.DOUBTFUL,  # invalid_schema_name: the migration has not run
    "42P01": Fault.DOUBTFUL,  # undefined_table: the same
    "42703": Fault.DOUBTFUL,  # undefined_column: the same
    "42501": Fault.DOUBTFUL,  # insufficient_privilege: a grant is missing
    "53": Fault.DOUBTFUL,  # insufficient resources: memory, a configured limit
    "53100": Fault.DOWN,  # disk_full
    "53300": Fault.DOWN,  # too_many_connections
    # 57014 (query_canceled) is not listed, so the statement is to blame: otherwise a statement that
    # takes longer than the statement_timeout would be retried without end.
    "57P": Fault.DOWN,  # shutting down, crashed, starting
    "58": Fault.DOUBTFUL,  # system_error, io_error
    "XX001": Fault.DOUBTFUL,  # data_corrupted
    "XX002": Fault.DOUBTFUL,  # index_corrupted
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
    return _SQLITE_CODES.get(code & 0xFF)  # without the details of an extended code


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
