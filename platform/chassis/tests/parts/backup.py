"""Copies of a service's tables, made and restored like a backup, even while the service runs."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import create_engine, delete, insert, select, text

from chassis.database.tables import metadata


@dataclass(frozen=True)
class Backup:
    """The rows of each table."""

    rows: dict[str, list[dict[str, Any]]]


def back_up(url: str) -> Backup:
    """Return the committed rows of the chassis' tables."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = {
            table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
            for table in metadata.sorted_tables
        }
    engine.dispose()
    return Backup(rows)


def restore(url: str, backup: Backup) -> None:
    """Replace all rows by those of a backup, in one commit."""
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            connection.execute(delete(table))
            if rows := backup.rows.get(table.name):
                connection.execute(insert(table), rows)
        if engine.dialect.name == "postgresql":
            # Ids are given again, as after a real restore.
            connection.execute(
                text(
                    "SELECT setval(pg_get_serial_sequence('slipway_outbox', 'id'), "
                    "(SELECT coalesce(max(id), 0) + 1 FROM slipway_outbox), false)"
                )
            )
    engine.dispose()


def erase(url: str) -> None:
    """Delete all rows of the chassis' tables."""
    restore(url, Backup({}))
