"""The session that work gets: it may do anything in its transaction but end it.

The transaction holds more than the work's own changes: positions, other events of the batch, what
is to be published. SQLAlchemy's usual ways to end a transaction are refused where they are called,
and a refusal that the work swallows fails the transaction at its end. What gets around that is
found before each statement and before the commit: the driver itself says whether the transaction
that began is still open.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, SessionTransaction

__all__ = ["TransactionMisused", "WorkSession", "guard", "is_idle"]

_INSTEAD = (
    "the chassis commits when the work returns, and rolls back when it raises; what may fail "
    "without failing the whole goes into `with tx.session.begin_nested():`"
)
_ENDS = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/|;)*"
    r"(BEGIN|START\s+TRANSACTION|COMMIT|END|ABORT|PREPARE\s+TRANSACTION"
    r"|ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b))\b",
    re.IGNORECASE | re.DOTALL,
)
# libpq's PQtransactionStatus.
_IDLE, _FAILED = 0, 3


class TransactionMisused(Exception):
    """Work used its transaction in a way that would lose or double something; nothing was changed.

    It fails like any other error of the work, also if the work catches it.
    """


class WorkSession(Session):
    """A session within one transaction, which `open` begins and ends."""

    def __init__(self, engine: Engine) -> None:
        # No transaction begins by itself, and a session that is over stays so.
        super().__init__(engine, autobegin=False, close_resets_only=False)
        self._engine = engine
        self._root: SessionTransaction | None = None
        self._connection: Connection | None = None
        self._driver: Any = None
        self._guarded = False
        self._misuse: TransactionMisused | None = None

    @classmethod
    @contextmanager
    def open(cls, engine: Engine) -> Iterator["WorkSession"]:
        """A session that `start` begins; at the end of the block it is over for good."""
        session = cls(engine)
        try:
            yield session
        finally:
            session._guarded = False
            _guarded.pop(id(session._connection), None)
            Session.close(session)

    def start(self) -> None:
        """Begin the transaction.

        Raises:
            sqlalchemy.exc.DBAPIError: the database refused.
        """
        self._root = Session.begin(self)
        try:
            connection = self.connection()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            # A pooled connection that has died meanwhile: nothing has been done in it.
            connection = self.connection()
        self._connection = connection
        self._driver = connection.connection.dbapi_connection
        _guarded[id(connection)] = self
        self._guarded = True

    def check(self, *, commits: bool = True) -> None:
        """Whether the transaction that began is open, and can be committed if it `commits`.

        Raises:
            TransactionMisused: the work has ended it, or has tried to.
        """
        if self._misuse is None:
            if self.get_transaction() is not self._root or is_idle(self._driver):
                self._note("the transaction was ended before its time")
            elif commits and _has_failed(self._driver):
                self._note("a statement failed, and its error was caught outside of a savepoint")
        if self._misuse is not None:
            raise self._misuse

    def finish(self) -> None:
        """Commit.

        Raises:
            TransactionMisused: as `check`.
            sqlalchemy.exc.DBAPIError: the database refused.
        """
        self.check()
        self._guarded = False
        Session.commit(self)

    # --- refused --------------------------------------------------------------------------------

    def begin(self, nested: bool = False) -> SessionTransaction:
        if not nested:
            self._refuse("session.begin()")
        return super().begin(nested=True)

    def commit(self) -> None:
        self._refuse("session.commit()")

    def rollback(self) -> None:
        self._refuse("session.rollback()")

    def close(self) -> None:
        self._refuse("session.close()")

    def reset(self) -> None:
        self._refuse("session.reset()")

    def invalidate(self) -> None:
        self._refuse("session.invalidate()")

    def _refuse(self, what: str) -> NoReturn:
        """Refuse it, and fail the transaction whatever becomes of this error."""
        raise self._note(f"{what} would end the transaction that the work was given")

    def _note(self, what: str) -> TransactionMisused:
        misuse = TransactionMisused(f"{what}: {_INSTEAD}")
        self._misuse = self._misuse or misuse
        return misuse

    # --- seen at the connection -----------------------------------------------------------------

    def _committing(self) -> None:
        if self._guarded:
            self._refuse("a commit of its connection")

    def _rolled_back(self) -> None:
        if self._guarded:
            self._note("the transaction was rolled back, by a flush that failed or by the work")

    def _executing(self, statement: str) -> None:
        if not self._guarded:
            return
        if is_idle(self._driver):
            raise self._note("the transaction was ended before its time")
        if ends := _ENDS.match(statement):
            self._refuse(ends[1].upper())


def guard(engine: Engine) -> None:
    """Let the WorkSessions of this engine see what becomes of their connection."""

    @event.listens_for(engine, "commit")
    def on_commit(connection: Any) -> None:
        if (session := _guarded.get(id(connection))) is not None:
            session._committing()

    @event.listens_for(engine, "rollback")
    def on_rollback(connection: Any) -> None:
        if (session := _guarded.get(id(connection))) is not None:
            session._rolled_back()

    @event.listens_for(engine, "before_cursor_execute")
    def on_execute(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if (session := _guarded.get(id(connection))) is not None:
            session._executing(statement)


# By the id of the connection, which each session keeps for as long as it is here: an execution
# option would be merged into those of each statement.
_guarded: dict[int, WorkSession] = {}


def is_idle(driver: Any) -> bool:
    """Whether the driver's connection is outside of any transaction; a lost one is not."""
    if hasattr(driver, "pgconn"):
        return bool(driver.pgconn.transaction_status == _IDLE)
    return not driver.in_transaction


def _has_failed(driver: Any) -> bool:
    """Whether PostgreSQL would answer a COMMIT by rolling back, without an error."""
    return hasattr(driver, "pgconn") and bool(driver.pgconn.transaction_status == _FAILED)
