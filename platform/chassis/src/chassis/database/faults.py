"""Whose fault an error of the database is: read from its code, by one table.

The codes are those of PostgreSQL's appendix A (SQLSTATE) and of SQLite's rescode.html.
"""

import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeVar

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from chassis.database.work_session import TransactionMisused
from chassis.errors import Unavailable

__all__ = [
    "ConnectionLost",
    "DatabaseAtFault",
    "DatabaseDown",
    "Fault",
    "Testimony",
    "Witness",
    "away",
    "fault_of",
    "fault_of_sqlite",
    "line_of",
]

E = TypeVar("E", bound=BaseException)


class DatabaseDown(Exception):
    """The database can do no work now: it refuses connections or writes. Wait, and try again."""


class ConnectionLost(Exception):
    """The connection broke in the middle; whether the commit took effect is unknown."""


class DatabaseAtFault(Unavailable):
    """The database, not the work, is why this work failed; other work may succeed.

    A table that is not there yet, a missing grant, a damaged page. An event costs it time, up to
    `task_max_age_seconds`, and no try. `reason` is the database's own word; callers don't get it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("the database cannot do this now", retry_after=5)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class Fault(Enum):
    """What an error of the database asks for."""

    AGAIN = auto()  # The same work succeeds at once, most likely: a deadlock, a lock.
    LOST = auto()  # The connection broke.
    READ_ONLY = auto()  # This connection leads to a server that takes no writes.
    DOWN = auto()  # Nothing that writes will succeed, until somebody has mended it.
    DOUBTFUL = auto()  # All work fails, or this work alone; the work is not to blame.
    UNKNOWN = auto()  # All work fails, or this work alone, which may be to blame.
    OWN = auto()  # The statement's.


# A class (two characters) stands for all of its codes that have no line of their own.
_SQLSTATES: Mapping[str, Fault] = {
    "08": Fault.DOUBTFUL,  # connection exception: a foreign server's; our own is LOST
    "25006": Fault.READ_ONLY,  # read_only_sql_transaction: a standby, a former primary
    "40001": Fault.AGAIN,  # serialization_failure
    "40P01": Fault.AGAIN,  # deadlock_detected
    "3F000": Fault.DOUBTFUL,  # invalid_schema_name: the migration has not run
    "42P01": Fault.DOUBTFUL,  # undefined_table: the same
    "42703": Fault.DOUBTFUL,  # undefined_column: the same
    "42501": Fault.DOUBTFUL,  # insufficient_privilege: a grant is missing
    "53": Fault.DOUBTFUL,  # insufficient resources: memory, a configured limit
    "53100": Fault.DOWN,  # disk_full
    "53300": Fault.DOWN,  # too_many_connections
    # 57014 (query_canceled) is the statement's own: what takes longer than the statement_timeout
    # would hold up what is behind it without end.
    "57P": Fault.DOWN,  # shutting down, crashed, starting
    "58": Fault.DOUBTFUL,  # system_error, io_error
    "XX001": Fault.DOUBTFUL,  # data_corrupted
    "XX002": Fault.DOUBTFUL,  # index_corrupted
}

_SQLITE_CODES: Mapping[int, Fault] = {
    sqlite3.SQLITE_BUSY: Fault.AGAIN,
    sqlite3.SQLITE_LOCKED: Fault.AGAIN,
    sqlite3.SQLITE_SCHEMA: Fault.AGAIN,
    sqlite3.SQLITE_PROTOCOL: Fault.AGAIN,
    sqlite3.SQLITE_READONLY: Fault.READ_ONLY,
    sqlite3.SQLITE_FULL: Fault.DOWN,
    sqlite3.SQLITE_NOTADB: Fault.DOWN,
    sqlite3.SQLITE_CANTOPEN: Fault.DOUBTFUL,
    sqlite3.SQLITE_CORRUPT: Fault.DOUBTFUL,
    sqlite3.SQLITE_IOERR: Fault.DOUBTFUL,
    sqlite3.SQLITE_PERM: Fault.DOUBTFUL,
    sqlite3.SQLITE_NOLFS: Fault.DOUBTFUL,
}
# SQLite has no code for it.
_SQLITE_LACKS = ("no such table:", "no such column:", "has no column named")

_MAY_BE_DOWN = {"OperationalError", "InterfaceError", "InternalError"}


def fault_of(error: DBAPIError) -> Fault:
    """What an error asks for."""
    if isinstance(error.orig, sqlite3.Error):
        fault = fault_of_sqlite(error.orig)
    elif error.connection_invalidated:
        # Whatever its code says: a handler that ends its own connection gets that of a shutdown.
        return Fault.LOST
    else:
        state = getattr(error.orig, "sqlstate", None) or ""
        fault = next((_SQLSTATES[s] for n in (5, 3, 2) if (s := state[:n]) in _SQLSTATES), None)
    if fault is not None:
        return fault
    return Fault.UNKNOWN if type(error).__name__ in _MAY_BE_DOWN else Fault.OWN


def fault_of_sqlite(error: sqlite3.Error) -> Fault | None:
    """What an error of SQLite asks for, None if the table does not know."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    if code == sqlite3.SQLITE_ERROR and any(said in str(error) for said in _SQLITE_LACKS):
        return Fault.DOUBTFUL
    return _SQLITE_CODES.get(code & 0xFF)  # the rest of an extended code says where


