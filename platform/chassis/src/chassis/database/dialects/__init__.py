"""SQLAlchemy's dialects for SQLite and PostgreSQL, with transactions as the chassis needs them.

A transaction begins with a statement of the engine's choice, and its guard sees every statement.
Listeners for an engine's events could do the same, but with a single one SQLAlchemy calls the
dispatchers of all events for each statement, which costs more than running a small statement.
"""

from sqlalchemy.dialects import registry
from sqlalchemy.engine import URL, make_url

from chassis.database.dialects.guarded import BEGIN

__all__ = ["BEGIN", "chassis_url"]

# A service imports only the dialect that it uses.
registry.register("sqlite.chassis", "chassis.database.dialects.sqlite", "Sqlite")
registry.register("postgresql.chassis", "chassis.database.dialects.postgresql", "Postgresql")


def chassis_url(url: str | URL) -> URL:
    """Return a URL of SQLite or PostgreSQL that names the dialect of the chassis."""
    url = make_url(url)
    return url.set(drivername=f"{url.get_backend_name()}+chassis")
