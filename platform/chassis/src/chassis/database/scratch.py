"""A scratch database: a service's tables, empty at first, which end with the process.

On SQLite it is a database in memory. On PostgreSQL its tables are temporary tables of one session
in the service's own database, and handlers' transactions may write nothing but temporary tables, so
that no statement changes the service's tables. The server drops the temporary ones when the
connection ends, however that happens.
"""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine, MetaData, text
from sqlalchemy.exc import DBAPIError

from chassis.database.engine import is_sqlite, make_scratch_engine
from chassis.database.faults import ConnectionLost, Fault, fault_of, first_line
from chassis.database.migrate import create_schema
from chassis.database.outbox_rows import OutboxRow
from chassis.database.statement_errors import ErrorRecorder
from chassis.database.transaction import CreatesEvents, Transaction
from chassis.database.transaction_state import TransactionState
from chassis.database.work import Work

__all__ = ["ScratchDatabase"]

T = TypeVar("T")


class ScratchDatabase:
    """A database for the thread that uses it, with one connection and one transaction at a time."""

    def __init__(self, url: str, events: CreatesEvents) -> None:
        self.engine: Engine = make_scratch_engine(url)
        self._events = events
        self._errors = ErrorRecorder(self.engine)

    def prepare(self, service: str, migrations: str | None, tables: MetaData | None) -> None:
        """Create the tables of the chassis and of a service, which has migrations or `tables`.

        Raises:
            ValueError: a revision's file cannot be read.
            sqlalchemy.exc.DBAPIError: a revision failed, or the database refused.
        """
        with self.engine.connect() as connection:
            create_schema(connection, migrations, service=service)
            if migrations is None and tables is not None:
                tables.create_all(connection)
            connection.commit()

    def transact(self, work: Callable[[Transaction], T]) -> tuple[T, list[OutboxRow]]:
        """Run work in one commit; return what it returned, and the outbox rows of its events.

        Calls for after the commit are not made.

        Raises:
            ConnectionLost: the connection has ended, and the database with it.
            Exception: what `work` raised; nothing was changed.
        """
        with self._errors.record() as errors:
            try:
                with Work(self.engine) as opened:
                    opened.start()
                    if not is_sqlite(self.engine.url):
                        # Temporary tables can be written nevertheless.
                        opened.connection.execute(text("SET TRANSACTION READ ONLY"))
                    state = TransactionState(opened)
                    try:
                        result = work(Transaction(state, self._events))
                        if (swallowed := errors.swallowed()) is not None:
                            raise swallowed
                        state.commit(result)
                    finally:
                        state.over = True
                    return result, state.outbox_rows
            except Exception as error:
                cause = errors.cause_of(error)
                if cause is not None and fault_of(cause) is Fault.LOST:
                    raise _lost(cause) from error
                raise

    def close(self) -> None:
        """End the connection, and the database with it."""
        self.engine.dispose()


def _lost(cause: DBAPIError) -> ConnectionLost:
    return ConnectionLost(f"the connection of the scratch database ended: {first_line(cause)}")
