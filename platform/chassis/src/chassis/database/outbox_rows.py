"""New rows of the outbox, which each transaction that publishes writes by its last statement.

The statements are sent to the driver as they are, since SQLAlchemy would take longer to bind the
values of a batch than the database takes to store them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from chassis.database.tables import outbox

__all__ = ["COPY", "OutboxRow", "copy", "insert"]


class OutboxRow(NamedTuple):
    """The columns of an event that has no number yet. `created_at` is in epoch seconds."""

    event_id: str
    subject: str
    headers: bytes
    data: bytes
    created_at: float


_COLUMNS = f"{outbox.name} ({', '.join(OutboxRow._fields)})"
_SQLITE = f"INSERT INTO {_COLUMNS} VALUES (?, ?, ?, ?, ?)"
_POSTGRES = f"INSERT INTO {_COLUMNS} VALUES (%s, %s, %s, %s, %s)"
_COPY_TYPES = ("text", "text", "bytea", "bytea", "float8")
# A COPY takes two round trips, and becomes cheaper than INSERT with this number of rows.
_COPY_FROM = 8

COPY = f"COPY {_COLUMNS} FROM STDIN (FORMAT BINARY)"
"""The statement of `insert` that the dialect for PostgreSQL runs by `copy`."""


def insert(connection: Connection, rows: Sequence[OutboxRow]) -> None:
    """Insert rows in this order, of which there is at least one."""
    statement = _SQLITE
    if connection.dialect.name == "postgresql":
        statement = COPY if len(rows) >= _COPY_FROM else _POSTGRES
    connection.exec_driver_sql(statement, list(rows))


def copy(cursor: Any, rows: Sequence[OutboxRow]) -> None:
    """Send rows to PostgreSQL by the statement COPY, for which SQLAlchemy has no call."""
    with cursor.copy(COPY) as copying:
        copying.set_types(_COPY_TYPES)
        for row in rows:
            copying.write_row(row)
