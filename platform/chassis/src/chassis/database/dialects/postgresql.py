"""The dialect for PostgreSQL."""

from typing import Any

from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from chassis.database import outbox_rows
from chassis.database.dialects.guarded import Guarded

__all__ = ["Postgresql"]


class Postgresql(Guarded, PGDialect_psycopg):
    """PostgreSQL by psycopg."""

    supports_statement_cache = True

    def send_begin(self, driver: Any, statement: str) -> None:
        # A statement that is prepared could not be followed by others in the same text.
        driver.execute(statement, prepare=False)

    def do_executemany(
        self, cursor: Any, statement: Any, parameters: Any, context: Any = None
    ) -> None:
        if statement == outbox_rows.COPY:
            outbox_rows.copy(cursor, parameters)
        else:
            super().do_executemany(cursor, statement, parameters, context)
