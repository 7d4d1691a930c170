"""Transactions on threads of their own: the event loop hands over work and awaits its commit."""

import asyncio
import contextvars
import random
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError

from chassis.database.engine import Renewal, is_sqlite, make_engine, make_read_engine
from chassis.database.transaction import Publishes, ReadTransaction, Transaction
from chassis.database.work_session import WorkSession

__all__ = ["ConnectionLost", "Database", "DatabaseDown"]

T = TypeVar("T")

# SQLSTATE of PostgreSQL's serialization_failure and deadlock_detected.
_RETRIED_STATES = {"40001", "40P01"}
_RETRIES = 5


class DatabaseDown(Exception):
    """The database refuses a fresh connection."""


class ConnectionLost(Exception):
    """The connection broke in the middle; whether the commit took effect is unknown."""


class Database:
    """A service's database.

    SQLite has one writing thread (more only fight), PostgreSQL as many as `threads`. Reads have
    connections of their own.
    """

    def __init__(
        self, url: str, publisher: Publishes, *, threads: int = 4, read_threads: int = 4
    ) -> None:
        self.url = url
        self.publisher = publisher
        self.sqlite = is_sqlite(url)
        writers = 1 if self.sqlite else threads
        self._engine = make_engine(url, writers)
        self._read_engine = make_read_engine(url, read_threads)
        self._renewals = [Renewal(self._engine), Renewal(self._read_engine)]
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="transaction")
        self._readers = ThreadPoolExecutor(read_threads, thread_name_prefix="read")
        self._on_published: list[Callable[[], None]] = []

    def on_published(self, call: Callable[[], None]) -> None:
        """Call, on the committing thread, after each commit that put events into the outbox."""
        self._on_published.append(call)

    async def transaction(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` on a transaction thread in one commit, and return what it returned.

        A deadlock or serialization failure runs it again at once, a few times.

        Raises:
            DatabaseDown, ConnectionLost: nothing to do with `work`; try later.
            Exception: what `work` raised; nothing was changed.
        """
        return await self._on(self._writers, self.transact, work)

    async def read(self, work: Callable[[ReadTransaction], T]) -> T:
        """Run `work` on a reading thread in a transaction that writes nothing.

        Raises: as `transaction`.
        """
        return await self._on(self._readers, self._read, work)

    async def check(self) -> None:
        """Open a fresh connection.

        Raises:
            DatabaseDown: it was refused.
        """
        await self._on(self._readers, _probe, self)

    def close(self) -> None:
        """Wait for running transactions, then close every connection."""
        self._writers.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self._engine.dispose()
        self._read_engine.dispose()

    async def _on(
        self, executor: ThreadPoolExecutor, call: Callable[..., T], *arguments: object
    ) -> T:
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(executor, context.run, call, *arguments)

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """`transaction`, on the thread of the caller."""
        for attempt in range(1, _RETRIES + 1):
            try:
                return self._transact_once(work)
            except Exception as error:
                # A handler's error may wrap the database's: it is that which tells what to do.
                cause = _database_error(error)
                if cause is None:
                    raise
                if attempt < _RETRIES and _is_transient(cause):
                    time.sleep(random.uniform(0, 0.01 * attempt))
                    continue
                explained = self._explained(cause)
                if explained is cause:
                    raise
                raise explained from error
        raise AssertionError("unreachable")

    def _transact_once(self, work: Callable[[Transaction], T]) -> T:
        with WorkSession.open(self._engine) as session:
            _connect(session)
            transaction = Transaction(session, self.publisher)
            try:
                result = work(transaction)
                published = transaction._finish(result)
            finally:
                transaction._over = True
        transaction._committed()
        if published:
            for call in self._on_published:
                call()
        return result

    def _read(self, work: Callable[[ReadTransaction], T]) -> T:
        try:
            with WorkSession.open(self._read_engine) as session:
                _connect(session)
                transaction = ReadTransaction(session)
                try:
                    result = work(transaction)
                    transaction._end_read(result)
                finally:
                    transaction._over = True
                return result
        except Exception as raised:
            error = _database_error(raised)
            explained = error and self._explained(error)
            if explained is None or explained is error:
                raise
            raise explained from raised

    def _explained(self, error: DBAPIError) -> Exception:
        """What the error says of the database; itself if it says nothing."""
        if error.connection_invalidated:
            return ConnectionLost(str(error.orig))
        if _is_locked(error):
            return DatabaseDown("somebody else holds its lock")
        if _may_be_down(error):
            try:
                _probe(self)
            except DatabaseDown as down:
                return down
        return error


def _connect(session: WorkSession) -> None:
    """A database that refuses a connection shows here and not in the handler.

    Raises:
        DatabaseDown: it was refused.
    """
    try:
        session.start()
    except OperationalError as error:
        if _is_locked(error):
            raise
        said = str(error.orig).splitlines() or [type(error.orig).__name__]
        raise DatabaseDown(said[0]) from error


def _database_error(error: BaseException) -> DBAPIError | None:
    """The database's error among an exception and its causes."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, DBAPIError):
        cause = cause.__cause__
    return cause


def _is_transient(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) in _RETRIED_STATES or _is_locked(error)


def _is_locked(error: DBAPIError) -> bool:
    return isinstance(error.orig, sqlite3.OperationalError) and "is locked" in str(error.orig)


def _may_be_down(error: DBAPIError) -> bool:
    return type(error).__name__ in {"OperationalError", "InterfaceError", "InternalError"}


def _probe(database: Database) -> None:
    try:
        with database._read_engine.execution_options(isolation_level="AUTOCOMMIT").connect() as c:
            c.execute(text("SELECT 1"))
    except Exception:
        # A pooled connection may be stale, and would cost a transaction; what counts is whether a
        # fresh one is refused.
        for renewal in database._renewals:
            renewal.renew()
        try:
            with database._read_engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except Exception as error:
            raise DatabaseDown(str(error).splitlines()[0]) from error
