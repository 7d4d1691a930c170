"""Locks for work that one replica is enough for: an advisory lock, on SQLite a locked file.

They save work; safety does not depend on them.
"""

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from chassis.database.engine import database_file, is_sqlite
from chassis.database.postgres_engine import WRITE, postgres_engine

__all__ = ["Lock", "held"]


class Lock:
    """A lock named `name` among all processes that share a database."""

    def __init__(self, url: str, name: str) -> None:
        self._lock: _FileLock | _AdvisoryLock = (
            _FileLock(url, name) if is_sqlite(url) else _AdvisoryLock(url, name)
        )
        self._one_at_a_time = threading.Lock()
        self._released = False

    def acquire(self) -> bool:
        """Acquire the lock if it is free; return whether this object holds it."""
        with self._one_at_a_time:
            return not self._released and self._lock.acquire()

    def release(self) -> None:
        """Release the lock permanently: a later `acquire`, on another thread, returns False."""
        with self._one_at_a_time:
            self._released = True
            self._lock.release()


class _FileLock:
    def __init__(self, url: str, name: str) -> None:
        self._path = database_file(url).with_suffix(f".{name}.lock")
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        if self._file:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = open(self._path, "ab")  # noqa: SIM115 (it stays open while the lock is held)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        if self._file:
            self._file.close()
            self._file = None


class _AdvisoryLock:
    """A PostgreSQL advisory lock, held by a transaction that stays open.

    A lock of the session would pass to the client that a pooler gives the session next. The
    transaction has no snapshot, so that it does not hold back VACUUM.
    """

    def __init__(self, url: str, name: str) -> None:
        # Parameters and prepared statements are avoided, because their portals keep a snapshot.
        self._engine = postgres_engine(
            url,
            begin=WRITE,
            idle_seconds=0,
            poolclass=NullPool,
            connect_args={"prepare_threshold": None},
        )
        digest = hashlib.sha256(f"slipway:{name}".encode()).digest()
        self._key = int.from_bytes(digest[:8], "big", signed=True)
        self._connection: Connection | None = None
        self._held = False
        self._pid = os.getpid()

    def acquire(self) -> bool:
        """Acquire the lock if it is free; return False if the database is unavailable."""
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            lock = f"SELECT pg_try_advisory_xact_lock({self._key})"
            statement = text("SELECT true" if self._held else lock)
            self._held = bool(self._connection.execute(statement).scalar())
            if not self._held:
                self._connection.rollback()
        except DBAPIError:
            self.release()
        return self._held

    def release(self) -> None:
        """Close the connection, which ends the transaction and releases the lock."""
        self._held = False
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.invalidate()
                connection.close()
            except DBAPIError:
                pass


@contextmanager
def held(url: str, name: str, *, seconds: float = 120) -> Iterator[None]:
    """Wait for the lock, and hold it during the block.

    Raises:
        TimeoutError: another process held it for `seconds`.
    """
    lock = Lock(url, name)
    deadline = time.monotonic() + seconds
    while not lock.acquire():
        if time.monotonic() > deadline:
            raise TimeoutError(f"another process has held the lock {name!r} for {seconds:g} s")
        time.sleep(0.05)
    try:
        yield
    finally:
        lock.release()
