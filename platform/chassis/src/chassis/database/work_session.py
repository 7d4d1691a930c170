"""The session that work gets, in which it can do anything but end the transaction.

SQLAlchemy's methods that end a transaction raise TransactionMisused, and if the work catches that
error the transaction fails at its end.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, SessionTransaction

from chassis.database.transaction_guard import TransactionGuard

__all__ = ["WorkSession"]


class WorkSession(Session):
    """A session with one transaction, which ends with the block of `open`."""

    def __init__(self, engine: Engine) -> None:
        # No transaction may begin by itself, and a closed session must stay closed.
        super().__init__(engine, autobegin=False, close_resets_only=False)
        self._root: SessionTransaction | None = None
        self._guard = TransactionGuard()

    @classmethod
    @contextmanager
    def open(cls, engine: Engine) -> Iterator["WorkSession"]:
        """Open a session, whose transaction `start` begins; close it at the end of the block."""
        session = cls(engine)
        try:
            yield session
        finally:
            session._guard.end()
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
        self._guard.begin(connection)

    def check(self, *, commits: bool = True) -> None:
        """Check that the transaction is open and, if `commits` is true, that it can be committed.

        Raises:
            TransactionMisused: the work has ended the transaction, or has tried to.
        """
        if self.get_transaction() is not self._root:
            self._guard.note_end()
        self._guard.check(commits=commits)

    def finish(self) -> None:
        """Commit the transaction.

        Raises:
            TransactionMisused: as `check`.
            sqlalchemy.exc.DBAPIError: the database refused.
        """
        self.check()
        self._guard.release()
        Session.commit(self)

    # The methods below belong to SQLAlchemy's session, and would end the transaction.

    def begin(self, nested: bool = False) -> SessionTransaction:
        if not nested:
            self._guard.refuse("session.begin()")
        return super().begin(nested=True)

    def commit(self) -> None:
        self._guard.refuse("session.commit()")

    def rollback(self) -> None:
        self._guard.refuse("session.rollback()")

    def close(self) -> None:
        self._guard.refuse("session.close()")

    def reset(self) -> None:
        self._guard.refuse("session.reset()")

    def invalidate(self) -> None:
        self._guard.refuse("session.invalidate()")
