"""The part that the dialects share: how a transaction begins, and what its guard sees."""

from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from chassis.database.transaction_guard import guard_of

__all__ = ["BEGIN", "Guarded"]

BEGIN = "slipway_begin"
"""The key in a connection's `info` of the statement that begins its transactions.

The default is that of its engine. With an empty one each statement commits by itself.
"""


class Guarded(DefaultDialect):
    """A dialect whose transactions begin with the statement `begin`.

    Its methods are those of SQLAlchemy's `Dialect`.
    """

    def __init__(self, begin: str = "BEGIN", **options: Any) -> None:
        super().__init__(**options)
        self.begin = begin

    def do_begin(self, dbapi_connection: Any) -> None:
        if statement := dbapi_connection.info.get(BEGIN, self.begin):
            self.send_begin(dbapi_connection.dbapi_connection, statement)

    def send_begin(self, driver: Any, statement: str) -> None:
        """Send the statement that begins a transaction by the driver's connection."""
        driver.execute(statement)

    def do_commit(self, dbapi_connection: Any) -> None:
        if (guard := guard_of(dbapi_connection.dbapi_connection)) is not None:
            guard.before_commit()
        dbapi_connection.commit()

    def do_rollback(self, dbapi_connection: Any) -> None:
        if (guard := guard_of(dbapi_connection.dbapi_connection)) is not None:
            guard.before_rollback()
        dbapi_connection.rollback()

    def do_execute(self, cursor: Any, statement: Any, parameters: Any, context: Any = None) -> None:
        if (guard := guard_of(cursor.connection)) is not None:
            guard.before_statement(statement)
        cursor.execute(statement, parameters)

    def do_executemany(
        self, cursor: Any, statement: Any, parameters: Any, context: Any = None
    ) -> None:
        if (guard := guard_of(cursor.connection)) is not None:
            guard.before_statement(statement)
        cursor.executemany(statement, parameters)

    def do_execute_no_params(self, cursor: Any, statement: Any, context: Any = None) -> None:
        if (guard := guard_of(cursor.connection)) is not None:
            guard.before_statement(statement)
        cursor.execute(statement)
