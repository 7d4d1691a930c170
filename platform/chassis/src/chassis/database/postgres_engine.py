"""Engines for PostgreSQL, connected directly or through a pooler.

They set everything that they rely on, instead of trusting the defaults of the server, the database
or the role. They do not rely on the session either, because a pooler may run each transaction in
another one.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import Pool

from chassis.database.dialects import BEGIN, chassis_url

__all__ = ["IDLE_SECONDS", "READ", "WRITE", "postgres_engine"]

WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED"
READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

IDLE_SECONDS = 60.0
"""The server ends a transaction that is idle for this time.

Otherwise a process that was stopped, or whose host is gone, would keep its locks and thereby its
lanes.
"""
# Each side detects within 25 s that the other is gone, so that a vanished host does not keep locks.
_KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


def postgres_engine(
    url: str,
    *,
    begin: str,
    idle_seconds: float | None = None,
    connect_args: Mapping[str, object] = {},
    poolclass: type[Pool] | None = None,
    **pool: int,
) -> Engine:
    """Return an engine whose transactions begin with the statement `begin`.

    The server ends a transaction that is idle for `idle_seconds`, by default a minute; 0 means
    never.
    """
    # The driver's BEGIN is turned off, because it would use the default isolation level.
    engine = create_engine(
        chassis_url(url),
        begin=begin,
        isolation_level="AUTOCOMMIT",
        poolclass=poolclass,
        connect_args={
            "connect_timeout": 5,
            "application_name": "slipway",
            # Otherwise text would depend on the encoding that the database was created with.
            "client_encoding": "utf8",
            "tcp_user_timeout": 30_000,
            **_KEEPALIVES,
            **connect_args,
        },
        **pool,
    )
    seconds = IDLE_SECONDS if idle_seconds is None else idle_seconds
    idle = f"idle_in_transaction_session_timeout = {int(seconds * 1000)}"

    # It is inserted before SQLAlchemy's own listeners, which would begin a transaction.
    @event.listens_for(engine, "connect", insert=True)
    def on_connect(connection: Any, record: Any) -> None:
        connection.autocommit = True
        # Poolers refuse startup `options`, so the settings are sent as statements.
        settings = [idle, *(f"tcp_{name} = {value}" for name, value in _KEEPALIVES.items())]
        pid = _last_result(connection, [*(f"SET {s}" for s in settings), "SELECT pg_backend_pid()"])
        # A pooler reports a process id that is not one of the server's processes.
        if pid != connection.info.backend_pid:
            _prepare_for_pooler(connection)
            # A transaction may get another session than that which got the setting.
            record.info[BEGIN] = f"{begin}; SET LOCAL {idle}"

    return engine


def _prepare_for_pooler(connection: Any) -> None:
    """Turn off prepared statements, which belong to a session of the server that a pooler changes.

    Raises:
        psycopg.OperationalError: the pooler gives each statement a session of its own.
    """
    from psycopg import Error, OperationalError

    connection.prepare_threshold = None
    try:
        connection.execute("BEGIN")
        connection.execute("COMMIT")
    except Error as error:
        if "statement pooling" not in str(error):
            raise
        raise OperationalError(
            "the pooler's pool_mode is statement, which splits transactions: "
            "set its pool_mode to transaction or session"
        ) from error


def _last_result(connection: Any, statements: list[str]) -> object:
    """Run statements in one round trip and return the value of the last one."""
    with connection.cursor() as cursor:
        cursor.execute("; ".join(statements))
        while cursor.nextset():
            pass
        return cursor.fetchone()[0]