def line_of(error: DBAPIError) -> str:
    """What the database said, on one line."""
    return (str(error.orig).splitlines() or [type(error.orig).__name__])[0]


def away(error: BaseException) -> DatabaseDown | ConnectionLost | DatabaseAtFault | None:
    """What the database said, if it is behind an error, however that was wrapped."""
    return (
        _among(error, DatabaseDown)
        or _among(error, ConnectionLost)
        or _among(error, DatabaseAtFault)
    )


def _among(error: BaseException, kind: type[E]) -> E | None:
    """The nearest error of a kind among an error, its causes, and what was handled meanwhile."""
    waiting, seen = deque([error]), set[int]()
    while waiting:
        each = waiting.popleft()
        if isinstance(each, kind):
            return each
        seen.add(id(each))
        behind = (each.__cause__, each.__context__)
        waiting += [e for e in behind if e is not None and id(e) not in seen]
    return None


@dataclass(slots=True)
class Testimony:
    """The database's errors in one piece of work, whatever became of them there."""

    errors: list[DBAPIError] = field(default_factory=list)

    def cause_of(self, error: BaseException) -> DBAPIError | None:
        """The database's error behind an error; None if the work failed by itself."""
        cause = _among(error, DBAPIError)
        if cause is not None:
            return cause
        if _among(error, TransactionMisused) is not None:
            # The database may have ended the transaction: SQLite does, when its disk is full.
            return self._seen(*(set(Fault) - {Fault.OWN, Fault.UNKNOWN}))
        return self._seen(Fault.AGAIN, Fault.LOST, Fault.DOWN, Fault.READ_ONLY)

    def swallowed(self) -> DBAPIError | None:
        """An error that made the work impossible, though the work went on."""
        return self._seen(Fault.LOST, Fault.DOWN, Fault.READ_ONLY)

    def _seen(self, *faults: Fault) -> DBAPIError | None:
        return next((error for error in self.errors if fault_of(error) in faults), None)


class Witness:
    """Sees every error of an engine's statements, also those that their caller swallows."""

    def __init__(self, engine: Engine) -> None:
        self._here = threading.local()
        event.listen(engine, "handle_error", self._saw)

    @contextmanager
    def watch(self) -> Iterator[Testimony]:
        """What happens on this thread meanwhile."""
        testimony = self._here.testimony = Testimony()
        try:
            yield testimony
        finally:
            self._here.testimony = None

    def _saw(self, context: ExceptionContext) -> None:
        error = context.sqlalchemy_exception
        if not isinstance(error, DBAPIError):
            return
        testimony: Testimony | None = getattr(self._here, "testimony", None)
        if testimony is not None:
            testimony.errors.append(error)
