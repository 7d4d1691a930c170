"""Engines of SQLAlchemy for SQLite and PostgreSQL, for writing and for reading."""

import time
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import StaticPool

from chassis.database.dialects import chassis_url
from chassis.database.postgres_engine import READ, WRITE, postgres_engine
from chassis.database.transaction_guard import is_idle

__all__ = [
    "BUSY_MILLISECONDS",
    "ConnectionRenewal",
    "database_file",
    "is_sqlite",
    "make_engine",
    "make_read_engine",
    "make_scratch_engine",
    "place_of",
]

BUSY_MILLISECONDS = 10_000
"""How long a statement waits for another process that locks the SQLite file."""
# Advisory locks that handlers take belong to the whole database, scratch tables or not.
_LOCK_SECONDS = 5


def is_sqlite(url: str | URL) -> bool:
    """Return whether a URL names a SQLite database."""
    return make_url(url).get_backend_name() == "sqlite"


def database_file(url: str | URL) -> Path:
    """Return the SQLite file of a URL.

    Raises:
        ValueError: the URL does not name a file; a database in memory would end with its process.
    """
    path = make_url(url).database
    if not path or path == ":memory:":
        raise ValueError("a SQLite database needs a file: sqlite:///folder/name.db")
    return Path(path)


def place_of(url: str) -> str:
    """Return the place of a database for people: its file, or its name and host."""
    if is_sqlite(url):
        return str(database_file(url).resolve())
    parts = make_url(url)
    # A query may list several hosts, of which one is the primary.
    several = parts.query.get("host", ())
    hosts = [several] if isinstance(several, str) else several
    return f"{parts.database} on {parts.host or ' or '.join(hosts) or 'this machine'}"


class ConnectionRenewal:
    """Replacement of an engine's open connections after its database became unavailable.

    Connections in use are replaced when they have returned to the pool; disposing of the engine
    would leave them to the garbage collector.
    """

    def __init__(self, engine: Engine) -> None:
        self._stale_before = 0.0
        event.listen(engine, "connect", self._connected)
        event.listen(engine, "checkout", self._checked_out)

    def renew(self) -> None:
        """Replace each connection that is open now before it is used again."""
        self._stale_before = time.monotonic()

    def _connected(self, _connection: Any, record: Any) -> None:
        """Note when a connection was opened."""
        record.info["connected"] = time.monotonic()

    def _checked_out(self, _connection: Any, record: Any, _proxy: Any) -> None:
        """Make the pool replace a connection that was opened before the last `renew`."""
        if record.info["connected"] <= self._stale_before:
            raise DisconnectionError


def make_engine(url: str, threads: int) -> Engine:
    """Return an engine for transactions that write."""
    if is_sqlite(url):
        database_file(url).parent.mkdir(parents=True, exist_ok=True)
        return _sqlite_engine(url, **_pool(threads), begin="BEGIN IMMEDIATE", read_only=False)
    return _without_open_transactions(postgres_engine(url, begin=WRITE, **_pool(threads)))


def make_read_engine(url: str, threads: int) -> Engine:
    """Return an engine for transactions that only read."""
    if is_sqlite(url):
        return _sqlite_engine(url, **_pool(threads), begin="BEGIN", read_only=True)
    return _without_open_transactions(postgres_engine(url, begin=READ, **_pool(threads)))


def make_scratch_engine(url: str) -> Engine:
    """Return an engine with one connection, for tables that end with it.

    The URL selects the kind of database: SQLite in memory, or temporary tables of PostgreSQL.
    There, nothing but these tables and the server's own catalog is found by its name.
    """
    if is_sqlite(url):
        memory = {"poolclass": StaticPool}
        return _sqlite_engine("sqlite://", **memory, begin="BEGIN IMMEDIATE", read_only=False)
    # A pooler may run each transaction in another session, so each one looks names up like this.
    begin = f"{WRITE}; SET LOCAL search_path = pg_temp; SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"
    return _without_open_transactions(
        postgres_engine(url, begin=begin, pool_size=1, max_overflow=0)
    )


def _pool(threads: int) -> dict[str, Any]:
    """Return the arguments of a pool for this number of threads."""
    return {"pool_size": threads, "max_overflow": 1}


def _sqlite_engine(url: str, *, begin: str, read_only: bool, **pool: Any) -> Engine:
    """Return an engine for SQLite whose transactions begin with the statement `begin`."""
    engine = create_engine(
        chassis_url(url),
        begin=begin,
        connect_args={"check_same_thread": False, "timeout": BUSY_MILLISECONDS / 1000},
        **pool,
    )

    # The driver's BEGIN is deferred, so that it would fail under contention. It is turned off, and
    # `begin` is sent instead.
    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    return _without_open_transactions(engine)


def _without_open_transactions(engine: Engine) -> Engine:
    """Return an engine, after seeing to it that no transaction of a connection is continued."""

    # A COMMIT that fails (a deferred constraint, a full disk) or is refused leaves the transaction
    # open, although SQLAlchemy considers it ended. Without this rollback the next transaction of
    # the connection would be part of it.
    @event.listens_for(engine, "checkin")
    def on_checkin(connection: Any, record: Any) -> None:
        if connection is not None and not is_idle(connection):
            try:
                connection.rollback()
            except Exception:
                record.invalidate()

    return engine
