"""The opening of a service's database at the start of its process."""

import asyncio
from typing import TYPE_CHECKING

import structlog

from chassis._migration_process import MigrationProcess
from chassis.credentials import without_credentials
from chassis.database import (
    ConnectionLost,
    Database,
    DatabaseAtFault,
    DatabaseDown,
    ReadTransaction,
    identity,
    schema,
)
from chassis.database import migrate as migrate_database
from chassis.database.migrate import Diverged
from chassis.events.producer.event_factory import EventFactory
from chassis.readiness import Readiness
from chassis.settings import ServiceSettings
from chassis.telemetry import tracing

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["open_database"]

_log = structlog.get_logger("chassis")
_RETRY_SECONDS = 1.0


async def open_database(
    service: "Service",
    settings: ServiceSettings,
    readiness: Readiness,
    migration: MigrationProcess | None = None,
) -> Database:
    """Return the service's database as soon as it is available and has the schema of this code.

    Until then `readiness` reports what the start waits for. In development the database is migrated
    by `migration`; if that is missing or fails, by this process.

    Raises:
        WrongDatabase: it belongs to another service.
    """
    event_factory = EventFactory(
        service.name,
        service.publishes,
        format=settings.event_format,
        max_bytes=settings.event_max_bytes,
    )
    database = Database(settings.database_url.get_secret_value(), event_factory)
    tracing.instrument_engines(database.engine, database.read_engine)
    lacks = ""
    readiness.depend_on(database, lambda: {"schema": f"lacks {lacks}"} if lacks else {})
    waits_for = None
    while True:
        try:
            await database.check()
            found = await _compare_schema(database, service)
            if found.missing and settings.environment == "development":
                found = await _migrate(database, service, migration)
            if not found.missing:
                await database.identify(service.name)
                break
            lacks = ", ".join(found.missing)
            reason = f"migrations are missing: run `python -m {service.name} migrate`"
        except Diverged as error:
            lacks = str(error)
            reason = "it has migrations that this code cannot run"
        except (DatabaseDown, ConnectionLost, DatabaseAtFault, TimeoutError) as error:
            reason = without_credentials(str(error))
        if reason != waits_for:
            said = {"lacks": lacks} if lacks else {}
            _log.warning("waiting for the database", reason=reason, **said)
            waits_for = reason
        await asyncio.sleep(_RETRY_SECONDS)
    lacks = ""
    if migration is not None:
        migration.close()
    if found.unknown:
        _log.warning(
            "database schema is newer than this code; continuing",
            unknown_revisions=list(found.unknown),
        )
    return database


async def _migrate(
    database: Database, service: "Service", migration: MigrationProcess | None
) -> schema.Schema:
    """Migrate the database and return how it differs from this code.

    Raises as `migrate`.
    """
    if migration is not None:
        await migration.run()
        found = await _compare_schema(database, service)
        if not found.missing:
            return found
    migrated = await asyncio.to_thread(
        migrate_database, database.url, service.migrations, service=service.name
    )
    return migrated.after


async def _compare_schema(database: Database, service: "Service") -> schema.Schema:
    """Return how the database differs from this code.

    Raises:
        DatabaseDown, WrongDatabase.
    """
    code = schema.Code(service.migrations)

    def compare(tx: ReadTransaction) -> schema.Schema:
        connection = tx.session.connection()
        identity.check(connection, service.name)
        return schema.compare(connection, code)

    return await database.read(compare)
