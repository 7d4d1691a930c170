"""The identity of a database: the name of its service, and a UUID.

The row is written once. A restored backup, or one moved to another server, is still the same
database; two files of one service are two databases.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import inspect, select
from sqlalchemy.dialects import postgresql
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
    """The identity of a database; `id` (UUIDv7) orders databases by the time of their creation."""

    service: str
    id: str


def claim(session: "Session | Connection", service: str) -> Identity:
    """Return the identity of the database, and assign it to `service` if it has none.

    Raises:
        WrongDatabase: the database belongs to another service.
    """
    found = _find(session)
    if found is None:
        # Several processes may do this at once; the row of one of them is kept.
        new = {"id": 1, "service": service, "database_id": uuid7()}
        # SQLite understands PostgreSQL's ON CONFLICT.
        session.execute(postgresql.insert(tables.identity).on_conflict_do_nothing(), new)
        found = _find(session)
        assert found is not None
    return _checked(found, service)


def check(connection: "Connection", service: str) -> None:
    """Check that the database does not belong to another service; it may have no tables yet.

    Raises:
        WrongDatabase: the database belongs to another service.
    """
    if inspect(connection).has_table(tables.identity.name) and (found := _find(connection)):
        _checked(found, service)


def _find(session: "Session | Connection") -> Identity | None:
    """Return the identity stored in the database; None if there is none yet."""
    columns = tables.identity.c
    row = session.execute(select(columns.service, columns.database_id)).first()
    return None if row is None else Identity(row.service, row.database_id)


def _checked(found: Identity, service: str) -> Identity:
    """Return the identity; raise WrongDatabase if it is another service's."""
    if found.service != service:
        raise WrongDatabase(
            f"this database belongs to the service {found.service!r}, so {service!r} does not use "
            f"it: give {service} a database of its own (APP_DATABASE_URL); if {found.service} was "
            f"renamed: UPDATE {tables.identity.name} SET service = '{service}'"
        )
    return found
