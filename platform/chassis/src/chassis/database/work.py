"""The connection and the session of work in a transaction, which can do anything but end it.

SQLAlchemy's methods that end a transaction raise TransactionMisused, and if the work catches that
error the transaction fails at its end.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Delete, Engine, Update, event
from sqlalchemy.engine import RootTransaction
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, SessionTransaction

from chassis.database.deferred import DeferredChanges
from chassis.database.prebuilt import prebuilt_text
from chassis.database.transaction_guard import TransactionGuard
from chassis.telemetry import tracing

__all__ = ["Work", "WorkSession"]


class WorkSession(Session):
    """A session within the transaction of a connection.

    Its own transaction begins with the first use of the ORM. Until then statements of tables run
    on the connection, without the half of their cost that is the session's.

    If `defers` is set, updates and deletions that are built once wait for the next other statement.
    """

    def __init__(self, connection: Connection, guard: TransactionGuard) -> None:
        # A closed session must stay closed.
        super().__init__(connection, close_resets_only=False, join_transaction_mode="control_fully")
        self._connection = connection
        self._guard = guard
        self._root: SessionTransaction | None = None
        self.defers = False
        self.deferred = DeferredChanges(connection)

    def began(self, transaction: SessionTransaction) -> None:
        """Note that the session began a transaction, which must stay the only one."""
        if transaction.parent is None:
            if self._root is not None:
                self._guard.note_end()
            self._root = transaction
            self.deferred.send()

    def note_end(self) -> None:
        """Note it if the work has ended the session's transaction."""
        if super().get_transaction() is not self._root:
            self._guard.note_end()

    @property
    def has_begun(self) -> bool:
        """Whether the session has a transaction of its own."""
        return super().in_transaction()

    def in_transaction(self) -> bool:
        return self._root is None or super().in_transaction()

    def get_transaction(self) -> SessionTransaction | None:
        if self._root is None:
            self.connection()
        return super().get_transaction()

    if not TYPE_CHECKING:

        def execute(self, statement, params=None, **options):
            if options or self._root is not None or _is_of_orm(statement):
                return super().execute(statement, params, **options)
            if type(statement) in _CHANGES and type(params) is dict:
                prebuilt = prebuilt_text(self._connection.dialect, statement, params)
                if prebuilt is not None:
                    # In a trace the statement has its place, and its time.
                    if self.defers and not tracing.is_recording():
                        return self.deferred.add(*prebuilt)
                    self.deferred.send()
                    return self._connection.exec_driver_sql(*prebuilt)
            self.deferred.send()
            return self._connection.execute(statement, params)

        def scalar(self, statement, params=None, **options):
            return self.execute(statement, params, **options).scalar()

        def scalars(self, statement, params=None, **options):
            return self.execute(statement, params, **options).scalars()

    def flush(self, objects: Sequence[Any] | None = None) -> None:
        self.deferred.send()
        super().flush(objects)

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


@event.listens_for(WorkSession, "after_transaction_create")
def _on_begin(session: WorkSession, transaction: SessionTransaction) -> None:
    session.began(transaction)


def _is_of_orm(statement: Any) -> bool:
    """Return whether a statement names classes of the ORM, or is none at all."""
    # Session.execute looks at this attribute itself; no public one has the same meaning.
    attributes = getattr(statement, "_propagate_attrs", _ORM)
    return attributes.get("compile_state_plugin") == "orm"


_ORM = {"compile_state_plugin": "orm"}
_CHANGES = (Update, Delete)


class Work:
    """One transaction, from `start` until the end of a `with` block."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._guard = TransactionGuard()
        self._transaction: RootTransaction | None = None
        self._session: WorkSession | None = None

    def __enter__(self) -> "Work":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._guard.end()
        if self._session is not None:
            Session.close(self._session)
        if self._transaction is not None:
            self._transaction.connection.close()

    def start(self) -> None:
        """Begin the transaction.

        Raises:
            sqlalchemy.exc.DBAPIError: the database refused.
        """
        try:
            self._transaction = _begin(self._engine)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            # The pooled connection had died. Nothing was done in it, so a new one replaces it.
            self._transaction = _begin(self._engine)
        self._guard.begin(self._transaction.connection)

    @property
    def connection(self) -> Connection:
        """The connection of the transaction, for statements that need no session."""
        assert self._transaction is not None
        return self._transaction.connection

    @property
    def session(self) -> WorkSession:
        """The session of the transaction, which is made when it is first needed."""
        if self._session is None:
            self._session = WorkSession(self.connection, self._guard)
        return self._session

    @property
    def deferred_failed(self) -> bool:
        """Whether a deferred change failed."""
        return self._session is not None and self._session.deferred.failed

    @property
    def has_changes(self) -> bool:
        """Whether the session has objects that a flush would write."""
        session = self._session
        return session is not None and bool(
            session.new or session.deleted or any(map(session.is_modified, session.dirty))
        )

    def check(self, *, commits: bool = True) -> None:
        """Check that the transaction is open and, if `commits` is true, that it can be committed.

        Raises:
            TransactionMisused: the work has ended the transaction, or has tried to.
        """
        if self._session is not None:
            self._session.note_end()
            self._session.deferred.check()
        self._guard.check(commits=commits)

    def flush(self) -> None:
        """Write the changes of the session's objects.

        Raises:
            sqlalchemy.exc.DBAPIError: the database refused.
        """
        if self._session is not None:
            self._session.flush()

    def finish(self) -> None:
        """Commit the transaction.

        Raises:
            TransactionMisused: as `check`.
            sqlalchemy.exc.DBAPIError: the database refused.
        """
        self.check()
        self._guard.release()
        if self._session is not None and self._session.has_begun:
            # It commits the connection's transaction, if a statement of the session ran in it.
            Session.commit(self._session)
        assert self._transaction is not None
        if self._transaction.is_active:
            self._transaction.commit()


def _begin(engine: Engine) -> RootTransaction:
    """Begin a transaction on a connection of the pool."""
    connection = engine.connect()
    try:
        return connection.begin()
    except BaseException:
        connection.close()
        raise
