"""Whose a database is: one service's name, and a UUID of the database's own.

The row is written once. A backup that is restored, or moved to another server, is the same
database still; two files of one service are two.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from chassis.database import tables
from chassis.ids import uuid7

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Identity", "WrongDatabase", "check", "claim"]


class WrongDatabase(Exception):
    """The database belongs to another service."""


@dataclass(frozen=True, slots=True)
class Identity:
    """`id` orders databases by when they were made (UUIDv7)."""

    service: str
    id: str


def claim(session: "Session | Connection", service: str) -> Identity:
    """The identity of the service's database; written down now if it had none.

    Raises:
        WrongDatabase: it belongs to another service.
    """
    found = _find(session)
    if found is None:
        # Of several who are first one is.
        new = {"id": 1, "service": service, "database_id": uuid7()}
        dialect = session.get_bind().dialect if isinstance(session, Session) else session.dialect
        into = sqlite.insert if dialect.name == "sqlite" else postgresql.insert
        session.execute(into(tables.identity).on_conflict_do_nothing(), new)
        found = _find(session)
        assert found is not None
    return _of(service, found)


def check(connection: "Connection", service: str) -> None:
    """That the database is nobody else's, also if it has no tables yet.

    Raises:
        WrongDatabase: it belongs to another service.
    """
    if inspect(connection).has_table(tables.identity.name) and (found := _find(connection)):
        _of(service, found)


def _find(session: "Session | Connection") -> Identity | None:
    columns = tables.identity.c
    row = session.execute(select(columns.service, columns.database_id)).first()
    return None if row is None else Identity(row.service, row.database_id)


def _of(service: str, found: Identity) -> Identity:
    if found.service != service:
        raise WrongDatabase(
            f"this database is that of the service {found.service!r}, so {service!r} does not use "
            f"it: give {service} a database of its own (APP_DATABASE_URL); if {found.service} was "
            f"renamed: UPDATE {tables.identity.name} SET service = '{service}'"
        )
    return found
