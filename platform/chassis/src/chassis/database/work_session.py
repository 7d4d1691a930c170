"""The session that work gets, in which it can do anything but end the transaction.

The transaction contains more than the work's changes: positions, other events of the batch, events
to publish. SQLAlchemy's methods that end a transaction therefore raise TransactionMisused, and if
the work catches that error the transaction fails at its end. Other ways to end it, such as a
COMMIT sent as text, are found before each statement and before the commit, because the driver knows
whether the transaction is still open.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, SessionTransaction

__all__ = ["TransactionMisused", "WorkSession", "guard", "is_idle"]

_ADVICE = (
    "the chassis commits when the work returns, and rolls back when it raises; put statements that "
    "may fail alone into `with tx.session.begin_nested():`"
)
_ENDING_STATEMENT = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/|;)*"
    r"(BEGIN|START\s+TRANSACTION|COMMIT|END|ABORT|PREPARE\s+TRANSACTION"
    r"|ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b))\b",
    re.IGNORECASE | re.DOTALL,
)
# Values of libpq's PQtransactionStatus.
_IDLE, _FAILED = 0, 3


class TransactionMisused(Exception):
    """Work used its transaction in a way that could lose or double changes; nothing was changed.

    The transaction fails as with any other error of the work, even if the work catches this one.
    """


class WorkSession(Session):
    """A session with one transaction, which ends with the block of `open`."""

    def __init__(self, engine: Engine) -> None:
        # No transaction may begin by itself, and a closed session must stay closed.
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
        """Open a session, whose transaction `start` begins; close it at the end of the block."""
        session = cls(engine)
        try:
            yield session
        finally:
            session._guarded = False
            _sessions.pop(id(session._connection), None)
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
            # The pooled connection had died. Nothing was done in it, so a new one replaces it.
            connection = self.connection()
        self._connection = connection
        self._driver = connection.connection.dbapi_connection
        _sessions[id(connection)] = self
        self._guarded = True

    def check(self, *, commits: bool = True) -> None:
        """Check that the transaction is open and, if `commits` is true, that it can be committed.

        Raises:
            TransactionMisused: the work has ended the transaction, or has tried to.
        """
        if self._misuse is None:
            if self.get_transaction() is not self._root or is_idle(self._driver):
                self._note_misuse("the work ended the transaction")
            elif commits and _has_failed(self._driver):
                self._note_misuse(
                    "a statement failed, and its error was caught outside of a savepoint"
                )
        if self._misuse is not None:
            raise self._misuse

    def finish(self) -> None:
        """Commit the transaction.

        Raises:
            TransactionMisused: as `check`.
            sqlalchemy.exc.DBAPIError: the database refused.
        """
        self.check()
        self._guarded = False
        Session.commit(self)

    # --- methods that raise TransactionMisused --------------------------------------------------

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
        """Raise TransactionMisused; the transaction fails even if the work catches that error."""
        raise self._note_misuse(f"{what} would end the transaction that the work was given")

    def _note_misuse(self, what: str) -> TransactionMisused:
        """Return an error for a misuse; the first one is raised when the work ends."""
        misuse = TransactionMisused(f"{what}: {_ADVICE}")
        self._misuse = self._misuse or misuse
        return misuse

    def _before_commit(self) -> None:
        """Refuse a commit by the work itself."""
        if self._guarded:
            self._refuse("a commit of its connection")

    def _after_rollback(self) -> None:
        """Note a rollback by the work itself."""
        if self._guarded:
            self._note_misuse("a failed flush or the work rolled the transaction back")

    def _before_statement(self, statement: str) -> None:
        """Refuse a statement by which the work would end its transaction."""
        if not self._guarded:
            return
        if is_idle(self._driver):
            raise self._note_misuse("the work ended the transaction")
        if ends := _ENDING_STATEMENT.match(statement):
            self._refuse(ends[1].upper())


def guard(engine: Engine) -> None:
    """Tell the WorkSessions of an engine what is done with their connections."""

    @event.listens_for(engine, "commit")
    def on_commit(connection: Any) -> None:
        if (session := _sessions.get(id(connection))) is not None:
            session._before_commit()

    @event.listens_for(engine, "rollback")
    def on_rollback(connection: Any) -> None:
        if (session := _sessions.get(id(connection))) is not None:
            session._after_rollback()

    @event.listens_for(engine, "before_cursor_execute")
    def on_execute(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if (session := _sessions.get(id(connection))) is not None:
            session._before_statement(statement)


# Sessions by the id of their connection, which they keep alive. An execution option would cost
# more, because SQLAlchemy merges options for each statement.
_sessions: dict[int, WorkSession] = {}


def is_idle(driver: Any) -> bool:
    """Return whether a driver's connection has no open transaction; a lost connection counts as
    open."""
    if hasattr(driver, "pgconn"):
        return bool(driver.pgconn.transaction_status == _IDLE)
    return not driver.in_transaction


def _has_failed(driver: Any) -> bool:
    """Return whether PostgreSQL would answer a COMMIT by rolling back without an error."""
    return hasattr(driver, "pgconn") and bool(driver.pgconn.transaction_status == _FAILED)
