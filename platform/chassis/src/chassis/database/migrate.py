"""Migrations: the chassis' own and the service's, under a lock, by alembic.

alembic is imported only when there is something to do: it is a sixth of a service's import time.
"""

import hashlib
from importlib.resources import files
from pathlib import Path

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from chassis.database.engine import database_file, is_sqlite
from chassis.database.leadership import held

__all__ = ["migrate"]


def migrate(url: str, migrations: str | None = None) -> bool:
    """Bring the database to the newest revision of the chassis and of the package `migrations`.

    Returns whether anything had to be done. Blocks; safe to call from several processes at once.

    Raises:
        TimeoutError: another process held the lock of migrations too long.
        sqlalchemy.exc.DBAPIError: the database refused.
    """
    folders = [_folder("chassis.database.migrations.versions")]
    if migrations:
        folders.append(_folder(migrations))
    digest = _digest(folders)
    if is_sqlite(url):
        database_file(url).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, poolclass=NullPool)
    try:
        if _recorded(engine.connect()) == digest:
            return False
        with held(url, "migrations"), engine.connect() as connection:
            if _recorded(engine.connect()) == digest:
                return False
            _upgrade(connection, folders)
            connection.commit()
            _record(connection, digest)
            connection.commit()
    finally:
        engine.dispose()
    return True


def _folder(package: str) -> Path:
    return Path(str(files(package)))


def _digest(folders: list[Path]) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.glob("[0-9]*.py")):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _recorded(connection: Connection) -> str | None:
    """The digest of the revisions the database was last brought to."""
    with connection:
        try:
            found = connection.execute(text("SELECT digest FROM slipway_migrated")).scalar()
        except DBAPIError:
            return None
    return None if found is None else str(found)


def _record(connection: Connection, digest: str) -> None:
    connection.execute(text("CREATE TABLE IF NOT EXISTS slipway_migrated (digest VARCHAR(64))"))
    connection.execute(text("DELETE FROM slipway_migrated"))
    connection.execute(text("INSERT INTO slipway_migrated VALUES (:digest)"), {"digest": digest})


def _upgrade(connection: Connection, folders: list[Path]) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_folder("chassis.database.migrations")))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(map(str, folders)))
    config.attributes["connection"] = connection
    command.upgrade(config, "heads")
