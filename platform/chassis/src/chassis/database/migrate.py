"""Migrations of the chassis and of the service, run by alembic under a lock.

alembic is imported only for a migration, because it takes a sixth of a service's import time.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from chassis.database import identity
from chassis.database.engine import database_file, is_sqlite
from chassis.database.faults import DatabaseDown, Fault, fault_of, first_line
from chassis.database.leadership import held
from chassis.database.postgres_engine import WRITE, postgres_engine
from chassis.database.schema import Code, Schema, compare, record

__all__ = ["Diverged", "Migration", "create_schema", "migrate"]


class Diverged(Exception):
    """The database has revisions that this code does not know, and lacks some that it knows."""


@dataclass(frozen=True, slots=True)
class Migration:
    """The result of a migration: the revisions before and after."""

    before: Schema
    after: Schema

    @property
    def changed(self) -> bool:
        """Whether the database was migrated."""
        return bool(self.before.missing)

    def __str__(self) -> str:
        now = ", ".join(self.after.heads)
        if self.changed:
            return f"migrated from {', '.join(self.before.heads) or 'nothing'} to {now}"
        if self.after.unknown:
            return f"nothing to migrate: the database ({now}) is newer than this code"
        return f"nothing to migrate: the database is at {now}"


def migrate(url: str, migrations: str | None = None, *, service: str | None = None) -> Migration:
    """Bring the database to the newest revision of the chassis and of the package `migrations`.

    If `service` is given the database belongs to it from then on. A database that newer code has
    migrated is not changed. The function blocks, and several processes may call it at once.

    Raises:
        WrongDatabase: the database belongs to another service; nothing was changed.
        Diverged: neither this code nor the code that migrated it last is the newer one.
        TimeoutError: another process has held the lock of migrations for 2 minutes.
        ValueError: a revision's file cannot be read.
        DatabaseDown: it cannot be reached, or takes no writes; try later.
        sqlalchemy.exc.DBAPIError: a revision failed.
    """
    code = Code(migrations)
    if is_sqlite(url):
        database_file(url).parent.mkdir(parents=True, exist_ok=True)
        engine = _sqlite_engine(url)
    else:
        engine = postgres_engine(url, begin=WRITE, poolclass=NullPool)
    try:
        with _connected(engine) as connection:
            if service:
                identity.check(connection, service)
            found = compare(connection, code)
        if not found.missing:
            return Migration(found, found)
        writing = engine.execution_options(slipway_begin="BEGIN IMMEDIATE")
        with held(url, "migrations"), _connected(writing) as connection:
            if service:
                identity.check(connection, service)
            before = compare(connection, code)
            connection.rollback()
            if not before.missing:
                return Migration(before, before)
            if before.unknown:
                raise Diverged(
                    f"the database has {', '.join(before.unknown)}, which this code does not know, "
                    f"and lacks {', '.join(before.missing)}: migrate it with code that has all"
                )
            from chassis.database.upgrade import upgrade

            upgrade(connection, code)
            connection.commit()
            record(connection, code)
            if service:
                identity.claim(connection, service)
            connection.commit()
            return Migration(before, compare(connection, code))
    finally:
        engine.dispose()


def create_schema(connection: Connection, migrations: str | None, *, service: str) -> None:
    """Run all revisions of the chassis and of the package `migrations` on an empty database.

    Raises:
        ValueError: a revision's file cannot be read.
        sqlalchemy.exc.DBAPIError: a revision failed.
    """
    from chassis.database.upgrade import upgrade

    code = Code(migrations)
    upgrade(connection, code)
    connection.commit()
    record(connection, code)
    identity.claim(connection, service)
    connection.commit()


def _sqlite_engine(url: str) -> Engine:
    """Return an engine whose transactions include changes of the schema.

    The driver begins no transaction before such a change. A process that is killed between two
    changes would leave a database that no migration fits.
    """
    engine = create_engine(url, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        connection.exec_driver_sql(options.get("slipway_begin", "BEGIN"))

    return engine


@contextmanager
def _connected(engine: Engine) -> Iterator[Connection]:
    """Connect; raise DatabaseDown for an error that the database caused and not a revision."""
    try:
        connection = engine.connect()
    except DBAPIError as error:
        raise DatabaseDown(first_line(error)) from error
    with connection:
        try:
            yield connection
        except DBAPIError as error:
            if fault_of(error) in (Fault.RETRY, Fault.LOST, Fault.READ_ONLY, Fault.DOWN):
                raise DatabaseDown(first_line(error)) from error
            raise
