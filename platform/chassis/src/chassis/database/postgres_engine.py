"""Engines for PostgreSQL, directly or through a pooler: what they rely on they set themselves.

Nothing is left to the defaults of the server, the database or the role, and nothing to a session
that the next transaction may not have: through a pooler each may run in another one.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import Pool

__all__ = ["READ", "WRITE", "postgres_engine"]

WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED"
READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

# A transaction that stands still for so long is ended by the server: a process that was stopped,
# or whose host is gone, would keep its locks, and with them its lanes.
_IDLE_SECONDS = 60.0
# Either side notices that the other is gone without a word: a vanished host keeps no locks.
_KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
_POOLED = "slipway_pooled"


def postgres_engine(
    url: str,
    *,
    begin: str,
    idle_seconds: float | None = None,
    connect_args: Mapping[str, object] = {},
    poolclass: type[Pool] | None = None,
    **pool: int,
) -> Engine:
    """An engine whose transactions begin by `begin`.

    A transaction that stands still is ended after `idle_seconds`, by default a minute; 0 lets it
    stand for ever.
    """
    # The driver's own BEGIN is turned off: it would leave the isolation level to a default.
    engine = create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        poolclass=poolclass,
        connect_args={
            "connect_timeout": 5,
            "application_name": "slipway",
            # Text is text, whatever encoding the database was made with.
            "client_encoding": "utf8",
            "tcp_user_timeout": 30_000,
            **_KEEPALIVES,
            **connect_args,
        },
        **pool,
    )
    seconds = _IDLE_SECONDS if idle_seconds is None else idle_seconds
    idle = f"idle_in_transaction_session_timeout = {int(seconds * 1000)}"

    # First of all that is done with a connection: SQLAlchemy would begin a transaction.
    @event.listens_for(engine, "connect", insert=True)
    def on_connect(connection: Any, record: Any) -> None:
        connection.autocommit = True
        # No startup `options`: poolers refuse them.
        settings = [idle, *(f"tcp_{name} = {value}" for name, value in _KEEPALIVES.items())]
        pid = _last_result(connection, [*(f"SET {s}" for s in settings), "SELECT pg_backend_pid()"])
        # A pooler answers in the name of a process that is none of the server's.
        if pid != connection.info.backend_pid:
            _prepare_for_pooler(connection)
            record.info[_POOLED] = True

    @event.listens_for(engine, "begin")
    def on_begin(connection: Any) -> None:
        if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
            return
        if connection.info.get(_POOLED):
            # What was set for the session may be another's by now.
            connection.exec_driver_sql(f"{begin}; SET LOCAL {idle}")
        else:
            connection.exec_driver_sql(begin)

    return engine


def _prepare_for_pooler(connection: Any) -> None:
    """Prepared statements belong to a session of the server, which a pooler changes.

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
    """The value that the last of some statements returns, in one round trip."""
    with connection.cursor() as cursor:
        cursor.execute("; ".join(statements))
        while cursor.nextset():
            pass
        return cursor.fetchone()[0]
